"""The second look: what it is told, where it starts, that the first stays as it is, and how it is stored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from occface_core.distillation.config import TrainConfig
from occface_core.distillation.parts import freeze_but
from occface_core.distillation.run import make_model, take_over
from occface_core.errors import CheckpointError, ConfigError
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.averaging import average_encoders
from occface_core.networks.checkpoints import save_encoder
from occface_core.networks.encoder import EncoderConfig, EncoderOutput, FaceEncoder
from occface_core.networks.guided import Guide, GuidedEncoder
from occface_core.networks.looks import further_look, make_encoder

Stored = Callable[[GuidedEncoder, Tensor, Path], GuidedEncoder]
SMALL = EncoderConfig(
    backbone="mobilenet_v3_small",
    input_size=64,
    mask_size=32,
    local_channels=4,
    evidence_points=20,
    evidence_size=8,
    sigma_regions=("nose",),
)


@pytest.fixture(scope="module")
def first() -> FaceEncoder:
    torch.manual_seed(0)
    return FaceEncoder(SMALL).eval()


@pytest.fixture
def guided(first: FaceEncoder) -> GuidedEncoder:
    torch.manual_seed(1)
    return further_look(SMALL, first).eval()


@pytest.fixture(scope="module")
def crops() -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "resnet18"])
def test_it_starts_with_the_first_answer(backbone: str, crops: Tensor) -> None:
    config = replace(SMALL, backbone=backbone)
    torch.manual_seed(3)
    first = FaceEncoder(config).eval()
    model = further_look(config, first)
    assert take_over(model, first) == set()
    model.eval()
    with torch.no_grad():
        own, expected = model(crops), first(crops)
        torch.testing.assert_close(own.code, expected.code, rtol=0, atol=1e-5)
        torch.testing.assert_close(own.mask_logits, expected.mask_logits, rtol=0, atol=1e-4)
        torch.testing.assert_close(model.mask(crops), own.mask_logits)
        torch.testing.assert_close(model.parameters_of(crops).pose, own.params.pose)


def test_what_the_first_saw_changes_the_answer(guided: GuidedEncoder, crops: Tensor) -> None:
    def mask() -> Tensor:
        logits = guided(crops).mask_logits
        assert logits is not None
        return logits.clone()

    with torch.no_grad():
        before = mask()
        guided.backbone.get_parameter("blocks.0.0.weight")[:, 3:] = 0.05
        told = mask()
        assert (told - before).abs().max() > 1e-3
        guided.first.layers[2].bias[guided.layout.slices["cam"].start + 1] += 3.0  # the face lies elsewhere
        assert (mask() - told).abs().max() > 1e-3


def test_the_first_code_is_known_to_the_second(guided: GuidedEncoder, crops: Tensor) -> None:
    with torch.no_grad():
        guided.layers[2].weight.zero_()
        guided.known_code.weight.copy_(torch.eye(guided.layout.size))
        theirs = guided.first(crops)
        raw = (theirs.code - guided.code_mean) / guided.code_scale
        torch.testing.assert_close(guided(crops).code, guided.decode_raw(raw), rtol=0, atol=1e-5)


def test_only_the_second_learns(guided: GuidedEncoder, crops: Tensor) -> None:
    kept = {k: v.clone() for k, v in guided.first.state_dict().items()}
    guided.train()
    assert guided.training
    assert not any(part.training for part in guided.first.modules())
    trained = [p for p in guided.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    guided(crops).code.square().sum().backward()
    stem = guided.backbone.get_parameter("blocks.0.0.weight")
    assert stem.grad is not None
    assert (stem.grad[:, 3:].abs().amax((0, 2, 3)) > 0).all()  # every channel of the guide is seen
    assert guided.known_code.weight.grad is not None
    optimizer.step()
    for name, value in guided.first.state_dict().items():
        torch.testing.assert_close(value, kept[name], rtol=0, atol=0)


def test_a_file_holds_both(
    guided: GuidedEncoder, crops: Tensor, tmp_path: Path, stored: Stored
) -> None:
    again = stored(guided, crops, tmp_path)
    mean = average_encoders({"one": guided, "two": again})
    assert isinstance(mean, GuidedEncoder)
    with pytest.raises(CheckpointError, match="guided_by"):
        average_encoders({"guided": guided, "plain": FaceEncoder(SMALL)})


def test_starts_lead_from_one_kind_to_the_other(guided: GuidedEncoder, tmp_path: Path) -> None:
    save_encoder(guided, tmp_path / "both.safetensors", half=False)
    config = TrainConfig(
        recipe="damior",
        out=tmp_path,
        backbone="mobilenet_v3_small",
        input_size=64,
        mask_size=32,
        mask_detail=0,
        mask_edges=0,
        local_channels=4,
        evidence_points=20,
        evidence_blocks=0,
        start_from=str(tmp_path / "both.safetensors"),
    )
    plain = make_model(config, None)
    assert not isinstance(plain, GuidedEncoder)
    torch.testing.assert_close(plain.layers[0].weight, guided.first.layers[0].weight)
    other = FaceEncoder(SMALL)
    more = make_model(config, None, None, other)
    assert isinstance(more, GuidedEncoder)
    torch.testing.assert_close(more.layers[0].weight, guided.layers[0].weight)
    torch.testing.assert_close(more.first.layers[0].weight, other.layers[0].weight)


def test_one_part_alone_can_be_trained(guided: GuidedEncoder) -> None:
    still = freeze_but(guided, "mask_head")
    names = {name for name, p in guided.named_parameters() if p.requires_grad}
    assert names
    assert all(name.startswith("mask_head.") for name in names)
    assert guided.backbone in still
    with pytest.raises(ConfigError, match="no such part"):
        freeze_but(guided, "first")


def test_the_guide_says_where_the_face_is(guided: GuidedEncoder, crops: Tensor) -> None:
    with torch.no_grad():
        answer = guided.first(crops)
    said = guided.guide(crops.device).draw(answer)
    assert said.shape == (3, Guide.CHANNELS, 64, 64)
    visible, colour, place = said[:, :1], said[:, 1:4], said[:, 4:]
    assert answer.mask_logits is not None
    wide = torch.nn.functional.interpolate(answer.mask_logits.sigmoid(), 64, mode="bilinear")
    assert (visible / 4 + 0.5 - wide).abs().max() < 0.05
    drawn = (place != 0).any(1)
    assert 0.2 < drawn.float().mean() < 0.95
    assert colour.abs().amax(1)[~drawn].max() == 0
    # x runs to the subject's left, which is the picture's right; y runs up, against the picture's rows.
    across, down = torch.linspace(-1, 1, 64).expand(64, 64), torch.linspace(-1, 1, 64)[:, None].expand(64, 64)
    for axis, ramp, sign in ((0, across, 1.0), (1, down, -1.0)):
        values, goal = place[0, axis][drawn[0]], ramp[drawn[0]]
        assert sign * torch.corrcoef(torch.stack([values, goal]))[0, 1] > 0.8


def test_numbers_that_are_not_finite_draw_nothing(guided: GuidedEncoder, crops: Tensor) -> None:
    with torch.no_grad():
        good = guided.first(crops)
    code = good.code.clone()
    code[1] = torch.nan
    bad = EncoderOutput(FaceParameters.from_code(code, guided.layout), code, good.features, None)
    said = guided.guide(crops.device).draw(bad)
    assert said.isfinite().all()
    assert said[1, 1:].abs().max() == 0
    assert (said[:, 0] == 2).all()  # no mask: all is seen
    torch.testing.assert_close(said[0, 1:], guided.guide(crops.device).draw(good)[0, 1:])


def test_networks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="input_size is 64, but 96"):
        replace(SMALL, guided_by=replace(SMALL, input_size=96))
    with pytest.raises(ConfigError, match="must not be guided"):
        replace(SMALL, guided_by=replace(SMALL, guided_by=SMALL))
    with pytest.raises(ConfigError, match="looks first"):
        GuidedEncoder(SMALL)
    other = replace(SMALL, head="flame")
    with pytest.raises(ConfigError, match="open head"):
        make_encoder(replace(other, guided_by=other))
    with pytest.raises(ConfigError, match="trains no further look"):
        TrainConfig(recipe="teacher", guided_by="student")

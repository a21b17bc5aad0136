"""The look at the completed face: what is painted where, where it starts, and whose mask it gives."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from occface_core.distillation.config import TrainConfig
from occface_core.distillation.parts import freeze_but
from occface_core.distillation.run import take_over
from occface_core.errors import ConfigError
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.averaging import average_encoders
from occface_core.networks.completing import CELLS, CompletingEncoder
from occface_core.networks.encoder import EncoderConfig, EncoderOutput, FaceEncoder
from occface_core.networks.guided import GuidedEncoder
from occface_core.networks.looks import further_look, looking_first, make_encoder

TEACHER = EncoderConfig(
    backbone="mobilenet_v3_small", input_size=64, mask_size=32, local_channels=4, evidence_points=20
)
STUDENT = replace(TEACHER, sigma_regions=("nose", "jaw"))
OWN = replace(STUDENT, mask_size=0)
Stored = Callable[[CompletingEncoder, Tensor, Path], CompletingEncoder]


@pytest.fixture(scope="module")
def teacher() -> FaceEncoder:
    torch.manual_seed(0)
    return FaceEncoder(TEACHER).eval()


@pytest.fixture(scope="module")
def student() -> GuidedEncoder:
    torch.manual_seed(1)
    network = further_look(STUDENT, FaceEncoder(STUDENT)).eval()
    assert network.mask_head is not None
    return network


@pytest.fixture
def completing(teacher: FaceEncoder, student: GuidedEncoder) -> GuidedEncoder:
    torch.manual_seed(2)
    network = further_look(OWN, student, completes=True)
    take_over(network, teacher)
    return network.eval()


@pytest.fixture(scope="module")
def crops() -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def saying(network: FaceEncoder, crops: Tensor, logits: Tensor) -> EncoderOutput:
    """The network's answer with another mask."""
    with torch.no_grad():
        return replace(network(crops), mask_logits=logits)


def test_a_seen_face_stays_as_it_is(completing: CompletingEncoder, crops: Tensor) -> None:
    answer = saying(completing.first, crops, torch.full((3, 1, 32, 32), 30.0))
    completed, guide = completing.shown(crops, answer)
    torch.testing.assert_close(completed, crops, rtol=0, atol=1e-5)
    torch.testing.assert_close(guide, completing.guide(crops.device).draw(answer))


def test_a_hidden_face_is_drawn_and_nothing_else(completing: CompletingEncoder, crops: Tensor) -> None:
    logits = torch.full((3, 1, 32, 32), 30.0)
    logits[..., 16:] = -30.0  # the right half of the picture is hidden
    answer = saying(completing.first, crops, logits)
    completed, guide = completing.shown(crops, answer)
    changed = (completed - crops).abs().amax(1)
    assert changed[..., :28].max() < 1e-5
    drawn = guide[:, 1:4] / 4 + 0.5
    middle = (slice(None), slice(None), slice(26, 38), slice(36, 42))  # cheek, far from any seam
    torch.testing.assert_close(completed[middle], drawn[middle], rtol=0, atol=1e-4)
    corner = (guide[:, 4:] == 0).all(1)[..., 34:]  # hidden, but no head is there
    assert corner.any()
    far = torch.nn.functional.avg_pool2d(corner.float(), 7, 1, 3) == 1
    assert changed[..., 34:][far].max() < 1e-5


def test_eyes_are_drawn_too(completing: CompletingEncoder) -> None:
    """A face completed around open holes would be seen as one with its eyes gouged out."""
    guide = completing.guide(torch.device("cpu"))
    inside, head = guide.attributes[:, 3], guide.head
    for name in ("face", "eyes", "teeth"):
        assert (inside[head.regions[name] > 0.5] > 0.5).all(), name
    assert (inside[head.regions["scalp"] > 0.9] < 0.5).all()


def test_numbers_that_are_not_finite_draw_nothing(completing: CompletingEncoder, crops: Tensor) -> None:
    answer = saying(completing.first, crops, torch.full((3, 1, 32, 32), -30.0))
    code = answer.code.clone()
    code[1] = torch.nan
    bad = replace(answer, code=code, params=FaceParameters.from_code(code, completing.layout))
    completed, _ = completing.shown(crops, bad)
    torch.testing.assert_close(completed[1], crops[1], rtol=0, atol=0)
    assert (completed[0] - crops[0]).abs().max() > 0.1


def test_it_starts_between_the_teacher_and_the_student(
    completing: CompletingEncoder, teacher: FaceEncoder, student: GuidedEncoder, crops: Tensor
) -> None:
    with torch.no_grad():
        theirs, mine = student(crops), completing(crops)
        completed, _ = completing.shown(crops, theirs)
        goal = (teacher(completed).code + theirs.code) / 2
    outside = slice(0, 150)  # expressions are bounded after mixing here, before it there
    torch.testing.assert_close(mine.code[:, outside], goal[:, outside], rtol=0, atol=1e-4)
    torch.testing.assert_close(mine.mask_logits, theirs.mask_logits, rtol=0, atol=0)
    torch.testing.assert_close(mine.log_sigma, theirs.log_sigma)
    torch.testing.assert_close(completing.mask(crops), theirs.mask_logits)
    with torch.no_grad():
        torch.testing.assert_close(completing.parameters_of(crops).pose, mine.params.pose)


def test_it_can_believe_either(completing: CompletingEncoder, student: GuidedEncoder, crops: Tensor) -> None:
    with torch.no_grad():
        completing.judge[2].bias[: completing.layout.size].fill_(30.0)
        torch.testing.assert_close(completing(crops).code, student(crops).code, rtol=0, atol=1e-4)
        completing.judge[2].bias[: completing.layout.size].fill_(-30.0)
        assert (completing(crops).code - student(crops).code).abs().max() > 1e-3


def test_only_the_last_look_learns(completing: CompletingEncoder, crops: Tensor) -> None:
    kept = {k: v.clone() for k, v in completing.first.state_dict().items()}
    completing.train()
    out = completing(crops)
    assert out.log_sigma is not None
    (out.code.square().sum() + out.log_sigma.square().sum()).backward()
    for name in ("judge.2.weight", "sigma_head.weight", "backbone.blocks.0.0.weight"):
        grad = completing.get_parameter(name).grad
        assert grad is not None, name
        assert grad.abs().max() > 0, name
    stem = completing.backbone.get_parameter("blocks.0.0.weight").grad
    assert (stem[:, 3:].abs().amax((0, 2, 3)) > 0).all()  # it is told what is drawn
    assert all(p.grad is None for p in completing.first.parameters())
    for name, value in completing.first.state_dict().items():
        assert torch.equal(value, kept[name]), name  # statistics of its normalisation too
    with pytest.raises(ConfigError, match="no such part"):
        freeze_but(completing, "mask_head")


def test_what_is_clean_stays_measured_as_the_teacher_does(
    completing: CompletingEncoder, crops: Tensor
) -> None:
    """Statistics of normalisation are not those of covered pictures, in whatever mode."""
    completing.train()
    kept = {k: v.clone() for k, v in completing.named_buffers() if "running" in k or "num_batches" in k}
    assert kept
    completing(crops)
    for name, value in completing.named_buffers():
        if name in kept:
            assert torch.equal(value, kept[name]), name


def test_where_the_face_is_hidden_is_known(completing: CompletingEncoder, crops: Tensor) -> None:
    logits = torch.full((3, 1, 32, 32), -30.0)
    logits[:, :, :8, :16] = 30.0
    seen = completing.known(saying(completing.first, crops, logits))[:, completing.layout.size :]
    goal = torch.zeros(3, CELLS, CELLS)
    goal[:, :2, :4] = 1.0
    torch.testing.assert_close(seen.unflatten(1, (CELLS, CELLS)), goal)


def test_the_judge_mixes_and_corrects(completing: CompletingEncoder, crops: Tensor) -> None:
    answer = saying(completing.first, crops, torch.zeros(3, 1, 32, 32))
    size = completing.layout.size
    own = torch.zeros(3, size)
    with torch.no_grad():
        completing.judge[2].bias[0] = 2.0
        completing.judge[2].bias[size + 1] = 5.0
        mixed = completing.joined(own, completing.known(answer))
    code = completing.known(answer)[:, :size]
    torch.testing.assert_close(mixed[:, 0], code[:, 0] / (1 + torch.tensor(-2.0).exp()))
    torch.testing.assert_close(mixed[:, 1], code[:, 1] / 2 + 0.5)
    torch.testing.assert_close(mixed[:, 2], code[:, 2] / 2)


def test_a_file_holds_all_looks(
    completing: CompletingEncoder, crops: Tensor, tmp_path: Path, stored: Stored
) -> None:
    again = stored(completing, crops, tmp_path)
    assert isinstance(average_encoders({"one": completing, "two": again}), CompletingEncoder)
    assert looking_first(again) is again.first.first


def test_starts_lead_from_every_kind_to_every_other(
    completing: CompletingEncoder, student: GuidedEncoder
) -> None:
    """What is left out is never the regression."""
    torch.manual_seed(4)
    plain = FaceEncoder(STUDENT)
    expected = {
        "completing from completing": (further_look(OWN, student, completes=True), completing, completing),
        "completing from guided": (further_look(OWN, student, completes=True), student, student),
        "guided from completing": (further_look(STUDENT, plain), completing, student),
        "plain from completing": (FaceEncoder(STUDENT), completing, student.first),
    }
    for name, (model, source, goal) in expected.items():
        take_over(model, source)
        torch.testing.assert_close(model.layers[0].weight, goal.layers[0].weight, msg=name)
    fresh = expected["completing from guided"][0]
    assert fresh.sigma_head is not None
    assert fresh.sigma_head.weight.abs().max() == 0  # the student's is added already


def test_configurations_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="no network that looks first"):
        replace(OWN, completes=True)
    with pytest.raises(ConfigError, match="mask_size must be 0"):
        replace(STUDENT, guided_by=STUDENT, completes=True)
    with pytest.raises(ConfigError, match="must say what is hidden"):
        replace(OWN, guided_by=OWN, completes=True)
    whole = replace(OWN, guided_by=STUDENT, completes=True)
    with pytest.raises(ConfigError, match="must not be guided"):
        replace(OWN, guided_by=whole, completes=True)
    with pytest.raises(ConfigError, match="completes is not set"):
        CompletingEncoder(replace(STUDENT, guided_by=STUDENT))
    assert EncoderConfig.from_dict(whole.to_dict()) == whole
    other = replace(STUDENT, head="flame")
    with pytest.raises(ConfigError, match="open head"):
        make_encoder(replace(other, mask_size=0, guided_by=other, completes=True))
    with pytest.raises(ConfigError, match="trains no further look"):
        TrainConfig(recipe="focus", completes="student")
    with pytest.raises(ConfigError, match="one further look"):
        TrainConfig(recipe="damior", completes="student", guided_by="student")

"""Training a second look: the first stays bit for bit, a run goes on, and one part alone can learn."""

from pathlib import Path

import pytest
import torch

from occface_core.distillation.config import TrainConfig
from occface_core.distillation.run import encoder_config, looking_before, make_model, run_training
from occface_core.distillation.trainer import model_path
from occface_core.errors import CheckpointError
from occface_core.networks.checkpoints import load_encoder, save_encoder
from occface_core.networks.completing import CompletingEncoder
from occface_core.networks.encoder import FaceEncoder
from occface_core.networks.guided import GuidedEncoder


def trained(config: TrainConfig) -> GuidedEncoder:
    run_training(config)
    network = load_encoder(model_path(config.out))
    assert isinstance(network, GuidedEncoder)
    return network


@pytest.fixture
def guided(config: TrainConfig, tmp_path: Path, teacher_file: str) -> TrainConfig:
    """A second look at what a teacher saw."""
    settings = config.replace(recipe="damior", teacher=teacher_file, start_from=teacher_file)
    return settings.replace(guided_by=teacher_file, out=tmp_path / "guided")


def test_the_second_look_learns_and_the_first_stays(guided: TrainConfig, tmp_path: Path) -> None:
    network = trained(guided)
    for name, value in load_encoder(guided.teacher).state_dict().items():
        assert torch.equal(network.first.state_dict()[name], value), name
    stem = network.backbone.get_parameter("blocks.0.0.weight")
    assert (stem[:, 3:].abs().amax((0, 2, 3)) > 0).all()
    more = guided.replace(steps=3)
    assert run_training(more)["resumed"]
    with pytest.raises(CheckpointError, match="guided_by"):
        run_training(more.replace(guided_by=""))


def test_one_part_of_a_second_look_learns_alone(guided: TrainConfig, tmp_path: Path) -> None:
    first = trained(guided.replace(steps=1)).state_dict()
    both = str(model_path(guided.out))
    again = guided.replace(out=tmp_path / "again", start_from=both, guided_by=both, only="mask_head", steps=1)
    then = trained(again).state_dict()
    changed = {name for name, value in then.items() if not torch.equal(value, first[name])}
    assert changed
    assert all(name.startswith("mask_head.") for name in changed), changed


def test_a_deeper_network_starts_from_a_shallower_one_as_it_is(config: TrainConfig, tmp_path: Path) -> None:
    """New blocks pass on what they are given, in a second look too, and then learn."""
    shallow = tmp_path / "shallow.safetensors"
    plain = FaceEncoder(encoder_config(config.replace(recipe="damior", backbone="resnet18")))
    save_encoder(plain, shallow, metadata={"recipe": "teacher"}, half=False)
    deep = config.replace(
        recipe="damior", backbone="resnet34", start_from=str(shallow), guided_by=str(shallow)
    )
    grown = make_model(deep, None, None, looking_before(deep)).eval()
    assert (grown.config.backbone, grown.first.config.backbone) == ("resnet34", "resnet18")
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        known, answer = load_encoder(str(shallow))(image), grown(image)
    torch.testing.assert_close(answer.code, known.code)
    torch.testing.assert_close(answer.mask_logits, known.mask_logits)
    grown(image).code.square().sum().backward()
    new = grown.backbone.get_parameter("stages.2.5.bn2.weight")
    assert new.grad is not None
    assert new.grad.abs().max() > 0


def test_a_shallower_network_does_not_start_from_a_deeper_one(config: TrainConfig, tmp_path: Path) -> None:
    deep = tmp_path / "deep.safetensors"
    save_encoder(FaceEncoder(encoder_config(config.replace(backbone="resnet34"))), deep)
    with pytest.raises(CheckpointError, match="'resnet34', this run 'resnet18'"):
        make_model(config.replace(backbone="resnet18", start_from=str(deep)), None)


def test_a_look_at_the_completed_face_learns_and_goes_on(
    guided: TrainConfig, teacher_file: str, tmp_path: Path
) -> None:
    trained(guided.replace(steps=1))
    student = str(model_path(guided.out))
    third = guided.replace(out=tmp_path / "third", guided_by="", completes=student, start_from=teacher_file)
    network = trained(third)
    assert isinstance(network, CompletingEncoder)
    for name, value in load_encoder(student).state_dict().items():
        assert torch.equal(network.first.state_dict()[name], value), name
    assert network.judge[2].weight.abs().max() > 0
    assert run_training(third.replace(steps=3))["resumed"]
    # What completes is taken from a network that completes: all of its looks but the last.
    whole = str(model_path(third.out))
    again = third.replace(out=tmp_path / "again", completes=whole, start_from=whole, only="judge", steps=1)
    then = trained(again)
    before = load_encoder(whole).state_dict()
    changed = {name for name, value in then.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"judge.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}

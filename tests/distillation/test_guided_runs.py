"""Training a second look: the first stays bit for bit, a run goes on, and one part alone can learn."""

from pathlib import Path

import pytest
import torch

from occface_core.distillation.config import TrainConfig
from occface_core.distillation.run import run_training
from occface_core.distillation.trainer import model_path
from occface_core.errors import CheckpointError
from occface_core.networks.checkpoints import load_encoder
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

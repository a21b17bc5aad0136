"""Training one part of a network: the rest stays bit for bit, or the run is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes import DamiorRecipe
from occface_core.distillation.run import run_training
from occface_core.distillation.trainer import model_path
from occface_core.errors import ConfigError
from occface_core.networks.checkpoints import load_encoder

Losses = Callable[[TrainConfig], list[dict]]


def test_one_part_learns_and_the_rest_stays_bit_for_bit(
    config: TrainConfig, tmp_path: Path, teacher_file: str
) -> None:
    first = load_encoder(teacher_file).state_dict()
    again = config.replace(out=tmp_path / "again", start_from=teacher_file, only="mask_head")
    then = load_encoder(run_training(again)["model"]).state_dict()
    changed = {name for name, value in then.items() if not torch.equal(value, first[name])}
    assert changed
    assert all(name.startswith("mask_head.") for name in changed), changed
    with pytest.raises(ConfigError, match="no such part; it has backbone"):
        run_training(again.replace(out=tmp_path / "wrong", only="nose"))


@pytest.mark.usefixtures("one_thread")
def test_a_mask_head_alone_learns_its_own_term_and_asks_no_teacher(
    losses: Losses,
    config: TrainConfig,
    tmp_path: Path,
    teacher_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = config.replace(recipe="damior", teacher=teacher_file, start_from=teacher_file, steps=1)
    whole = settings.replace(out=tmp_path / "whole", loss_weights="mask=3")
    run_training(whole)

    def asked(self, twin):
        raise AssertionError("nothing but the mask is trained")

    monkeypatch.setattr(DamiorRecipe, "target", asked)
    alone = settings.replace(out=tmp_path / "alone", only="mask_head", loss_weights="mask=3")
    with pytest.raises(ConfigError, match=r"start from and this run's \(damior\) differ in .*sigma"):
        run_training(alone)  # a teacher says nothing of its uncertainty
    with pytest.raises(ConfigError, match="no trained network to start from"):
        run_training(alone.replace(start_from="scratch"))
    alone = alone.replace(start_from=str(model_path(whole.out)))
    run_training(alone)
    (row,), (other,) = losses(alone), losses(whole)
    assert row["total"] == row["mask"] > 0
    # Frozen parts are in eval mode, so the masks themselves differ a little from the whole run's.
    assert row["mask"] == pytest.approx(other["mask"], rel=0.5)

"""What the trainer's tests share: a run small enough for a CPU, and sums in one order."""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from occface_core.distillation import run
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.priors import render_prior
from occface_core.distillation.scene import Scene


@pytest.fixture(scope="module")
def scene(open_head, small_albedo) -> Scene:
    """The shipped head with a made-up albedo."""
    return Scene(open_head, small_albedo)


@pytest.fixture(scope="session", autouse=True)
def few_heads() -> Iterator[None]:
    """Runs fit the prior of landmarks to 250 random heads instead of 4,000: half of a tiny run's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "render_prior", functools.partial(render_prior, count=250))
        yield


def tiny(folder: Path) -> TrainConfig:
    """The smallest run there is, of two steps."""
    return TrainConfig(
        out=folder / "run",
        cache=folder / "cache",
        steps=2,
        batch_size=4,
        input_size=64,
        mask_size=16,
        backbone="mobilenet_v3_small",
        workers=0,
        device="cpu",
        log_every=1,
    )


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return tiny(tmp_path)


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A teacher of one step, of the layout of `config`."""
    return str(run.run_training(tiny(tmp_path_factory.mktemp("teacher")).replace(steps=1))["model"])


@pytest.fixture
def losses() -> Callable[[TrainConfig], list[dict]]:
    """Reads the logged rows of a run."""
    return lambda config: [
        json.loads(line) for line in (config.out / "losses.jsonl").read_text().splitlines()
    ]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order: several threads may add up in another, and Adam makes that visible."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

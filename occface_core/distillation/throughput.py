"""How many images a second this machine occludes, prepares and trains on. Needs no photos.

Rates are wall-clock, measured after a warm-up, on rendered faces: what an occluder or a training step costs
does not depend on whose face it is.
"""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from occface_core.data.synthetic import SyntheticBatch, SyntheticFaces
from occface_core.data.synthetic_pack import synthetic_pack
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.engine import make_fabric
from occface_core.distillation.run import make_model, make_sampler
from occface_core.distillation.scene import Scene
from occface_core.distillation.trainer import Trainer
from occface_core.errors import ConfigError
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.occlusion.api import occlude
from occface_core.occlusion.batched.api import occlude_batch

FACES = 64  # different faces in a measurement
BATCHES = {"cpu": 32, "cuda": 512}  # images per call of the batched occluders


@dataclass(frozen=True)
class Rate:
    """Images per second of wall-clock time, and how many images it was measured on."""

    images_per_s: float
    images: int


def measure(work: Callable[[int], int], device: torch.device, seconds: float) -> Rate:
    """Call `work(i)`, which returns a number of images, until `seconds` have passed.

    Args:
        work: one unit of work.
        device: waited for before the clock is read.
        seconds: shortest time to measure.
    """
    work(0)  # compiles kernels, builds designs, fills caches
    wait(device)
    started, images, turn = time.perf_counter(), 0, 1
    while True:
        images += work(turn)
        turn += 1
        wait(device)
        used = time.perf_counter() - started
        if used >= seconds:
            return Rate(images / used, images)


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _faces(size: int, device: torch.device) -> SyntheticBatch:
    head, albedo = HeadModel.load().to(device), AlbedoModel.load().to(device)
    generator = torch.Generator().manual_seed(0)
    return SyntheticFaces(head, albedo, size).sample(FACES, generator=generator)


def occlusion_rate(
    size: int,
    family: str,
    device: torch.device,
    *,
    occluders: str = "painted",
    seconds: float = 5.0,
    batch: int = 32,
    seed: int = 0,
) -> Rate:
    """Images per second that one process covers.

    Args:
        size: side of the images, pixels. family: as in :func:`occlude`.
        device: where images and results lie. occluders: "painted" or "batched".
        seconds: time to measure. batch: images per call. seed: start of the calls' seeds.
    """
    faces = _faces(size, device)
    cover = occlude_batch if occluders == "batched" else occlude

    def work(turn: int) -> int:
        rows = (torch.arange(batch) + turn * batch) % FACES
        cover(
            faces.image[rows],
            faces.mask[rows],
            points=faces.points[rows],
            family=family,
            coverage=(0.2, 0.5),
            generator=torch.Generator().manual_seed(seed + turn),
            other_images=faces.image[:8],
        )
        return batch

    # Twice the training mix's number of families before the clock starts: each has something to build once.
    for turn in range(2):
        work(-1 - turn)
    return measure(work, device, seconds)


def _one_process(
    size: int, family: str, device: str, occluders: str, batch: int, seconds: float, seed: int
) -> tuple[float, int]:
    torch.set_num_threads(1)
    how: dict[str, Any] = {"occluders": occluders, "batch": batch, "seconds": seconds, "seed": seed}
    rate = occlusion_rate(size, family, torch.device(device), **how)
    return rate.images_per_s, rate.images


def occlusion_rate_of_processes(
    size: int,
    family: str,
    device: torch.device,
    *,
    occluders: str = "painted",
    batch: int = 32,
    seconds: float,
    processes: int,
) -> Rate:
    """Images per second that several processes cover together, as data-loading workers do."""
    if processes < 1:
        raise ConfigError(f"processes {processes} must be at least 1")
    if processes == 1:
        return occlusion_rate(size, family, device, occluders=occluders, seconds=seconds, batch=batch)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        jobs = [(size, family, str(device), occluders, batch, seconds, 10_000 * i) for i in range(processes)]
        rates = pool.starmap(_one_process, jobs, chunksize=1)
    return Rate(sum(rate for rate, _ in rates), sum(images for _, images in rates))


class TrainingRates:
    """Measures the parts of one recipe's training.

    Args:
        config: recipe, network, batch size, precision and device; no photos are read.
        seconds: time for each measurement.
    """

    def __init__(self, config: TrainConfig, seconds: float = 10.0) -> None:
        # Photographs stand for renders here, so that batches hold what a run with photos holds.
        config = config.replace(photos=Path("rendered"), sheet_minutes=0.0, start_from="scratch", workers=0)
        self.config, self.seconds = config, seconds
        self.fabric = make_fabric(config)
        self.scene = Scene(HeadModel.load(), AlbedoModel.load(), self.fabric.device)
        cpu_scene = Scene(HeadModel.load(), AlbedoModel.load())
        packed = synthetic_pack(
            cpu_scene.head, cpu_scene.albedo, FACES, generator=torch.Generator().manual_seed(0)
        )
        self.sampler = make_sampler(config, cpu_scene, packed) if config.photo_count else None
        model = make_model(config, None).to(memory_format=torch.channels_last)
        teacher = make_model(config, None).to(self.fabric.device).requires_grad_(False).eval()
        self.trainer = Trainer(
            config, self.fabric, self.scene, model, teacher=teacher, damior=None, sampler=self.sampler
        )
        # Half way through, where every term of a recipe is at work: some come late, some end early.
        self.trainer.clock.step = config.steps // 2

    def photo_batches(self) -> Rate | None:
        """Crops, jitter and occluders of one data-loading process."""
        if self.sampler is None:
            return None
        sampler = self.sampler
        return measure(lambda turn: len(sampler[turn].clean), torch.device("cpu"), self.seconds)

    def renders(self) -> Rate | None:
        """Rendered faces and their covered twins, made by one process."""
        maker = self.trainer.feed.maker
        if maker.faces is None:
            return None

        def work(turn: int) -> int:
            maker.render(turn, None)
            return self.config.synthetic_count

        return measure(work, self.fabric.device, self.seconds)

    def steps(self) -> Rate:
        """Optimisation steps on one batch that is ready: network, frozen networks, losses, optimizer.

        Batched occluders are part of the step, painted ones are not.
        """
        trainer = self.trainer
        ready = trainer.feed.maker[0].to(self.fabric.device)

        def work(turn: int) -> int:
            trainer.step(trainer.feed.covered(ready, turn))
            return self.config.batch_size

        return measure(work, self.fabric.device, self.seconds)

"""One training loop for every recipe: mixed precision, several devices, exact resume, time budget.

A run is a pure function of its configuration, its data and the step number, except for the learning rate,
which
follows the clock when the budget is in minutes. The clock is stored with every checkpoint.
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from occface_core.data.batches import TwinBatch, TwinSampler
from occface_core.data.synthetic import SyntheticBatch, SyntheticFaces
from occface_core.distillation.clock import Clock, schedule
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes import (
    RECIPE_CLASSES,
    DiamorRecipe,
    Losses,
    MultiviewRecipe,
    Twin,
    join,
)
from occface_core.distillation.scene import Scene
from occface_core.distillation.state import read_state, restore_history, write_state
from occface_core.errors import ConfigError
from occface_core.networks.checkpoints import save_encoder
from occface_core.networks.encoder import EncoderOutput, FaceEncoder
from occface_core.occlusion.api import occlude

log = logging.getLogger(__name__)


class _Tensors(nn.Module):
    """A FaceEncoder that returns plain tensors: Fabric's wrapper cannot pass frozen dataclasses through."""

    def __init__(self, network: FaceEncoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.network.tensors(image)


class Trainer:
    """Runs one recipe.

    Args:
        config: the run's settings.
        fabric: device, precision and process group.
        scene: head and albedo on the device.
        model: the network to train.
        teacher: frozen network of distillation recipes. damior: frozen DAMIOR student, for diamor.
        sampler: photo batches by step, or None to train on renders alone.
    """

    def __init__(
        self,
        config: TrainConfig,
        fabric: Fabric,
        scene: Scene,
        model: FaceEncoder,
        *,
        teacher: FaceEncoder | None = None,
        damior: FaceEncoder | None = None,
        sampler: TwinSampler | None = None,
    ) -> None:
        self.config, self.fabric, self.scene = config, fabric, scene
        recipe = RECIPE_CLASSES[config.recipe]
        extra = {"damior": damior} if recipe is DiamorRecipe else {}
        if recipe.needs_teacher and teacher is None:
            raise ConfigError(f"recipe {config.recipe!r} distils a teacher; give one with --teacher")
        if sampler is None and config.synthetic_count < config.batch_size:
            raise ConfigError("no photos and not all of the batch synthetic: nothing to fill it with")
        self.recipe = recipe(config, scene, teacher, **extra)
        self.recipe.autocast = fabric.autocast
        self.network = model
        self.extra = nn.ModuleDict(getattr(self.recipe, "modules", {})).to(scene.device)
        trained = [*model.parameters(), *self.extra.parameters()]
        decay = [p for p in trained if p.ndim > 1]
        rest = [p for p in trained if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=config.learning_rate,
            fused=True,
        )
        self.model, self.optimizer = fabric.setup(_Tensors(model), optimizer)
        self.sampler = sampler
        self.synthetic = (
            SyntheticFaces(scene.head, scene.albedo, config.input_size) if config.synthetic_count else None
        )
        self.clock = Clock()
        self.history: list[dict[str, float]] = []

    # ---------------------------------------------------------------- data

    def photo_batches(self) -> Iterator[TwinBatch | None]:
        """Photo batches from the current step on; each process of a group takes every n-th."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        if self.sampler is None:
            while True:
                yield None
        start = self.clock.step
        order = range(start * world + rank, 10**9, world)
        loader: DataLoader = DataLoader(
            self.sampler,  # type: ignore[arg-type]  # map-style by protocol, item = batch
            batch_size=None,
            sampler=order,
            num_workers=self.config.workers,
            prefetch_factor=3 if self.config.workers else None,
            multiprocessing_context="spawn" if self.config.workers else None,
        )
        for batch in loader:
            yield batch.to(self.scene.device)

    def render(self, photo: TwinBatch | None) -> tuple[SyntheticBatch | None, tuple[Tensor, Tensor] | None]:
        """This step's synthetic faces, and their occluded twin for recipes that occlude."""
        if self.synthetic is None:
            return None, None
        seed = (self.config.seed * 1_000_003 + self.clock.step) * 64 + self.fabric.global_rank
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            backgrounds = None if photo is None else photo.clean
            count, views = self.config.synthetic_count, self.config.views
            if isinstance(self.recipe, MultiviewRecipe):
                batch = self.synthetic.sample_views(
                    count, views, generator=generator, backgrounds=backgrounds
                )
            else:
                batch = self.synthetic.sample(count, generator=generator, backgrounds=backgrounds)
        if not self.recipe.occludes:
            return batch, None
        result = occlude(
            batch.image,
            batch.mask,
            points=batch.points,
            family=self.config.occluder_family,
            coverage=self.config.coverage,
            generator=generator,
            other_images=batch.image.flip(0),
        )
        keep = (torch.rand(len(batch.image), generator=generator) < self.config.clean_share).to(
            self.scene.device
        )
        pick = keep[:, None, None, None]
        return batch, (
            torch.where(pick, batch.image, result.image),
            torch.where(pick, batch.mask, result.mask),
        )

    # ---------------------------------------------------------------- loop

    def train(self) -> list[dict[str, float]]:
        """Run until the budget is used; returns the logged history."""
        config = self.config
        config.out.mkdir(parents=True, exist_ok=True)
        last_save = time.monotonic()
        bar = tqdm(total=100, desc=config.recipe, unit="%", disable=not self.fabric.is_global_zero)
        batches = self.photo_batches()
        while self.clock.progress(config) < 1.0:
            started = time.monotonic()
            losses = self.step(next(batches))
            self.clock.step += 1
            self.clock.seconds += time.monotonic() - started
            if self.clock.step % config.log_every == 0 or self.clock.progress(config) >= 1.0:
                self._report(losses, bar)
            if time.monotonic() - last_save > 60 * config.checkpoint_minutes:
                self.save_state()
                last_save = time.monotonic()
        bar.close()
        self.save_state()
        return self.history

    def step(self, photo: TwinBatch | None) -> dict[str, float]:
        """One optimisation step; returns mean losses.

        Raises:
            ConfigError: the loss is no longer finite, or memory ran out (with a batch size to try).
        """
        progress = self.clock.progress(self.config)
        rate = self.config.learning_rate * schedule(progress, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        try:
            synthetic, twin_images = self.render(photo)
            twin = join(photo, synthetic, twin_images, self.config.input_size)
            self.model.train()
            self.extra.train()
            self.recipe.step = self.clock.step
            losses = self.recipe.losses(self.predict, channels_last(twin), progress)
            total = torch.stack([value.mean() for value in losses.values()]).sum()
            self.fabric.backward(total)
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"out of memory at batch size {self.config.batch_size}; try --batch-size "
                f"{max(2, self.config.batch_size // 2)}"
            ) from error
        norm = self.fabric.clip_gradients(self.model, self.optimizer, max_norm=5.0, error_if_nonfinite=False)
        if norm is None or torch.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        result = {"total": float(total.detach()), "lr": rate, **_means(losses)}
        if not math.isfinite(result["total"]):
            raise ConfigError(
                f"loss is {result['total']} at step {self.clock.step}: "
                f"{ {k: v for k, v in result.items() if not math.isfinite(v)} }; lower --learning-rate"
            )
        return result

    def predict(self, image: Tensor) -> EncoderOutput:
        """The network under training, in the precision and on the devices Fabric was set up with."""
        return self.network.assemble(self.model(image))

    def _report(self, losses: dict[str, float], bar: tqdm) -> None:
        rate = (
            self.clock.step * self.config.batch_size * self.fabric.world_size / max(self.clock.seconds, 1e-9)
        )
        row = {
            "step": self.clock.step,
            "seconds": round(self.clock.seconds, 1),
            "images_per_s": round(rate, 1),
            **losses,
        }
        self.history.append(row)
        bar.n = round(100 * self.clock.progress(self.config), 1)
        bar.set_postfix_str(f"step {row['step']} loss {losses['total']:.4f} {rate:.0f} img/s")
        bar.refresh()
        if self.fabric.is_global_zero:
            with (self.config.out / "losses.jsonl").open("a") as stream:
                stream.write(json.dumps(row) + "\n")

    # ---------------------------------------------------------------- state

    def save_state(self) -> None:
        """Write the resumable state and the network as it stands."""
        if self.fabric.is_global_zero:
            write_state(
                self.config,
                {
                    "model": self.network.state_dict(),
                    "extra": self.extra.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "step": self.clock.step,
                    "seconds": self.clock.seconds,
                },
            )
            save_encoder(
                self.network,
                self.config.out / "model.safetensors",
                half=False,
                metadata={"recipe": self.config.recipe, "step": str(self.clock.step)},
            )
        self.fabric.barrier()

    def resume(self) -> bool:
        """Continue from the run folder's state if there is one.

        Raises:
            CheckpointError: the state is damaged or belongs to another recipe, backbone or head.
        """
        state = read_state(self.config)
        if state is None:
            return False
        self.network.load_state_dict(state["model"])
        self.extra.load_state_dict(state.get("extra", {}))
        self.optimizer.load_state_dict(state["optimizer"])
        self.clock = Clock(int(state["step"]), float(state["seconds"]))
        if self.fabric.is_global_zero:
            self.history = restore_history(self.config.out / "losses.jsonl", self.clock.step)
        log.info("resumed %s at step %d", self.config.out, self.clock.step)
        return True


def channels_last(twin: Twin) -> Twin:
    """Convolutions run faster on channels-last images."""
    images = {
        k: getattr(twin, k).contiguous(memory_format=torch.channels_last) for k in ("clean", "occluded")
    }
    return Twin(**{**vars(twin), **images})


def _means(losses: Losses) -> dict[str, float]:
    return {name: float(value.detach().mean()) for name, value in losses.items()}


def model_path(out: Path) -> Path:
    """Where a run leaves its network."""
    return out / "model.safetensors"

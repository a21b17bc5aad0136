"""One training loop for every recipe: mixed precision, several processes, exact resume, time budget.

A run is a pure function of its configuration, its data and the step number, except for the learning rate,
which follows the clock when the budget is in minutes. The clock is stored with every checkpoint.
"""

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from occface_core.data.batches import TwinSampler
from occface_core.distillation.clock import Clock, schedule
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.curves import Curves, Row
from occface_core.distillation.feed import Feed, Supply
from occface_core.distillation.memory import enough_memory
from occface_core.distillation.parts import Tensors, freeze_but
from occface_core.distillation.profiles import Profiles
from occface_core.distillation.recipes import RECIPE_CLASSES, DiamorRecipe
from occface_core.distillation.scene import Scene
from occface_core.distillation.sheets import SampleSheet
from occface_core.distillation.state import refuse_other_data, restore, write_state
from occface_core.errors import ConfigError
from occface_core.networks.checkpoints import save_encoder
from occface_core.networks.encoder import EncoderOutput, FaceEncoder

log = logging.getLogger(__name__)

MAX_NORM = 5.0  # of the gradient; larger ones are scaled down


class Trainer:
    """Runs one recipe.

    Args:
        config: the run's settings.
        fabric: device, precision and process group.
        scene: head and albedo on the device.
        model: the network to train.
        teacher: frozen network of distillation recipes. damior: frozen DAMIOR student, for diamor.
        sampler: photo batches by step, or None to train on renders alone.
        sheet: draws sample sheets, or None for none.

    Raises:
        ConfigError: the recipe needs a teacher or photos that are not there.
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
        sheet: SampleSheet | None = None,
    ) -> None:
        self.config, self.fabric, self.scene, self.sheet = config, fabric, scene, sheet
        recipe = RECIPE_CLASSES[config.recipe]
        extra = {"damior": damior} if recipe is DiamorRecipe else {}
        if recipe.needs_teacher and teacher is None:
            raise ConfigError(f"recipe {config.recipe!r} distils a teacher; give one with --teacher")
        self.feed = Feed(
            config,
            scene,
            sampler,
            occludes=recipe.occludes,
            rank=fabric.global_rank,
            world=fabric.world_size,
            profiles=self._profiles(teacher, occludes=recipe.occludes),
        )
        self.recipe = recipe(config, scene, teacher, **extra)
        self.recipe.autocast, self.recipe.over_processes = fabric.autocast, self._mean
        self.weights = config.term_weights
        self.network = model
        self.still = freeze_but(model, config.only) if config.only else []
        self.mask_alone = config.only == "mask_head" and recipe.tells_masks
        # Small networks of a recipe's own; their gradients are averaged here, not by Fabric.
        self.extra = nn.ModuleDict(getattr(self.recipe, "modules", {})).to(scene.device)
        self.model, self.optimizer = fabric.setup(
            Tensors(model, mask_alone=self.mask_alone), self._optimizer()
        )
        self.data: dict[str, str] = {}  # what the run learns from, see `data_identity`
        self.clock = Clock()
        self.curves = Curves(config.out, active=fabric.is_global_zero)

    def _profiles(self, teacher: FaceEncoder | None, *, occludes: bool) -> Profiles | None:
        config = self.config
        if not config.profile_share:
            return None
        if teacher is None:
            raise ConfigError("profile_share: a teacher fits photos before they are turned; give --teacher")
        covers = occludes and config.occluders == "painted"
        return Profiles(config, self.scene, teacher, covers=covers, autocast=self.fabric.autocast)

    def _optimizer(self) -> torch.optim.Optimizer:
        trained = [p for p in self.network.parameters() if p.requires_grad] + [*self.extra.parameters()]
        decay = [p for p in trained if p.ndim > 1]
        rest = [p for p in trained if p.ndim <= 1]
        return torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": self.config.weight_decay},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=self.config.learning_rate,
            fused=True,
        )

    # ---------------------------------------------------------------- loop

    def train(self) -> list[Row]:
        """Run until the budget is used; returns the logged rows."""
        config, clock = self.config, self.clock
        config.out.mkdir(parents=True, exist_ok=True)
        saved = drawn = clock.seconds
        bar = tqdm(total=100, desc=config.recipe, unit="%", disable=not self.fabric.is_global_zero)
        batches = self.feed.supplies(clock.step)
        while clock.progress(config) < 1.0:
            started = time.monotonic()
            with enough_memory(config.batch_size):  # covering and turning on a GPU take theirs here
                supply = next(batches)
            losses = self.step(supply)
            clock.step += 1
            clock.seconds += self._agreed(time.monotonic() - started)
            if clock.step % config.log_every == 0 or clock.progress(config) >= 1.0:
                self._report(losses, bar)
            # Both follow the clock that all processes share, so that all of them stop for it.
            if clock.seconds - saved > 60 * config.checkpoint_minutes:
                self.save_state()
                saved = clock.seconds
            if config.sheet_minutes and clock.seconds - drawn > 60 * config.sheet_minutes:
                self.save_sheet()
                drawn = clock.seconds
        bar.close()
        self.save_state()
        if config.sheet_minutes:
            self.save_sheet()
        self.curves.close()
        return self.curves.rows

    def step(self, supply: Supply) -> Row:
        """One optimisation step; returns mean losses.

        Raises:
            ConfigError: the loss is no longer finite, or memory ran out (with a batch size to try).
        """
        progress = self.clock.progress(self.config)
        rate = self.config.learning_rate * schedule(progress, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with enough_memory(self.config.batch_size):
            means = self._backward(supply, progress)
        if self._gradients_fit():
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        values = torch.stack(list(means.values())).tolist()  # one transfer from the GPU
        result = {"total": math.fsum(values), "lr": rate, **dict(zip(means, values, strict=True))}
        if not math.isfinite(result["total"]):
            raise ConfigError(
                f"loss is {result['total']} at step {self.clock.step}: "
                f"{ {k: v for k, v in result.items() if not math.isfinite(v)} }; lower --learning-rate"
            )
        return result

    def _backward(self, supply: Supply, progress: float) -> dict[str, Tensor]:
        """Weighted mean of every term, its gradients accumulated."""
        twin = self.feed.twin(supply)
        self.model.train()
        self.extra.train()
        for part in self.still:
            part.eval()
        self.recipe.step = self.clock.step
        if self.mask_alone:
            losses = self.recipe.mask_alone(lambda image: self.model(image)["mask"], twin)
        else:
            losses = self.recipe.losses(self.predict, twin, progress)
        # A weight of 0 still sends (zero) gradients everywhere, as synchronised processes need.
        means = {name: self.weights.get(name, 1.0) * value.mean() for name, value in losses.items()}
        self.fabric.backward(torch.stack(list(means.values())).sum())
        return {name: value.detach() for name, value in means.items()}

    def _gradients_fit(self) -> bool:
        """Average the recipe's own networks over the processes, limit gradients; False when not finite."""
        own = [p for p in self.extra.parameters() if p.grad is not None]
        for p in own:
            p.grad = None if p.grad is None else self._mean(p.grad)
        norm = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=MAX_NORM, error_if_nonfinite=False
        )
        extra = nn.utils.clip_grad_norm_(own, MAX_NORM)
        return bool(torch.isfinite(extra)) and (norm is None or bool(torch.isfinite(norm)))

    def predict(self, image: Tensor) -> EncoderOutput:
        """The network under training, in the precision and on the devices Fabric was set up with."""
        return self.network.assemble(self.model(image))

    def _mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        if self.fabric.world_size == 1:
            return values
        reduced = self.fabric.all_reduce(values, reduce_op="mean")
        assert isinstance(reduced, Tensor)
        return reduced

    def _agreed(self, seconds: float) -> float:
        """The processes' mean: they must all leave the loop, and save, at the same step."""
        return float(self._mean(torch.tensor(seconds, device=self.fabric.device)))

    def _report(self, losses: Row, bar: tqdm) -> None:
        clock = self.clock
        values = self._mean(torch.tensor([*losses.values()], device=self.fabric.device, dtype=torch.float32))
        losses = dict(zip(losses, values.tolist(), strict=True))
        rate = clock.step * self.config.batch_size * self.fabric.world_size / max(clock.seconds, 1e-9)
        row = {
            "step": clock.step,
            "seconds": round(clock.seconds, 1),
            "images_per_s": round(rate, 1),
            **losses,
        }
        self.curves.add(row)
        bar.n = round(100 * clock.progress(self.config), 1)
        bar.set_postfix_str(f"step {row['step']} loss {losses['total']:.4f} {rate:.0f} img/s")
        bar.refresh()

    # ---------------------------------------------------------------- state

    def save_sheet(self) -> None:
        """Draw how the network does on the run's fixed faces, once per step."""
        if self.sheet is None or not self.fabric.is_global_zero:
            return
        path = self.config.out / "sheets" / f"step-{self.clock.step:06d}.png"
        if not path.is_file():
            self.sheet.save(self.network, path, f"{self.config.recipe}, step {self.clock.step}")

    def save_state(self) -> None:
        """Write the resumable state and the network as it stands."""
        if self.fabric.is_global_zero:
            write_state(
                self.config,
                {
                    "model": self.network.state_dict(),
                    "extra": self.extra.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "data": self.data,
                    "step": self.clock.step,
                    "seconds": self.clock.seconds,
                },
            )
            save_encoder(
                self.network,
                model_path(self.config.out),
                half=False,
                metadata={"recipe": self.config.recipe, "step": str(self.clock.step)},
            )
        self.fabric.barrier()

    def resume(self, state: dict[str, Any] | None) -> bool:
        """Continue from a state of `read_state`; whether there was one.

        Raises:
            CheckpointError: the state does not fit the network.
        """
        if state is None:
            self.curves.resume(0)  # a run killed before its first state left rows that come once more
            return False
        refuse_other_data(self.config, state, self.data)
        restore(self.config, state, self.network, self.extra, self.optimizer)
        self.clock = Clock(int(state["step"]), float(state["seconds"]))
        self.curves.resume(self.clock.step)
        log.info("resumed %s at step %d", self.config.out, self.clock.step)
        return True


def model_path(out: Path) -> Path:
    """Where a run leaves its network."""
    return out / "model.safetensors"

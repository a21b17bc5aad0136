"""The batch of a step: photos, renders and their covered twins, a pure function of seed, step and process."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from occface_core.data.batches import TwinBatch, TwinSampler
from occface_core.data.synthetic import SyntheticBatch, SyntheticFaces
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.covers import cover, shown
from occface_core.distillation.profiles import Profiles
from occface_core.distillation.recipes import Twin, join
from occface_core.distillation.scene import Scene
from occface_core.errors import ConfigError
from occface_core.occlusion.batched.api import occlude_batch
from occface_core.occlusion.batched.place import estimate_depths


@dataclass(frozen=True)
class Supply:
    """What a step is fed with, before it is joined into one batch.

    Attributes:
        photo: photographs and their covered twins. rendered: synthetic faces.
        covered: their covered images and visible masks, for recipes that occlude.
    """

    photo: TwinBatch | None
    rendered: SyntheticBatch | None
    covered: tuple[Tensor, Tensor] | None

    def to(self, device: torch.device) -> "Supply":
        """The same on `device`."""
        photo, rendered, covered = self.photo, self.rendered, self.covered
        if rendered is not None:
            rendered = SyntheticBatch(
                rendered.image.to(device),
                rendered.params.to(device),
                rendered.mask.to(device),
                rendered.points.to(device),
            )
        return Supply(
            None if photo is None else photo.to(device),
            rendered,
            None if covered is None else (covered[0].to(device), covered[1].to(device)),
        )


class Maker:
    """Map-style dataset: item `step * world + rank` is everything a step of one process is fed with.

    Args:
        config: the run's settings.
        faces: renders faces, on any device; None for runs without renders.
        sampler: photo batches by number; None for runs without photos.
        occludes: whether the recipe looks at covered twins.
        world: number of processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        faces: SyntheticFaces | None,
        sampler: TwinSampler | None,
        *,
        occludes: bool,
        world: int = 1,
    ) -> None:
        self.config, self.faces, self.sampler = config, faces, sampler
        self.occludes, self.world = occludes, world

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, number: int) -> Supply:
        photo = None if self.sampler is None else self.sampler[number]
        rendered, covered = self.render(number, photo)
        return Supply(photo, rendered, covered)

    def render(
        self, number: int, photo: TwinBatch | None
    ) -> tuple[SyntheticBatch | None, tuple[Tensor, Tensor] | None]:
        """Synthetic faces; their covered images and visible masks for recipes that occlude."""
        if self.faces is None:
            return None, None
        step, rank = divmod(number, self.world)
        generator = torch.Generator().manual_seed((self.config.seed * 1_000_003 + step) * 64 + rank)
        count, views = self.config.synthetic_count, self.config.views
        backgrounds = None if photo is None else photo.clean
        with torch.no_grad():
            if self.config.recipe == "multiview":
                batch = self.faces.sample_views(count, views, generator=generator, backgrounds=backgrounds)
            else:
                batch = self.faces.sample(count, generator=generator, backgrounds=backgrounds)
        if not self.occludes:
            return batch, None
        made = cover(self.config, batch.image, batch.mask, batch.points, generator)
        return batch, (made.image, made.mask)


class Feed:
    """Feeds one process of a run, from worker processes if there are any.

    Workers render too: drawing heads and above all covering them would otherwise hold up the training step.

    Args:
        config: the run's settings.
        scene: head and albedo on the device.
        sampler: photo batches by number, or None to train on renders alone.
        occludes: whether the recipe looks at covered twins.
        rank, world: this process and how many there are; every process gets batches of its own.
        profiles: turns photos out of their plane, or None.

    Raises:
        ConfigError: there is nothing to fill the photos' part of a batch with.
    """

    def __init__(
        self,
        config: TrainConfig,
        scene: Scene,
        sampler: TwinSampler | None,
        *,
        occludes: bool,
        rank: int = 0,
        world: int = 1,
        profiles: Profiles | None = None,
    ) -> None:
        if sampler is None and config.synthetic_count < config.batch_size:
            raise ConfigError("no photos and not all of the batch synthetic: nothing to fill it with")
        self.config, self.device = config, scene.device
        self.rank, self.world, self.profiles = rank, world, profiles
        head, albedo = scene.head, scene.albedo
        if config.workers:  # they have no GPU of their own
            head, albedo = copy.deepcopy(head).cpu(), copy.deepcopy(albedo).cpu()
        faces = SyntheticFaces(head, albedo, config.input_size) if config.synthetic_count else None
        batched = config.occluders == "batched"
        self.covers, self.mean_points = occludes and batched, scene.mean_points.to(scene.device)
        self.maker = Maker(config, faces, sampler, occludes=occludes and not batched, world=world)

    def supplies(self, start: int) -> Iterator[Supply]:
        """What the steps from `start` on are fed with, on the device."""
        workers = self.config.workers
        loader: DataLoader = DataLoader(
            self.maker,  # type: ignore[arg-type]  # map-style by protocol, item = all of a step
            batch_size=None,
            sampler=range(start * self.world + self.rank, 10**9, self.world),
            num_workers=workers,
            prefetch_factor=3 if workers else None,
            multiprocessing_context="spawn" if workers else None,
        )
        for step, supply in enumerate(loader, start):
            number = step * self.world + self.rank
            yield self.covered(self.turned(supply.to(self.device), number), number)

    def turned(self, supply: Supply, number: int) -> Supply:
        """Turn some of an item's photos out of their plane, where the settings ask for it."""
        if self.profiles is None or supply.photo is None:
            return supply
        return replace(supply, photo=self.profiles.turn(supply.photo, number))

    def covered(self, supply: Supply, number: int) -> Supply:
        """Cover an item's photos and renders on the device, where the settings ask for it."""
        if not self.covers:
            return supply
        clean, outline, face, points = self._faces(supply)
        seed = int(np.random.default_rng([self.config.seed, 4, number]).integers(2**62))
        generator = torch.Generator().manual_seed(seed)
        result = occlude_batch(
            clean,
            outline,
            points=points,
            family=self.config.occluder_family,
            coverage=self.config.coverage,
            second=self.config.second_share,
            generator=generator,
            other_images=clean.flip(0),
        ).sparing(clean, outline, self.config.clean_share, generator)
        result = shown(self.config, result, points, seed)
        seen = result.image
        photo, count, visible = supply.photo, 0, face * (1 - result.occluder)
        if photo is not None:
            count = len(photo.clean)
            photo = replace(
                photo,
                occluded=seen[:count],
                visible=visible[:count],
                coverage=result.coverage[:count],
                family=result.family[:count],
            )
        covered = None if supply.rendered is None else (seen[count:], visible[count:])
        return Supply(photo, supply.rendered, covered)

    def _faces(self, supply: Supply) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Clean images, whole faces, their skin and points with depth, photos first."""
        parts = []
        if supply.photo is not None:
            photo = supply.photo
            points = estimate_depths(photo.points, self.mean_points)
            parts.append((photo.clean, photo.outline, photo.face_mask, points))
        if supply.rendered is not None:
            rendered = supply.rendered
            parts.append((rendered.image, rendered.mask, rendered.mask, rendered.points))
        clean, outline, face, points = (torch.cat(part) for part in zip(*parts, strict=True))
        return clean, outline, face, points

    def twin(self, supply: Supply) -> Twin:
        """Everything the recipe sees in a step; images channels-last, as convolutions like them."""
        twin = join(supply.photo, supply.rendered, supply.covered, self.config.input_size)
        images = {
            k: getattr(twin, k).contiguous(memory_format=torch.channels_last) for k in ("clean", "occluded")
        }
        return Twin(**{**vars(twin), **images})

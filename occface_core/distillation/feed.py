"""The batch of a step: photos, renders and their covered twins, a pure function of seed, step and process."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from occface_core.data.batches import TwinBatch, TwinSampler
from occface_core.data.synthetic import SyntheticBatch, SyntheticFaces
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes import Twin, join
from occface_core.distillation.scene import Scene
from occface_core.errors import ConfigError
from occface_core.occlusion.api import occlude


class Feed:
    """Makes the batches of one process of a run.

    Args:
        config: the run's settings.
        scene: head and albedo on the device.
        sampler: photo batches by number, or None to train on renders alone.
        occludes: whether the recipe looks at covered twins.
        rank, world: this process and how many there are; every process gets batches of its own.

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
    ) -> None:
        if sampler is None and config.synthetic_count < config.batch_size:
            raise ConfigError("no photos and not all of the batch synthetic: nothing to fill it with")
        self.config, self.scene, self.sampler, self.occludes = config, scene, sampler, occludes
        self.rank, self.world = rank, world
        self.synthetic = (
            SyntheticFaces(scene.head, scene.albedo, config.input_size) if config.synthetic_count else None
        )

    def photos(self, start: int) -> Iterator[TwinBatch | None]:
        """Photo batches from step `start` on, on the device; None for every step of a run without photos."""
        if self.sampler is None:
            while True:
                yield None
        workers = self.config.workers
        loader: DataLoader = DataLoader(
            self.sampler,  # type: ignore[arg-type]  # map-style by protocol, item = batch
            batch_size=None,
            sampler=range(start * self.world + self.rank, 10**9, self.world),
            num_workers=workers,
            prefetch_factor=3 if workers else None,
            multiprocessing_context="spawn" if workers else None,
        )
        for batch in loader:
            yield batch.to(self.scene.device)

    def twin(self, step: int, photo: TwinBatch | None) -> Twin:
        """Everything the recipe sees in this step; images channels-last, as convolutions like them."""
        synthetic, covered = self.render(step, photo)
        twin = join(photo, synthetic, covered, self.config.input_size)
        images = {
            k: getattr(twin, k).contiguous(memory_format=torch.channels_last) for k in ("clean", "occluded")
        }
        return Twin(**{**vars(twin), **images})

    def render(
        self, step: int, photo: TwinBatch | None
    ) -> tuple[SyntheticBatch | None, tuple[Tensor, Tensor] | None]:
        """This step's synthetic faces; their covered images and visible masks for recipes that occlude."""
        if self.synthetic is None:
            return None, None
        seed = (self.config.seed * 1_000_003 + step) * 64 + self.rank
        generator = torch.Generator().manual_seed(seed)
        count, views = self.config.synthetic_count, self.config.views
        backgrounds = None if photo is None else photo.clean
        with torch.no_grad():
            if self.config.recipe == "multiview":
                batch = self.synthetic.sample_views(
                    count, views, generator=generator, backgrounds=backgrounds
                )
            else:
                batch = self.synthetic.sample(count, generator=generator, backgrounds=backgrounds)
        return batch, self.cover(batch, generator) if self.occludes else None

    def cover(self, batch: SyntheticBatch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Covered images and visible masks of renders; some stay clean, as among photos."""
        result = occlude(
            batch.image,
            batch.mask,
            points=batch.points,
            family=self.config.occluder_family,
            coverage=self.config.coverage,
            generator=generator,
            other_images=batch.image.flip(0),
        )
        keep = torch.rand(len(batch.image), generator=generator) < self.config.clean_share
        pick = keep.to(batch.image.device)[:, None, None, None]
        return torch.where(pick, batch.image, result.image), torch.where(pick, batch.mask, result.mask)

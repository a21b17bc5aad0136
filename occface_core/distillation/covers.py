"""Pictures of a batch covered one by one, as the run's settings ask for."""

from dataclasses import replace

import torch
from torch import Tensor

from occface_core.data.degrade import as_shown
from occface_core.distillation.config import TrainConfig
from occface_core.occlusion.api import occlude
from occface_core.occlusion.types import Occlusion


def cover(
    config: TrainConfig, clean: Tensor, face: Tensor, points: Tensor, generator: torch.Generator
) -> Occlusion:
    """Covers, second objects, harsh, poor and cut pictures; some stay clean, as among photos.

    Args:
        clean: (B,3,S,S). face: (B,1,S,S) the faces whole. points: (B,468,3) landmarks with depth, pixels.
    """
    result = occlude(
        clean,
        face,
        points=points,
        family=config.occluder_family,
        coverage=config.coverage,
        second=config.second_share,
        generator=generator,
        other_images=clean.flip(0),
    ).sparing(clean, face, config.clean_share, generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    return shown(config, result, points, seed)


def shown(config: TrainConfig, made: Occlusion, points: Tensor, seed: int) -> Occlusion:
    """Covered pictures as a student sees them, see `as_shown`; beyond a photo's border all is hidden."""
    image, inside = as_shown(
        made.image,
        points,
        poor_share=config.poor_share,
        harsh_share=config.harsh_share,
        cut_share=config.cut_share,
        seed=[seed],
    )
    hidden = torch.maximum(made.occluder, 1 - inside)
    return replace(made, image=image, mask=made.mask * inside, occluder=hidden)

"""Covered twins of annotated photos: how much worse landmarks get when part of the face is hidden.

The protocol of the occluded AFLW2000-3D (Ju et al., WACV 2022), on any set with 68 points: the same photos,
the same annotation, once as they are and once covered.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.ranges import check_share_range
from occface_core.errors import ConfigError
from occface_core.evaluation.predictions import drawn_points
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.encoder import FaceEncoder
from occface_core.occlusion.api import occlude
from occface_core.occlusion.face_points import face_mask_from_points
from occface_core.occlusion.request import resolve_family


@dataclass(frozen=True)
class LandmarkCovers:
    """Covers crops, each a pure function of the photo's place in the set.

    Occluders hold on to 468 points, which such sets do not have: they are those of `locator` on the uncovered
    crop. Networks with one input size and crop are shown the same pixels; with other sizes, the same objects.

    Args:
        locator: network that says where the face is.
        head: the head it predicts.
        family: an occluder family or group.
        coverage: range of the share of the face that is hidden.
        seed: of the covers.

    Raises:
        ConfigError: the coverage is not an increasing pair within 0..1, or the seed is negative.
        OcclusionError: there is no such family.
    """

    locator: FaceEncoder
    head: HeadModel
    family: str = "random"
    coverage: tuple[float, float] = (0.2, 0.5)
    seed: int = 0

    def __post_init__(self) -> None:
        resolve_family(self.family, has_points=True)
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} must be at least 0")
        check_share_range("coverage", self.coverage, may_be_one_value=True)

    @torch.no_grad()
    def __call__(
        self, crops: Float[Tensor, "B 3 S S"], places: list[int]
    ) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B"]]:
        """Cover crops of the photos at `places`: the pictures, and the share of each face that is hidden."""
        size = crops.shape[-1]
        params = self.locator(crops).params
        verts = self.head(params.betas, params.expression, params.pose).verts
        points = drawn_points(self.head, verts, params, size)
        face = face_mask_from_points(points[..., :2], size, size)
        covered, hidden = [], []
        for i, place in enumerate(places):
            rng = np.random.default_rng([self.seed, 5, place])
            one = slice(i, i + 1)
            result = occlude(
                crops[one],
                face[one],
                points=points[one],
                family=self.family,
                coverage=self.coverage,
                generator=torch.Generator().manual_seed(int(rng.integers(2**62))),
            )
            covered.append(result.image)
            hidden.append(result.coverage)
        return torch.cat(covered), torch.cat(hidden)

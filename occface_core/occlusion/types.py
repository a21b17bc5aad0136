"""What an occlusion generator takes and returns."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.errors import OcclusionError


@dataclass(frozen=True)
class Occlusion:
    """A batch of occluded images with exact ground truth.

    Letters: B batch, H W image.

    Attributes:
        image: (B,3,H,W) RGB in [0,1] with the occluders composited in.
        mask: (B,1,H,W) visible face skin after occlusion: ``face_mask * (1 - occluder)``.
        occluder: (B,1,H,W) opacity of the occluder in [0,1]; fractional on anti-aliased edges and on
            see-through parts such as the lenses of clear glasses.
        family: family name of every sample, for example ``"medical_mask"``.
        coverage: (B,) share of the visible face the occluder hides, ``1 - mask.sum() / face_mask.sum()``;
            0 where the face mask is empty.
    """

    image: Float[Tensor, "B 3 H W"]
    mask: Float[Tensor, "B 1 H W"]
    occluder: Float[Tensor, "B 1 H W"]
    family: list[str]
    coverage: Float[Tensor, " B"]

    def sparing(
        self,
        image: Float[Tensor, "B 3 H W"],
        face_mask: Float[Tensor, "B 1 H W"],
        share: float,
        generator: torch.Generator,
    ) -> "Occlusion":
        """The same batch with about ``share`` of the samples uncovered again, their family "clean".

        Args:
            image: (B,3,H,W) what was covered.
            face_mask: (B,1,H,W) visible face skin before occlusion.
            share: chance of every sample.
            generator: source of the choice, on the CPU.
        """
        keep = torch.rand(len(image), generator=generator) < share
        chosen = keep.to(image.device)
        pick = chosen[:, None, None, None]
        return Occlusion(
            torch.where(pick, image, self.image),
            torch.where(pick, face_mask, self.mask),
            self.occluder.masked_fill(pick, 0.0),
            ["clean" if k else f for k, f in zip(keep.tolist(), self.family, strict=True)],
            self.coverage.masked_fill(chosen, 0.0),
        )


@dataclass(frozen=True)
class Sample:
    """One image as the per-sample painters see it (numpy, channels last).

    Attributes:
        image: (H,W,3) float32 RGB in [0,1]; painters never write into it.
        face: (H,W) float32 face mask, 1 = visible face skin.
        points: (468,3) float32 face points, x right, y down in pixels, depth in pixels (larger = farther).
        other: (h,w,3) float32 pixels of another picture, or None.
        target: wanted share of the face to hide, or None for the family's natural size.
        shadows: whether the occluder may darken pixels around it.
        bare: (H,W,3) the picture before a first object was put into it, where this is the second one.
    """

    image: np.ndarray
    face: np.ndarray
    points: np.ndarray | None
    other: np.ndarray | None
    target: float | None
    shadows: bool = True
    bare: np.ndarray | None = None

    @property
    def original(self) -> np.ndarray:
        """(H,W,3) the photograph, from which skin, hair, light, sharpness and noise are read."""
        return self.image if self.bare is None else self.bare

    @property
    def height(self) -> int:
        return self.image.shape[0]

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @property
    def face_points(self) -> np.ndarray:
        """The points, for painters that cannot do without them.

        Raises:
            OcclusionError: there are none.
        """
        if self.points is None:
            raise OcclusionError("this family needs points (B,468,3); pass points= to occlude")
        return self.points

    def hidden(self, alpha: np.ndarray) -> float:
        """Share of the visible face hidden by an opacity map (H,W)."""
        total = float(self.face.sum())
        return float((self.face * alpha).sum()) / total if total > 0 else 0.0


@dataclass(frozen=True)
class Painted:
    """What a painter returns.

    Attributes:
        colour: (H,W,3) float32 colour of the occluder, only used where alpha > 0.
        alpha: (H,W) float32 opacity in [0,1].
        shadow: (H,W) float32 factor in (0,1] multiplied into the image below the occluder, or None.
    """

    colour: np.ndarray
    alpha: np.ndarray
    shadow: np.ndarray | None = None

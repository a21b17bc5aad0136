"""What the batched painters of every family take and return."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occface_core.occlusion.batched.draws import Draws

COARSE = 64  # shapes are sized on a face mask no larger than this


@dataclass(frozen=True)
class Group:
    """The samples of a batch that one painter covers, float32, all on one device.

    Attributes:
        image: (B,3,H,W) RGB in [0,1].
        face: (B,1,H,W) face mask.
        points: (B,468,3) face points, pixels and depth, or None.
        target: (B,) wanted share of the face to hide.
        draws: random numbers of the samples.
        others: (N,3,h,w) pictures to cut pieces from, or None.
        bare: (B,3,H,W) the pictures before a first object was put into them, where this is the second one.
        natural: nobody asked for a coverage: objects keep their usual size, and `target` is a guess.
    """

    image: Float[Tensor, "B 3 H W"]
    face: Float[Tensor, "B 1 H W"]
    points: Float[Tensor, "B 468 3"] | None
    target: Float[Tensor, " B"]
    draws: Draws
    others: Float[Tensor, "N 3 h w"] | None = None
    natural: bool = False
    bare: Float[Tensor, "B 3 H W"] | None = None

    @property
    def original(self) -> Float[Tensor, "B 3 H W"]:
        """The photographs, from which skin, hair, light, sharpness and noise are read."""
        return self.image if self.bare is None else self.bare

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[2], self.image.shape[3]


@dataclass(frozen=True)
class Layer:
    """What a painter returns: colour and opacity of the occluders, factors for the picture below them.

    Attributes:
        colour: (B,3,H,W), finite, used where alpha > 0.
        alpha: (B,1,H,W) opacity in [0,1].
        shadow: (B,1,H,W) factors in (0,1], exactly 1 off the face, or None.
    """

    colour: Float[Tensor, "B 3 H W"]
    alpha: Float[Tensor, "B 1 H W"]
    shadow: Float[Tensor, "B 1 H W"] | None = None


def compose(image: Float[Tensor, "B 3 H W"], layer: Layer) -> Float[Tensor, "B 3 H W"]:
    """Darken a picture and blend the layer over it; pixels that neither touches keep their exact bits."""
    below = image if layer.shadow is None else image * layer.shadow
    mixed = below + layer.alpha * (layer.colour - below)
    return torch.where(layer.alpha > 0, mixed.clamp(0, 1), below)


def coarse_face(face: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 h w"]:
    """The face mask on a grid of at most ``COARSE`` cells a side, averaged over each cell."""
    height, width = face.shape[2:]
    shrink = min(1.0, COARSE / max(height, width))
    small = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    return face if small == (height, width) else F.adaptive_avg_pool2d(face, small)


def pixel_centres(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x (W,) and y (H,) of pixel centres, pixels."""
    return (
        torch.arange(width, device=device, dtype=torch.float32) + 0.5,
        torch.arange(height, device=device, dtype=torch.float32)[:, None] + 0.5,
    )

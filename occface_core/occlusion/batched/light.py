"""Light on the faces of a batch, estimated from the pictures as ``lighting.estimate_light`` does for one."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.occlusion.batched.device import constant
from occface_core.occlusion.batched.group import Group
from occface_core.occlusion.batched.place import Poses
from occface_core.occlusion.canonical import canonical_normals
from occface_core.occlusion.lighting import LUMA, SKIN

_FEWEST = 20  # skin points that must be seen


@dataclass(frozen=True)
class Lights:
    """Light estimated from faces; the attributes are those of ``lighting.Light``."""

    level: Float[Tensor, "B 3"]
    skin: Float[Tensor, "B 3"]
    gradient: Float[Tensor, "B 3"]
    offset: Float[Tensor, " B"]

    def relative(self, normals: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V"]:
        """Brightness of surfaces with unit normals, 1 = the face's own mean."""
        x, y, z = (normals[..., k] * self.gradient[:, None, k] for k in range(3))
        return (1.0 + (x + y + z) - self.offset[:, None]).clamp(0.3, 1.5)


@lru_cache(maxsize=4)
def _skin(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(SKIN, device=device), torch.tensor(canonical_normals()[SKIN], device=device)


def luma(colour: Float[Tensor, "... 3"]) -> Float[Tensor, "..."]:
    """Brightness of RGB."""
    red, green, blue = (colour[..., k] * float(LUMA[k]) for k in range(3))
    return red + green + blue


def _ranked(values: Tensor, count: Tensor, share: float) -> Tensor:
    """The value at ``share`` of the first ``count`` (B,) of sorted values (B,N)."""
    place = (count * share).long().clamp(max=values.shape[1] - 1)
    return values.gather(1, place[:, None])[:, 0]


def estimate_lights(group: Group, poses: Poses) -> Lights:
    """Fit brightness = a + b.n to the skin at the face points, and guess the white level."""
    assert group.points is not None
    ids, model = _skin(group.image.device)
    (height, width), points = group.size, group.points.index_select(1, ids)
    normals = poses.turn(model[None].expand(len(points), -1, -1))
    column, row = points[..., 0].floor().long(), points[..., 1].floor().long()
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (normals[..., 2] > 0.15)
    place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    colours = group.original.flatten(2).gather(2, place[:, None].expand(-1, 3, -1)).mT
    count = seen.sum(1)
    hidden = ~seen
    ranked = luma(colours).masked_fill(hidden, torch.inf).sort(1).values
    low, middle, high = (_ranked(ranked, count, share) for share in (0.05, 0.5, 0.97))
    luminance = torch.minimum(torch.maximum(luma(colours), low[:, None]), high[:, None])
    middle = middle.clamp_min(0.03)
    gradient = _gradient(normals, luminance / middle[:, None], seen, count)
    mean = (normals.double() * seen[..., None]).sum(1) / count.clamp_min(1)[:, None]
    offset = (mean * gradient.double()).sum(1).float()
    by_channel = colours.masked_fill(hidden[..., None], torch.inf).sort(1).values
    skin = torch.stack([_ranked(by_channel[..., k], count, 0.5) for k in range(3)], dim=1)
    lit = (count >= _FEWEST)[:, None]
    return Lights(
        level=torch.where(lit, _white(group, middle), 0.8),
        skin=torch.where(lit, skin, 0.5),
        gradient=torch.where(lit, gradient, 0.0),
        offset=torch.where(lit[:, 0], offset, 0.0),
    )


def _gradient(normals: Tensor, brightness: Tensor, seen: Tensor, count: Tensor) -> Float[Tensor, "B 3"]:
    """Robust slope of the brightness along the normal; some form even where the light is flat."""
    design = torch.cat([normals, torch.ones_like(normals[..., :1])], dim=2).double() * seen[..., None]
    ridge = constant((0.05, 0.05, 0.1, 1e-6), normals.device, torch.float64)
    system = design.mT @ design + torch.diag_embed(ridge * count[:, None].clamp_min(1))
    right = design.mT @ torch.where(seen, brightness, 0.0).double()[..., None]
    fit = torch.linalg.solve_ex(system, right, check_errors=False)[0][:, :3, 0]
    usual = constant((0.0, 0.10, 0.12), normals.device)
    return fit.float().nan_to_num(0.0).clamp(-0.8, 0.8) + usual


def _white(group: Group, middle: Tensor) -> Float[Tensor, "B 3"]:
    """Colour of a white surface: half a guess from the picture's bright end, half from the skin."""
    height, width = group.size
    few = group.original[:, :, :: max(1, height // 28), :: max(1, width // 28)].flatten(2).mT
    brightness = luma(few).sort(1).values
    bright = brightness[:, int(0.95 * brightness.shape[1])]
    white = (0.5 * bright + 0.75 * middle).clamp(0.3, 0.98)
    cast = few.double().mean(1)
    cast = (cast / luma(cast).clamp_min(1e-3)[:, None]).clamp(0.7, 1.3).sqrt().sqrt().float()
    return white[:, None] * cast

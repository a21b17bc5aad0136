"""Where a photo shows what the face model does not explain: the evidence of focus's E-step, without a label.

FOCUS (Li et al., CVPR 2023) judges by colour and by a face-recognition network. Here five distances are
added up: colour, colour without brightness, and the teacher's maps at two or three scales between photo and
rendering; and how much the encoder doubts its landmarks there. A landmark's doubt is learned from where the
landmark is, not from masks, and rises where it cannot be seen. Each photo is then compared with itself: what
the model explains best in it sets its level, so a photo that is drawn badly as a whole is not taken for
covered. Finally what has one colour in one place is judged alike.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occface_core.losses.segmentation import colour_distances, perceptual_distances
from occface_core.networks.evidence import POINTS, Evidence

PERCEPTUAL_MAPS = slice(1, 4)  # at 1/4, 1/8 and 1/16: finer ones see pixels, coarser ones everything at once
# Colour, chroma, three maps, doubt. Rounded from what told skin from occluders best on covered photos.
WEIGHTS = (0.6, 0.4, 0.2, 0.4, 0.4, 1.0)
# Of the value below which the best explained third of a photo lies, three quarters are taken off.
LEVEL, LEVEL_SHARE = 0.75, 0.35
DOUBT_REACH = 0.06  # of the crop's half side: how far a landmark speaks for the skin around it


class Unexplained(nn.Module):
    """A map over crops, near 0 where the photo shows the face and positive where something else.

    The unit is the standard deviation over pictures seen so far, which are kept as running statistics.

    Args:
        momentum: of the running statistics.
        over_processes: mean of a statistic over the processes of a run.
    """

    typical: Tensor
    mean: Tensor
    spread: Tensor
    total: Tensor
    seen: Tensor

    def __init__(
        self, momentum: float = 0.05, *, over_processes: Callable[[Tensor], Tensor] = lambda value: value
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.over_processes = over_processes
        for name, shape in (
            ("typical", POINTS),
            ("mean", len(WEIGHTS)),
            ("spread", len(WEIGHTS)),
            ("total", 1),
        ):
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(
        self,
        image: Float[Tensor, "B 3 S S"],
        render: Float[Tensor, "B 3 S S"],
        region: Float[Tensor, "B 1 S S"],
        maps: tuple[list[Tensor], list[Tensor]],
        evidence: Evidence | None,
    ) -> Float[Tensor, "B 1 S S"]:
        """Distances of photo and rendering, summed, levelled and smoothed; 0 outside `region`.

        Args:
            image, render: photo and the face model's picture. region: where the model claims a face.
            maps: a network's maps of the photo and of the photo with the rendering in it.
            evidence: the landmarks the encoder found in the photo; None: it looks for none.
        """
        size = (image.shape[-2], image.shape[-1])
        parts = [*colour_distances(image, render), *perceptual_distances(*maps, size)]
        if evidence is not None:
            parts.append(self.doubt(evidence, size))
        stack = torch.cat(parts, 1)
        weight = region.sum().clamp(min=1)
        mean = (stack * region).sum((0, 2, 3)) / weight
        spread = (((stack - mean[:, None, None]).square() * region).sum((0, 2, 3)) / weight).sqrt()
        first, count = self.seen == 0, len(parts)
        self.follow(self.mean[:count], mean, first)
        self.follow(self.spread[:count], spread, first)
        scale = torch.tensor(WEIGHTS[:count], device=image.device) / self.spread[:count].clamp(min=1e-6)
        value = ((stack - self.mean[:count, None, None]) * scale[:, None, None]).sum(1, keepdim=True)
        total = ((value.square() * region).sum() / weight).sqrt()
        self.follow(self.total, total[None], first)
        self.seen += 1
        value = value / self.total.clamp(min=1e-6)
        value = value - LEVEL * quantile_inside(value, region, LEVEL_SHARE)
        return smooth_by_colour(value, image, region) * region

    def doubt(self, evidence: Evidence, size: tuple[int, int]) -> Float[Tensor, "B 1 S S"]:
        """How much less certain than usual the landmarks around each pixel are, log units."""
        log_sigma = evidence.log_sigma.float()
        # The median over a batch is of a landmark that is seen: less than half of them are covered.
        usual = self.typical[evidence.index]
        self.follow(usual, log_sigma.median(0).values, self.seen == 0)
        self.typical[evidence.index] = usual
        cells = size[0] // 4
        line = (torch.arange(cells, device=log_sigma.device) + 0.5) * (2 / cells) - 1
        grid = torch.stack([line.repeat(cells), line.repeat_interleave(cells)], -1)
        places = evidence.fused[:, evidence.index].float()
        distance = torch.cdist(grid.expand(len(places), -1, -1), places)
        # Far from every landmark the nearest ones decide: the second term never vanishes.
        near = torch.exp(-0.5 * (distance / DOUBT_REACH).square()) + 1e-6 * torch.exp(-4 * distance)
        values = (near @ (log_sigma - usual)[..., None])[..., 0] / near.sum(-1)
        return F.interpolate(
            values.unflatten(1, (1, cells, cells)), size=size, mode="bilinear", align_corners=False
        )

    def follow(self, running: Tensor, value: Tensor, first: Tensor) -> None:
        """Move a running statistic towards `value`, all the way the first time."""
        value = self.over_processes(value)
        running.copy_(torch.where(first, value, running.lerp(value, self.momentum)))


def quantile_inside(
    value: Float[Tensor, "B 1 H W"], region: Float[Tensor, "B 1 H W"], share: float
) -> Float[Tensor, "B 1 1 1"]:
    """The value below which `share` of each image's region lies; 0 where the region is empty."""
    inside = (region > 0.5).flatten(1)
    ordered = value.flatten(1).masked_fill(~inside, torch.inf).sort(1).values
    count = inside.sum(1, keepdim=True)
    place = (share * (count - 1).clamp(min=0)).long()
    return torch.where(count > 0, ordered.gather(1, place), 0.0)[..., None, None]


def smooth_by_colour(
    value: Float[Tensor, "B 1 H W"],
    image: Float[Tensor, "B 3 H W"],
    region: Float[Tensor, "B 1 H W"],
    *,
    reach: float = 0.11,
    colour: float = 0.06,
) -> Float[Tensor, "B 1 H W"]:
    """Mean over pixels of the region that are near and of like colour: a joint bilateral filter.

    Worked out at half size; 0 where no pixel of the region is near.

    Args:
        reach: window's half side over the image's. colour: standard deviation of what counts as alike.
    """
    small = [F.avg_pool2d(x, 2) for x in (torch.cat([value * region, region], 1), image)]
    moved, like = small[0].new_zeros(small[0].shape), small[1]
    radius = max(1, round(reach * like.shape[-1]))
    step = max(1, radius // 4)
    steps = range(-(radius // step) * step, radius + 1, step)
    padded = [F.pad(x, (radius,) * 4) for x in small]
    h, w = like.shape[-2:]
    for dy in steps:
        for dx in steps:
            there, other = (
                x[..., radius + dy : radius + dy + h, radius + dx : radius + dx + w] for x in padded
            )
            alike = (like - other).square().sum(1, keepdim=True) / (-2 * colour**2)
            moved += there * torch.exp(alike - 0.5 * (dy * dy + dx * dx) / (0.8 * radius) ** 2)
    smooth = moved[:, :1] / moved[:, 1:].clamp(min=1e-6)
    return F.interpolate(smooth, size=value.shape[-2:], mode="bilinear", align_corners=False)

"""What an encoder has beside its backbone: visible-face mask, unpooled features, bounded expressions."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occface_core.networks.backbones import merge_pyramid


class MaskHead(nn.Module):
    """A small feature-pyramid decoder: lateral 1x1 convolutions summed top-down, logits at `size`.

    Hair and stripes are thinner than its cells, so `detail` corrects the logits from the map at 1/2 of the
    crop, and `edges` corrects those from the crop's own pixels; both corrections start at zero.
    """

    def __init__(
        self, channels: list[int], size: int, detail: int = 0, edges: int = 0, width: int = 32
    ) -> None:
        super().__init__()
        self.size = size
        self.lateral = nn.ModuleList([nn.Conv2d(c, width, 1) for c in channels[1:]])
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.detail = MaskDetail(channels[0], width, detail) if detail else None
        self.edges = MaskEdges(channels[0], edges) if edges else None

    def forward(self, pyramid: list[Tensor], image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 M M"]:
        """Logits from the backbone's maps of `image`, a crop in [0,1]."""
        merged = merge_pyramid(self.lateral, pyramid[1:])
        logits = self.smooth(merged)
        if self.detail is not None:
            logits = self.detail(pyramid[0], merged, logits)
        if self.edges is not None:
            logits = self.edges(image, pyramid[0], logits)
        if logits.shape[-1] == self.size:
            return logits
        return F.interpolate(logits, size=(self.size, self.size), mode="bilinear", align_corners=False)


def _silent(width: int, channels: int) -> nn.Conv2d:
    """The last convolution of a correction, which starts at zero."""
    last = nn.Conv2d(width, channels, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return last


class MaskDetail(nn.Module):
    """Logits at the crop's own resolution: the coarse ones plus what the map at 1/2 adds to them.

    Without normalisation: at this size that would cost more than the convolutions.
    """

    def __init__(self, fine: int, coarse: int, width: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(fine, width, 1)
        self.coarse = nn.Conv2d(coarse, width, 1)
        self.correct = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            _silent(width, 4),
            nn.PixelShuffle(2),
        )

    def forward(self, fine: Tensor, merged: Tensor, logits: Tensor) -> Float[Tensor, "B 1 M M"]:
        correction = self.correct(
            self.fine(fine) + F.interpolate(self.coarse(merged), size=fine.shape[-2:], mode="nearest")
        )
        size = correction.shape[-2:]
        return correction + F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


class MaskEdges(nn.Module):
    """Logits moved to where the picture has its edges: what the pixels themselves add to the mask.

    The finest map has cells of two pixels, and cannot say on which side of a border each of the two is.
    """

    def __init__(self, fine: int, width: int) -> None:
        super().__init__()
        self.lift = nn.Sequential(nn.Conv2d(fine, 4 * width, 1), nn.PixelShuffle(2))
        self.look = nn.Conv2d(4, width, 3, padding=1)
        self.correct = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=2, dilation=2),
            nn.ReLU(inplace=True),
            _silent(width, 1),
        )

    def forward(self, image: Tensor, fine: Tensor, logits: Tensor) -> Float[Tensor, "B 1 S S"]:
        size = image.shape[-2:]
        logits, lifted = (
            x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            for x in (logits, self.lift(fine))
        )
        # Both inputs at the scale of a normalised map: colours span -2 to 2, and logits matter up to about 8.
        seen = self.look(torch.cat([(image - 0.5) * 4.0, logits.clamp(-8, 8) / 4.0], dim=1))
        return logits + self.correct(seen + lifted)


class LocalFeatures(nn.Module):
    """Where things are: the maps at 1/16 and 1/32, reduced to few channels and kept on their grids.

    Starts at zero, so that a network that gains it answers as before until it is trained on.
    """

    GRIDS = (7, 4)  # cells per side at 1/16 and 1/32 of a 112 px crop; larger crops are pooled to them

    def __init__(self, channels: list[int], width: int, size: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
                for c in channels[-2:]
            ]
        )
        cells = sum(g * g for g in self.GRIDS)
        self.out = nn.Linear(cells * width, size, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, pyramid: list[Tensor]) -> Float[Tensor, "B C"]:
        cells = []
        for reduce, level, grid in zip(self.reduce, pyramid[-2:], self.GRIDS, strict=True):
            x = reduce(level.float())
            if x.shape[-1] != grid:
                x = F.adaptive_avg_pool2d(x, grid)
            cells.append(x.flatten(1))
        return self.out(torch.cat(cells, dim=1))


class Bounded(torch.autograd.Function):
    """Clamp whose gradient survives outside the bounds when it points back inside.

    A plain clamp kills the gradient there, and an expression once pushed below 0 would never return.
    """

    @staticmethod
    def forward(ctx, x: Tensor, low: float, high: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.bounds = (low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        stuck = ((x < low) & (grad > 0)) | ((x > high) & (grad < 0))
        return grad.masked_fill(stuck, 0.0), None, None

"""Occlusion segmentation from a photo and the face model's picture of it (FOCUS, Li et al., CVPR 2023).

A U-Net reads six channels, the photo and the rendering laid over it, and says where the photo shows the
face that the model explains. Widths are scaled for small crops; FOCUS uses 64 to 1024 at 224 px.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def _block(source: int, target: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(source, target, 3, padding=1, bias=False),
        nn.BatchNorm2d(target),
        nn.ReLU(inplace=True),
        nn.Conv2d(target, target, 3, padding=1, bias=False),
        nn.BatchNorm2d(target),
        nn.ReLU(inplace=True),
    )


class OcclusionSegmenter(nn.Module):
    """U-Net over [photo, rendering]; works at any size.

    Args:
        width: channels of the first level; each of the `depth` levels below doubles them.
        depth: number of poolings.
    """

    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        self.down = nn.ModuleList([_block(6 if i == 0 else widths[i - 1], w) for i, w in enumerate(widths)])
        self.up = nn.ModuleList([_block(widths[i + 1] + widths[i], widths[i]) for i in range(depth)])
        self.out = nn.Conv2d(width, 1, 1)
        # Starting at "visible" almost everywhere: the alternation then removes what the model cannot explain.
        nn.init.constant_(self.out.bias, 1.0)  # type: ignore[arg-type]

    def forward(
        self, image: Float[Tensor, "B 3 H W"], render: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, "B 1 H W"]:
        """Logits of "visible face skin"."""
        x = torch.cat([image, render], dim=1) * 2 - 1
        skips = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for i in reversed(range(len(self.up))):
            x = F.interpolate(x, size=skips[i].shape[-2:], mode="bilinear", align_corners=False)
            x = self.up[i](torch.cat([x, skips[i]], dim=1))
        return self.out(x)

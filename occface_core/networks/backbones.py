"""Image backbones by name, all from torchvision, returning a feature vector and a feature pyramid."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision import models

from occface_core.errors import ConfigError

BACKBONES: tuple[str, ...] = ("resnet18", "resnet34", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large")

STRIDES = (2, 4, 8, 16, 32)  # of the maps a backbone gives


def merge_pyramid(lateral: nn.ModuleList, pyramid: list[Tensor]) -> Float[Tensor, "B C H W"]:
    """Feature pyramid, top-down: every map through its 1x1 convolution, summed at the finest one's size."""
    x = lateral[-1](pyramid[-1])
    for conv, level in zip(list(lateral)[-2::-1], pyramid[-2::-1], strict=True):
        x = F.interpolate(x, size=level.shape[-2:], mode="bilinear", align_corners=False) + conv(level)
    return x


class ResNetFeatures(nn.Module):
    """A torchvision ResNet without its classifier: (B,3,S,S) to (B,C) and maps at 1/2 to 1/32."""

    def __init__(self, net: models.ResNet) -> None:
        super().__init__()
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.stages = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.feature_size: int = net.fc.in_features
        self.pyramid_channels = [
            net.conv1.out_channels,
            self.feature_size // 8,
            self.feature_size // 4,
            self.feature_size // 2,
            self.feature_size,
        ]

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B C"], list[Tensor]]:
        x = self.stem[:3](image)
        pyramid = [x]
        x = self.stem[3](x)
        for stage in self.stages:
            x = stage(x)
            pyramid.append(x)
        return x.mean(dim=(2, 3)), pyramid


class MobileNetFeatures(nn.Module):
    """A torchvision MobileNetV3 trunk; the pyramid holds the last map at each of 1/2 to 1/32."""

    def __init__(self, net: models.MobileNetV3) -> None:
        super().__init__()
        self.blocks = net.features
        levels: dict[int, tuple[int, int]] = {}
        with torch.no_grad():
            x = torch.zeros(1, 3, 128, 128)
            was_training = self.blocks.training
            self.blocks.eval()
            for i, block in enumerate(self.blocks):
                x = block(x)
                levels[128 // x.shape[-1]] = (i, x.shape[1])
            self.blocks.train(was_training)
        self.taps = [levels[stride][0] for stride in STRIDES]
        self.pyramid_channels = [levels[stride][1] for stride in STRIDES]
        self.feature_size = self.pyramid_channels[-1]

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B C"], list[Tensor]]:
        x = image
        pyramid = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                pyramid.append(x)
        return x.mean(dim=(2, 3)), pyramid


def build_backbone(name: str) -> ResNetFeatures | MobileNetFeatures:
    """Build an untrained backbone.

    Raises:
        ConfigError: the name is not one of `BACKBONES`.
    """
    if name not in BACKBONES:
        raise ConfigError(f"unknown backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    make: Callable[..., nn.Module] = getattr(models, name)
    net = make(weights=None)
    return ResNetFeatures(net) if isinstance(net, models.ResNet) else MobileNetFeatures(net)

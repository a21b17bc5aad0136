"""Image backbones by name, all from torchvision, returning a feature vector and a feature pyramid."""

from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock

from occface_core.errors import ConfigError

BACKBONES: tuple[str, ...] = ("resnet18", "resnet34", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large")

# Backbones whose blocks are the first of each stage of deeper ones: a network grows into the latter.
GROWS: dict[str, tuple[str, ...]] = {"resnet18": ("resnet34",)}

STRIDES = (2, 4, 8, 16, 32)  # of the maps a backbone gives


def merge_pyramid(lateral: nn.ModuleList, pyramid: list[Tensor]) -> Float[Tensor, "B C H W"]:
    """Feature pyramid, top-down: every map through its 1x1 convolution, summed at the finest one's size."""
    x = lateral[-1](pyramid[-1])
    for conv, level in zip(list(lateral)[-2::-1], pyramid[-2::-1], strict=True):
        x = F.interpolate(x, size=level.shape[-2:], mode="bilinear", align_corners=False) + conv(level)
    return x


class ResNetFeatures(nn.Module):
    """A torchvision ResNet without its classifier: (B,K,S,S) to (B,C) and maps at 1/2 to 1/32."""

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

    def forward(self, image: Float[Tensor, "B K S S"]) -> tuple[Float[Tensor, "B C"], list[Tensor]]:
        x = self.stem[:3](image)
        pyramid = [x]
        x = self.stem[3](x)
        for stage in self.stages:
            x = stage(x)
            pyramid.append(x)
        return x.mean(dim=(2, 3)), pyramid

    def silence_new(self, given: Collection[str]) -> None:
        """Make all blocks that a shallower network does not have pass on what they are given.

        With the shallower network's weights in the others this one then gives its maps: the last
        normalisation of a block starts at zero (as in Goyal et al., "Accurate, Large Minibatch SGD", 2017),
        and what it is added to is positive already.

        Args:
            given: names of the shallower network's tensors, as in this one's state.
        """
        for name, block in self.named_modules():
            if isinstance(block, BasicBlock) and f"{name}.conv1.weight" not in given:
                nn.init.zeros_(block.bn2.weight)


class MobileNetFeatures(nn.Module):
    """A torchvision MobileNetV3 trunk of (B,K,S,S); the pyramid holds the last map at each of 1/2 to 1/32."""

    def __init__(self, net: models.MobileNetV3, channels: int = 3) -> None:
        super().__init__()
        self.blocks = net.features
        levels: dict[int, tuple[int, int]] = {}
        with torch.no_grad():
            x = torch.zeros(1, channels, 128, 128)
            was_training = self.blocks.training
            self.blocks.eval()
            for i, block in enumerate(self.blocks):
                x = block(x)
                levels[128 // x.shape[-1]] = (i, x.shape[1])
            self.blocks.train(was_training)
        self.taps = [levels[stride][0] for stride in STRIDES]
        self.pyramid_channels = [levels[stride][1] for stride in STRIDES]
        self.feature_size = self.pyramid_channels[-1]

    def forward(self, image: Float[Tensor, "B K S S"]) -> tuple[Float[Tensor, "B C"], list[Tensor]]:
        x = image
        pyramid = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                pyramid.append(x)
        return x.mean(dim=(2, 3)), pyramid


def _widen(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A first convolution for other channels than three; those beyond them start silent."""
    size, stride, padding = conv.kernel_size, conv.stride, conv.padding
    wide = nn.Conv2d(channels, conv.out_channels, size, stride, padding, bias=False)  # type: ignore[arg-type]
    with torch.no_grad():
        wide.weight.copy_(widened(conv.weight, channels))
    return wide


def widened(weight: Float[Tensor, "O C k k"], channels: int) -> Float[Tensor, "O D k k"]:
    """A convolution's weights for more channels, which start silent."""
    wide = weight.new_zeros(len(weight), channels, *weight.shape[2:])
    wide[:, : weight.shape[1]] = weight
    return wide


def build_backbone(name: str, channels: int = 3) -> ResNetFeatures | MobileNetFeatures:
    """Build an untrained backbone.

    Args:
        name: one of `BACKBONES`. channels: of its input, three or more; the first three are colours, and
            what the others say is ignored until it is trained on.

    Raises:
        ConfigError: the name is not one of `BACKBONES`.
    """
    if name not in BACKBONES:
        raise ConfigError(f"unknown backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    make: Callable[..., nn.Module] = getattr(models, name)
    net = make(weights=None)
    if isinstance(net, models.ResNet):
        net.conv1 = net.conv1 if channels == 3 else _widen(net.conv1, channels)
        return ResNetFeatures(net)
    if channels != 3:
        stem = net.features[0][0]  # type: ignore[index]
        assert isinstance(stem, nn.Conv2d)
        net.features[0][0] = _widen(stem, channels)  # type: ignore[index, assignment]
    return MobileNetFeatures(net, channels)

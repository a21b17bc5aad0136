"""Every backbone gives features and a pyramid of the promised widths, at odd sizes too."""

import pytest
import torch

from occface_core.errors import ConfigError
from occface_core.networks.backbones import BACKBONES, build_backbone


@pytest.mark.parametrize("name", [n for n in BACKBONES if n not in ("resnet34", "resnet50")])
def test_features_and_pyramid(name: str) -> None:
    net = build_backbone(name).eval()
    with torch.inference_mode():
        features, pyramid = net(torch.rand(2, 3, 96, 96))
    assert features.shape == (2, net.feature_size)
    assert [p.shape[1] for p in pyramid] == net.pyramid_channels
    assert [p.shape[-1] for p in pyramid] == [48, 24, 12, 6, 3]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_sizes_that_are_no_multiple_of_32(name: str) -> None:
    with torch.inference_mode():
        features, pyramid = build_backbone(name).eval()(torch.rand(1, 3, 77, 77))
    assert torch.isfinite(features).all()
    assert len(pyramid) == 5


def test_building_does_not_leave_training_mode_changed() -> None:
    assert build_backbone("mobilenet_v3_small").blocks.training


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match="unknown backbone 'vgg'; choose one of resnet18"):
        build_backbone("vgg")

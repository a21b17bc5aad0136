"""Losses of the recipes on tensors that pretend to lie on a GPU: none may meet one that does not.

Such tensors have shapes and devices but no values, so this needs no GPU, and says nothing of numbers.
"""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes import RECIPE_CLASSES, Twin
from occface_core.distillation.scene import SIGMA_REGIONS, Scene
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderConfig, FaceEncoder

pytestmark = pytest.mark.skipif(torch.version.cuda is None, reason="needs a torch built with CUDA")
SIZE = 64


def empty(*shape: int) -> Tensor:
    return torch.empty(*shape, device="cuda")


def like(tensor: Tensor) -> Tensor:
    return torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device="cuda")


def pretend(module: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers pretend; call it under the mode."""
    module = copy.copy(module)
    for name, child in module._modules.items():
        module._modules = {**module._modules, name: pretend(child) if child is not None else None}
    for kind in ("_parameters", "_buffers"):
        table = getattr(module, kind)
        made = {k: None if v is None else like(v) for k, v in table.items()}
        if kind == "_parameters":
            made = {
                k: None if v is None else nn.Parameter(v, table[k].requires_grad) for k, v in made.items()
            }
        setattr(module, kind, made)
    return module


def pretend_attributes(thing: object) -> object:
    """A copy of a plain object whose tensors, modules and device pretend."""
    thing = copy.copy(thing)
    for name, value in vars(thing).items():
        if isinstance(value, nn.Module):
            value = pretend(value)
        elif isinstance(value, Tensor):
            value = like(value)
        elif isinstance(value, dict):
            value = {k: like(v) if isinstance(v, Tensor) else v for k, v in value.items()}
        elif isinstance(value, torch.device):
            value = torch.device("cuda")
        vars(thing)[name] = value
    return thing


@pytest.mark.parametrize("name", ["teacher", "learner", "damior", "diamor"])
def test_losses_stay_on_one_device(open_head, small_albedo, name: str) -> None:
    scene = Scene(open_head, small_albedo)
    network = FaceEncoder(
        EncoderConfig(
            "mobilenet_v3_small",
            input_size=SIZE,
            mask_size=SIZE,
            mask_detail=8,
            local_channels=8,
            evidence_points=20,
            evidence_blocks=1,
            sigma_regions=SIGMA_REGIONS,
        )
    ).eval()
    config = TrainConfig(
        recipe=name,
        input_size=SIZE,
        duplicates=2,
        batch_size=4,
        synthetic_share=0.5,
        photos=Path("unread"),
        profile_share=1.0,
    )
    recipe = RECIPE_CLASSES[name](config, scene, network)
    with FakeTensorMode():
        recipe = pretend_attributes(recipe)
        recipe.scene = pretend_attributes(scene)
        images, masks = (4, 3, SIZE, SIZE), (4, 1, SIZE, SIZE)
        truth = FaceParameters.from_code(empty(2, 236))
        pixels = [empty(*images), empty(*images), *(empty(*masks) for _ in range(3))]
        person = torch.zeros(2, dtype=torch.long, device="cuda")
        turned = torch.zeros(2, dtype=torch.bool, device="cuda")
        twin = Twin(*pixels, empty(4, 468, 2), 2, truth, person, turned, empty(2, 236))
        losses = recipe.losses(pretend(network), twin, 0.5)
        assert losses
        for term, value in losses.items():
            assert value.device.type == "cuda", term
            assert value.ndim == 1, term


def test_a_tensor_left_behind_is_noticed() -> None:
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        empty(3) + torch.ones(3)

"""Batched painters on tensors that pretend to lie on a GPU: none may meet one that does not, or wait for it.

Such tensors have shapes and devices but no values: reading one, as a wait for the GPU would, is an error.
What needs a real GPU (the search for NaN, pinned memory, the rasterizer's kernel) is left out.
"""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from occface_core.occlusion import OccluderBank
from occface_core.occlusion.batched import device, empirical, light, paint, place, views
from occface_core.occlusion.batched.draws import Draws
from occface_core.occlusion.batched.group import Group, compose
from occface_core.occlusion.batched.irrational import IRRATIONAL
from occface_core.occlusion.request import EMPIRICAL_NAMES

pytestmark = pytest.mark.skipif(torch.version.cuda is None, reason="needs a torch built with CUDA")
COUNT, SIZE = 4, 64


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="cuda")


def group() -> Group:
    return Group(
        image=empty(COUNT, 3, SIZE, SIZE),
        face=empty(COUNT, 1, SIZE, SIZE),
        points=empty(COUNT, 468, 3),
        target=empty(COUNT),
        draws=Draws(empty(COUNT, dtype=torch.int64)),
        others=empty(3, 3, SIZE, SIZE),
    )


@pytest.fixture
def fresh_constants():
    """Tables made under one mode must not stay behind for another, or for real runs."""
    cached = [
        value
        for module in (device, light, place, views)
        for value in vars(module).values()
        if hasattr(value, "cache_clear")
    ]
    assert cached
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.parametrize("family", list(IRRATIONAL))
def test_irrational_painters_stay_on_the_device(family: str, fresh_constants: None) -> None:
    with FakeTensorMode():
        samples = group()
        layer = IRRATIONAL[family](samples)
        result = compose(samples.image, layer)
    assert result.device.type == layer.alpha.device.type == "cuda"
    assert result.shape == (COUNT, 3, SIZE, SIZE)


@pytest.mark.parametrize("family", EMPIRICAL_NAMES)
def test_empirical_painters_stay_on_the_device(
    family: str, small_bank: OccluderBank, fresh_constants: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def visible_faces(verts: Tensor, faces: Tensor, height: int, width: int, **how: object) -> Tensor:
        assert verts.device.type == faces.device.type == "cuda"
        return empty(len(verts), height, width, dtype=torch.int64)

    def upload(values: np.ndarray | Tensor, where: torch.device) -> Tensor:
        kind = values.dtype if isinstance(values, Tensor) else torch.from_numpy(values[:0]).dtype
        return empty(*values.shape, dtype=kind)

    monkeypatch.setattr(paint, "visible_faces", visible_faces)
    monkeypatch.setattr(empirical, "upload", upload)
    numbers = np.full(COUNT, EMPIRICAL_NAMES.index(family))
    with FakeTensorMode():
        tables = {f.name: getattr(small_bank, f.name) for f in fields(small_bank)}
        bank = OccluderBank(**{k: empty(*v.shape, dtype=v.dtype) for k, v in tables.items()})
        samples = group()
        layer = empirical.paint(samples, numbers, bank)
        result = compose(samples.image, layer)
    assert result.device.type == layer.alpha.device.type == "cuda"
    assert layer.shadow is not None
    assert layer.shadow.shape == (COUNT, 1, SIZE, SIZE)

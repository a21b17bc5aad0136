"""Rasterizer backends: each decides, for every pixel, which triangle is seen.

A backend is a function ``rasterize(verts, faces, height, width, cull_back)`` on detached, contiguous
tensors: verts (B, V, 3) float32 in pixels and depth, where NaN marks vertices whose triangles are to be
skipped, and faces (F, 3) int64. It returns (pix_to_face int64, bary float32, zbuf float32) with -1, 0 and
+inf in the background. All share one rule: a pixel centre on an edge counts as inside, the nearest depth
wins, equal depths go to the lower triangle number, triangles under ``MIN_TWICE_AREA`` are skipped.

Backends are imported when first used, so that none is a hard dependency and nothing compiles at import.
These modules hold compiled kernels and are kept out of run-time shape checking.
"""

import importlib.util
from collections.abc import Callable
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from occface_core.errors import BackendError

RasterizeFunction = Callable[[Tensor, Tensor, int, int, bool], tuple[Tensor, Tensor, Tensor]]
VisibilityFunction = Callable[[Tensor, Tensor, int, int, bool], Tensor]

BACKENDS: tuple[str, ...] = ("torch", "numba", "triton", "pytorch3d")


@cache
def available(name: str) -> bool:
    """Whether the library behind a backend is installed (not whether this machine's device suits it)."""
    return importlib.util.find_spec(name) is not None


def choose(device: torch.device) -> str:
    """The fastest backend for tensors on ``device`` among those installed."""
    if device.type == "cuda" and available("triton"):
        return "triton"
    if device.type == "cpu" and available("numba"):
        return "numba"
    return "torch"


def load(name: str, device: torch.device) -> RasterizeFunction:
    """The backend's function.

    Args:
        name: one of ``BACKENDS`` or ``"auto"``.
        device: where the vertices live.

    Raises:
        BackendError: the name is unknown, its library is not installed, or it cannot run on ``device``.
    """
    return _module(name, device).rasterize


def load_visibility(name: str, device: torch.device) -> VisibilityFunction:
    """The backend's function without barycentrics and depth; arguments and errors are those of ``load``."""
    module = _module(name, device)
    if hasattr(module, "visibility"):
        return module.visibility
    return lambda *arguments: module.rasterize(*arguments)[0]


def _module(name: str, device: torch.device) -> ModuleType:
    name = choose(device) if name == "auto" else name
    if name not in BACKENDS:
        raise BackendError(f"unknown rasterizer backend {name!r}; choose auto, {', '.join(BACKENDS)}")
    if not available(name):
        raise BackendError(
            f"the {name} rasterizer needs the package {name}; install it or use backend='auto'"
        )
    if name == "numba" and device.type != "cpu":
        raise BackendError(f"the numba rasterizer runs on CPU tensors, got {device}; use backend='auto'")
    module = importlib.import_module(f"{__name__}.{name}_backend")
    if name == "triton":
        module.check_device(device)
    return module

"""CUDA rasterizer in Triton: one program per (triangle, image), no sorting, no binning.

A head's triangles cover a few pixels each, so a program walks its triangle's box in small tiles and
resolves visibility with one 64-bit atomic minimum per covered pixel on (depth bits << 32 | triangle).
Runs on CPU tensors too when TRITON_INTERPRET=1 is set before the first import (tests only; very slow).
"""

import os

import torch
import triton
import triton.language as tl
from torch import Tensor

from occface_core.errors import BackendError
from occface_core.rendering.backends.common import (
    EMPTY_KEY,
    MAX_TWICE_AREA,
    MIN_TWICE_AREA,
    fragments_from_faces,
    keys_to_faces,
)

_TILE = 8  # pixels per side: most triangles of a head fit one tile


def check_device(device: torch.device) -> None:
    """Raise BackendError where the kernel cannot run."""
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise BackendError(f"the triton rasterizer needs CUDA tensors, got {device}; use backend='auto'")


def rasterize(
    verts: Tensor, faces: Tensor, height: int, width: int, cull_back: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See :mod:`occface_core.rendering.backends`."""
    return fragments_from_faces(verts, faces, visibility(verts, faces, height, width, cull_back))


def visibility(verts: Tensor, faces: Tensor, height: int, width: int, cull_back: bool) -> Tensor:
    """The first of what ``rasterize`` returns, without waiting for the GPU."""
    batch, count = len(verts), len(faces)
    keys = torch.full((batch, height, width), EMPTY_KEY, dtype=torch.int64, device=verts.device)
    if count:
        _draw_triangle[(count, batch)](
            verts,
            faces,
            keys,
            verts.shape[1],
            height,
            width,
            MIN_TWICE_AREA,
            MAX_TWICE_AREA,
            CULL_BACK=cull_back,
            TILE=_TILE,
            num_warps=2,
            enable_fp_fusion=False,  # fused products would round the two sides of an edge differently
        )
    return keys_to_faces(keys)


@triton.jit
def _edge(px, py, qx, qy, x, y, p, q):
    """Edge function of p -> q at (x, y), computed from the lower vertex number.

    Both triangles of a shared edge then get the same rounding with opposite sign, so float32 leaves no
    cracks between them.
    """
    swap = p > q
    ax, ay = tl.where(swap, qx, px), tl.where(swap, qy, py)
    bx, by = tl.where(swap, px, qx), tl.where(swap, py, qy)
    value = (ax - x) * (by - y) - (ay - y) * (bx - x)
    return tl.where(swap, -value, value)


@triton.jit
def _pixel_range(a, b, c, size):
    """First and one-past-last pixel whose centre lies between the smallest and largest coordinate."""
    # Clamp before converting: a far vertex does not fit an integer.
    low = tl.minimum(tl.maximum(tl.minimum(a, tl.minimum(b, c)) - 0.5, 0.0), size * 1.0)
    high = tl.minimum(tl.maximum(tl.maximum(a, tl.maximum(b, c)) + 0.5, 0.0), size * 1.0)
    return tl.ceil(low).to(tl.int32), tl.floor(high).to(tl.int32)


@triton.jit
def _draw_triangle(
    verts,
    faces,
    keys,
    vert_count,
    height,
    width,
    min_area,
    max_area,
    CULL_BACK: tl.constexpr,
    TILE: tl.constexpr,
):
    face = tl.program_id(0)
    image = tl.program_id(1).to(tl.int64)
    a = tl.load(faces + face * 3)
    b = tl.load(faces + face * 3 + 1)
    c = tl.load(faces + face * 3 + 2)
    points = verts + image * vert_count * 3
    ax, ay, az = tl.load(points + a * 3), tl.load(points + a * 3 + 1), tl.load(points + a * 3 + 2)
    bx, by, bz = tl.load(points + b * 3), tl.load(points + b * 3 + 1), tl.load(points + b * 3 + 2)
    cx, cy, cz = tl.load(points + c * 3), tl.load(points + c * 3 + 1), tl.load(points + c * 3 + 2)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    usable = (tl.abs(area) >= min_area) & (tl.abs(area) < max_area)  # False for NaN
    if CULL_BACK:
        usable = usable & (area < 0)  # y points down, so triangles facing the viewer run clockwise
    if usable:
        left, right = _pixel_range(ax, bx, cx, width)
        upper, lower = _pixel_range(ay, by, cy, height)
        lane = tl.arange(0, TILE * TILE)
        for tile_row in range(upper, lower, TILE):
            for tile_column in range(left, right, TILE):
                row, column = tile_row + lane // TILE, tile_column + lane % TILE
                x, y = column + 0.5, row + 0.5
                wa = _edge(bx, by, cx, cy, x, y, b, c)
                wb = _edge(cx, cy, ax, ay, x, y, c, a)
                wc = _edge(ax, ay, bx, by, x, y, a, b)
                positive = (wa >= 0) & (wb >= 0) & (wc >= 0)
                negative = (wa <= 0) & (wb <= 0) & (wc <= 0)
                total = wa + wb + wc
                inside = (positive | negative) & (total != 0) & (row < lower) & (column < right)
                depth = (wa * az + wb * bz + wc * cz) / total
                bits = depth.to(tl.int32, bitcast=True)
                ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
                key = (ordered.to(tl.int64) << 32) | face.to(tl.int64)
                pixel = (image * height + row) * width + column
                tl.atomic_min(keys + pixel, key, mask=inside, sem="relaxed")

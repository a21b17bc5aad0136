"""CPU rasterizer: a z-buffer loop compiled by numba.

The kernel draws one image and releases the GIL; the images of a batch run on a short-lived thread pool.
Numba's own parallel loops are avoided on purpose: their thread layers abort the process when two Python
threads enter together (a web app) or after a fork (data-loading workers).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import ceil, floor

import numpy as np
import torch
from torch import Tensor

from occface_core.rendering.backends.common import MAX_TWICE_AREA, MIN_TWICE_AREA


def rasterize(
    verts: Tensor, faces: Tensor, height: int, width: int, cull_back: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See :mod:`occface_core.rendering.backends`."""
    batch = len(verts)
    pix_to_face = torch.full((batch, height, width), -1, dtype=torch.int64)
    bary = torch.zeros(batch, height, width, 3)
    zbuf = torch.full((batch, height, width), torch.inf)
    images = list(zip(*(t.numpy() for t in (verts, pix_to_face, bary, zbuf)), strict=True))
    triangles, kernel = faces.numpy(), _kernel()

    def draw(arrays: tuple[np.ndarray, ...]) -> None:
        kernel(triangles, cull_back, *arrays)

    threads = min(torch.get_num_threads(), batch)
    if threads < 2:
        for arrays in images:
            draw(arrays)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(draw, images))
    return pix_to_face, bary, zbuf


@cache
def _kernel() -> Callable[..., None]:
    """The compiled kernel, kept on disk where numba finds a writable place (package or user cache)."""
    import numba

    try:
        return numba.njit(nogil=True, cache=True)(_draw_image)
    except RuntimeError:  # read-only install without a home folder: compile anew in each process
        return numba.njit(nogil=True)(_draw_image)


def _draw_image(
    faces: np.ndarray,
    cull_back: bool,
    verts: np.ndarray,
    ids: np.ndarray,
    bary: np.ndarray,
    zbuf: np.ndarray,
) -> None:
    """Draw all triangles into one image; float64 inside, as the reference."""
    height, width = ids.shape
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ax, ay, az = np.float64(verts[a, 0]), np.float64(verts[a, 1]), np.float64(verts[a, 2])
        bx, by, bz = np.float64(verts[b, 0]), np.float64(verts[b, 1]), np.float64(verts[b, 2])
        cx, cy, cz = np.float64(verts[c, 0]), np.float64(verts[c, 1]), np.float64(verts[c, 2])
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not (MIN_TWICE_AREA <= abs(area) < MAX_TWICE_AREA) or (cull_back and area > 0):
            continue
        # Clamp before converting: a far vertex does not fit an integer.
        left = ceil(min(max(min(ax, bx, cx) - 0.5, 0.0), float(width)))
        right = floor(min(max(max(ax, bx, cx) + 0.5, 0.0), float(width)))
        upper = ceil(min(max(min(ay, by, cy) - 0.5, 0.0), float(height)))
        lower = floor(min(max(max(ay, by, cy) + 0.5, 0.0), float(height)))
        for row in range(upper, lower):
            y = row + 0.5
            for column in range(left, right):
                x = column + 0.5
                wa = (bx - x) * (cy - y) - (by - y) * (cx - x)
                wb = (cx - x) * (ay - y) - (cy - y) * (ax - x)
                wc = (ax - x) * (by - y) - (ay - y) * (bx - x)
                if (wa >= 0 and wb >= 0 and wc >= 0) or (wa <= 0 and wb <= 0 and wc <= 0):
                    total = wa + wb + wc
                    depth = np.float32((wa * az + wb * bz + wc * cz) / total)
                    if depth < zbuf[row, column]:
                        zbuf[row, column] = depth
                        ids[row, column] = face
                        bary[row, column, 0] = wa / total
                        bary[row, column, 1] = wb / total
                        bary[row, column, 2] = wc / total

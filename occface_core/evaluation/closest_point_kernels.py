"""Compiled search of a bounding-box tree; import it only when a search is wanted (it brings numba).

These functions stay plain (``no_type_check``): run-time checking would wrap what numba has to compile.
"""

from collections.abc import Callable
from typing import no_type_check

import numba
import numpy as np

_STACK = 64  # deeper than the tree of any mesh that fits in memory
_SLIVER = 1e-14  # squared sine under which a triangle has no usable plane


def _jit(function: Callable) -> Callable:
    """Compile on first call; keep the result on disk where numba finds a writable place."""
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # read-only install without a home folder: compile anew in each process
        return numba.njit(nogil=True, error_model="numpy")(function)


@_jit
@no_type_check
def _fraction(numerator, denominator):
    """Quotient clamped to [0, 1]; 0 for a segment without length."""
    return min(max(numerator / denominator, 0.0), 1.0) if denominator > 0 else 0.0


@_jit
@no_type_check
def _closest_on_triangle(a, ab, ac, px, py, pz):
    """Barycentric weights of b and c at the closest point, and the squared distance (Ericson 2005, 5.1.5)."""
    apx, apy, apz = px - a[0], py - a[1], pz - a[2]
    b1 = ab[0] * apx + ab[1] * apy + ab[2] * apz
    c1 = ac[0] * apx + ac[1] * apy + ac[2] * apz
    bb = ab[0] * ab[0] + ab[1] * ab[1] + ab[2] * ab[2]
    bc = ab[0] * ac[0] + ab[1] * ac[1] + ab[2] * ac[2]
    cc = ac[0] * ac[0] + ac[1] * ac[1] + ac[2] * ac[2]
    area = bb * cc - bc * bc  # four times the squared area
    v, w = cc * b1 - bc * c1, bb * c1 - bc * b1  # both times area
    if area > _SLIVER * bb * cc and v > 0 and w > 0 and v + w < area:
        v, w = v / area, w / area
        return v, w, _squared(apx, apy, apz, ab, ac, v, w)
    v, w = _fraction(b1, bb), 0.0
    best = _squared(apx, apy, apz, ab, ac, v, w)
    other = _fraction(c1, cc)
    squared = _squared(apx, apy, apz, ab, ac, 0.0, other)
    if squared < best:
        v, w, best = 0.0, other, squared
    other = _fraction(bb - bc + c1 - b1, bb - 2 * bc + cc)
    squared = _squared(apx, apy, apz, ab, ac, 1.0 - other, other)
    if squared < best:
        v, w, best = 1.0 - other, other, squared
    return v, w, best


@_jit
@no_type_check
def _squared(apx, apy, apz, ab, ac, v, w):
    """Squared length of ap - v ab - w ac."""
    x, y, z = apx - v * ab[0] - w * ac[0], apy - v * ab[1] - w * ac[1], apz - v * ab[2] - w * ac[2]
    return x * x + y * y + z * z


@_jit
@no_type_check
def _gap(low, high, node, px, py, pz):
    """Squared distance from a point to a node's box."""
    x = max(low[node, 0] - px, 0.0, px - high[node, 0])
    y = max(low[node, 1] - py, 0.0, py - high[node, 1])
    z = max(low[node, 2] - pz, 0.0, pz - high[node, 2])
    return x * x + y * y + z * z


@_jit
@no_type_check
def search(low, high, spans, triangles, queries, start, squared, slot, found):
    """Depth-first search with the nearer child first.

    Node n has the children 2n+1 and 2n+2 and covers ``triangles[spans[n, 0]:spans[n, 1]]``, each a row of
    corner a and edges ab, ac. ``start`` is a triangle per query whose distance bounds the search from the
    outset. Fills ``squared``, ``slot`` (triangle row) and ``found`` (closest point).
    """
    stack, bounds = np.empty(_STACK, np.int64), np.empty(_STACK)
    for n in range(len(queries)):
        px, py, pz = queries[n, 0], queries[n, 1], queries[n, 2]
        best_slot = start[n]
        a, ab, ac = triangles[best_slot, 0], triangles[best_slot, 1], triangles[best_slot, 2]
        best_v, best_w, best = _closest_on_triangle(a, ab, ac, px, py, pz)
        stack[0], bounds[0], top = 0, 0.0, 1
        while top > 0:
            top -= 1
            node = stack[top]
            if bounds[top] >= best:
                continue
            near, far = 2 * node + 1, 2 * node + 2
            if near < len(spans):
                near_gap, far_gap = _gap(low, high, near, px, py, pz), _gap(low, high, far, px, py, pz)
                if near_gap > far_gap:
                    near, far, near_gap, far_gap = far, near, far_gap, near_gap
                stack[top], bounds[top] = far, far_gap
                stack[top + 1], bounds[top + 1] = near, near_gap
                top += 2
                continue
            for t in range(spans[node, 0], spans[node, 1]):
                v, w, d = _closest_on_triangle(triangles[t, 0], triangles[t, 1], triangles[t, 2], px, py, pz)
                if d < best:
                    best, best_slot, best_v, best_w = d, t, v, w
        squared[n], slot[n] = best, best_slot
        for k in range(3):
            found[n, k] = (triangles[best_slot, 0, k] + best_v * triangles[best_slot, 1, k]
                           + best_w * triangles[best_slot, 2, k])

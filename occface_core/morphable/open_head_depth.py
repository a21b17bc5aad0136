"""The mean head's face brought to the depth it has in photos.

MakeHuman's average head is flat: against the outer corners of the eyes its nose bridge lies 5 mm, its
upper nose 9 mm and its chin 10 mm too far back, which every photo taken from the side contradicts
(`evaluation.landmark_depth` measures it; docs/head.md compares). Directions of shape and expression are
differences and stay as they are.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from occface_core.errors import AssetError
from occface_core.morphable.open_head_topology import LEFT_EYE, RIGHT_EYE

Array = NDArray[np.float64]

FORMAT = "occface-head-depth"
REACH = 0.02  # metres; the length over which depths of neighbouring places go together
SPREAD, NOISE = 0.005, 0.002  # metres; of depths, and of what the photos say of one point
_EYE = (0.019, 0.027)  # metres from an eyeball's middle: its lids end here, and what is beyond is another's


def read_depth_file(path: Path) -> Array:
    """Read how much farther forward MediaPipe's points lie than on MakeHuman's mean head: (468,) metres.

    Raises:
        AssetError: the file is missing or damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        depths = np.array(record["millimetres"], dtype=np.float64) / 1000
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AssetError(
            f"{path} is not a depth file of the open head ({error}); make it with "
            "`python -m occface_core.evaluation.landmark_depth`"
        ) from error
    if depths.shape != (468,) or not np.isfinite(depths).all() or np.abs(depths).max() > 0.05:
        raise AssetError(f"{path} does not hold 468 depths within 50 mm")
    return depths


def write_depth_file(path: Path, depths: Array, measured_on: str) -> None:
    """Write depths (468,) in metres, and what they were measured on."""
    record = {
        "format": FORMAT,
        "version": 1,
        "made_by": f"occface_core.evaluation.landmark_depth, {measured_on}",
        "millimetres": np.round(depths * 1000, 2).tolist(),
    }
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")


def deepened(vertices: Array, component: NDArray[np.integer], points: Array, depths: Array) -> Array:
    """Move vertices forward as the points among them say, smoothly, and less the farther from any point.

    A Gaussian process over places on the head (squared exponential kernel, mean zero): linings of the mouth
    move with the skin before them, and the back of the head stays. Each eye moves as a whole with its lids,
    or it would no longer fit between them.

    Args:
        vertices: (V,3) metres. component: (V,) piece of the mesh.
        points: (K,3) on them. depths: (K,) metres.

    Returns:
        (V,3) a copy.
    """
    eyes = [vertices[component == eye].mean(0) for eye in (LEFT_EYE, RIGHT_EYE) if (component == eye).any()]
    near_points, near = ([_near(places, eye) for eye in eyes] for places in (points, vertices))
    whole = [float(weight @ depths / max(weight.sum(), 1e-9)) for weight in near_points]
    for weight, depth in zip(near_points, whole, strict=True):
        depths = (1 - weight) * depths + weight * depth
    kernel = _alike(points, points) + np.eye(len(points)) * (NOISE / SPREAD) ** 2
    forward = _alike(vertices, points) @ np.linalg.solve(kernel, depths)
    for weight, depth in zip(near, whole, strict=True):
        forward = (1 - weight) * forward + weight * depth
    moved = vertices.copy()
    moved[:, 2] += forward
    return moved


def _near(places: Array, eye: Array) -> Array:
    """1 at an eye and its lids, 0 well away from them."""
    return ((_EYE[1] - np.linalg.norm(places - eye, axis=1)) / (_EYE[1] - _EYE[0])).clip(0, 1)


def _alike(a: Array, b: Array) -> Array:
    square = ((a[:, None] - b[None]) ** 2).sum(-1)
    return np.exp(-square / (2 * REACH**2))

"""A mean face as 468 points, the frame in which occluders are designed: the open head's.

Metres, x to the subject's left, y up, z out of the face; the origin lies between the ears at nose height.
Landmarks to think with (x, y, z in cm): nose tip (0, -0.7, 7.1), eyes (+-3.1, 2.8, 3.5), chin (0, -8.8, 3.3),
ears (+-8.5, 0.5, -6), forehead (0, 8.6, 4.5), crown y = 14.6.
"""

from functools import lru_cache

import numpy as np
import torch

from occface_core.geometry.mesh import vertex_normals
from occface_core.morphable.head_model import HeadModel


@lru_cache(maxsize=1)
def _mean_face() -> tuple[np.ndarray, np.ndarray]:
    head = HeadModel.load()
    with torch.no_grad():
        verts = head.v_template[None]
        normals = head.landmarks(vertex_normals(verts, head.faces), "468", global_pose=None)[0]
        points = head.landmarks(verts, "468", global_pose=None)[0].numpy().astype(np.float32)
    unit = torch.nn.functional.normalize(normals, dim=-1).numpy().astype(np.float32)
    points.setflags(write=False)
    unit.setflags(write=False)
    return points, unit


def canonical_points() -> np.ndarray:
    """(468,3) float32 points of the mean face in metres (read-only, loaded once).

    Raises:
        AssetError: the open head is missing or damaged.
    """
    return _mean_face()[0]


def canonical_normals() -> np.ndarray:
    """(468,3) float32 unit outward normals at the points (read-only)."""
    return _mean_face()[1]

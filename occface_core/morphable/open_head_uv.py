"""Texture layout of the open head."""

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.open_head_geometry import HeadGeometry


def build_uv(geometry: HeadGeometry) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Texture coordinates (Vt,2) in [0,1], v up, and triangles (F,3) in them."""
    return geometry.topology.texcoords, geometry.topology.texture_faces

"""Another photo laid over a head that was found in this one: its uncovered twin, for truth."""

import numpy as np
from jaxtyping import Float, UInt8

from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.projection import gather_evidence
from occface_core.pipeline.texels import SeenTexture
from occface_core.pipeline.types import Reconstruction
from occface_core.rendering.uv import UvLookup


def laid_over(
    photo: UInt8[np.ndarray, "H W 3"],
    found: Reconstruction,
    mask: Float[np.ndarray, "M M"],
    head: HeadModel,
    lookup: UvLookup,
) -> SeenTexture:
    """What a photo shows of a head's surface.

    Args:
        photo: of the same size as the one the head was found in.
        found: where the head is. mask: of visible skin, in the network's crop.
        head: its model. lookup: its texture layout.
    """
    seen = gather_evidence(photo, found.verts_image, found.crop, mask, head, lookup=lookup).seen_texture
    assert seen is not None
    return seen

"""A head's texture layout at the sizes that textures have, made when first needed."""

import numpy as np
from jaxtyping import Bool

from occface_core.morphable.head_model import HeadModel
from occface_core.rendering.uv import UvLookup, symmetric_texels, uv_lookup


class TextureLayouts:
    """Lookups and mirror images of one head's texture, by side in texels."""

    def __init__(self, head: HeadModel) -> None:
        self._head = head
        self._lookups: dict[int, UvLookup] = {}
        self._mirrors: dict[int, Bool[np.ndarray, "U U"]] = {}

    def lookup(self, side: int) -> UvLookup | None:
        """The surface under each texel; None for heads without a texture layout."""
        head = self._head
        if head.uv is None or head.uv_faces is None:
            return None
        if side not in self._lookups:
            self._lookups[side] = uv_lookup(head.uv.cpu(), head.uv_faces.cpu(), side)
        return self._lookups[side]

    def symmetric(self, side: int) -> Bool[np.ndarray, "U U"] | None:
        """Texels that may stand for their mirror image; None for heads without a texture layout."""
        lookup = self.lookup(side)
        if lookup is None:
            return None
        if side not in self._mirrors:
            template, faces = self._head.v_template.cpu(), self._head.faces.cpu()
            self._mirrors[side] = symmetric_texels(lookup, template, faces).numpy()
        return self._mirrors[side]

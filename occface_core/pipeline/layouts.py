"""A head's texture layout at the sizes that textures have, made when first needed."""

import numpy as np

from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.texture_prior import TexturePrior
from occface_core.pipeline.textures import Chart
from occface_core.rendering.uv import UvLookup, symmetric_texels, uv_lookup

_PARTS = ("eyes", "mouth_interior", "teeth")  # regions that are no skin, as `Chart.part` counts them


class TextureLayouts:
    """Lookups and charts of one head's texture, by side in texels.

    Args:
        head: whose texture.
        prior: what is known about its skin where a photo does not show it.
    """

    def __init__(self, head: HeadModel, prior: TexturePrior | None = None) -> None:
        self._head, self._prior = head, prior
        self._lookups: dict[int, UvLookup] = {}
        self._charts: dict[int, Chart] = {}

    def lookup(self, side: int) -> UvLookup | None:
        """The surface under each texel; None for heads without a texture layout."""
        head = self._head
        if head.uv is None or head.uv_faces is None:
            return None
        if side not in self._lookups:
            self._lookups[side] = uv_lookup(head.uv.cpu(), head.uv_faces.cpu(), side)
        return self._lookups[side]

    def chart(self, side: int) -> Chart | None:
        """What the texels are; None for heads without a texture layout."""
        lookup = self.lookup(side)
        if lookup is None:
            return None
        if side not in self._charts:
            head = self._head
            faces = head.faces.cpu()
            symmetric = symmetric_texels(lookup, head.v_template.cpu(), faces)
            part = np.zeros((side, side), np.uint8)
            for number, name in enumerate(_PARTS, 1):
                weight = head.regions.get(name)
                if weight is not None:
                    inside = lookup.from_vertices(weight.cpu()[None, :, None], faces)[0, 0] > 0.5
                    part[inside.numpy()] = number
            surface = (lookup.face >= 0).numpy()
            self._charts[side] = Chart(symmetric.numpy(), part, surface, self._prior)
        return self._charts[side]

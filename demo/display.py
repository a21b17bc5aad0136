"""The mesh that is shown: the head with finer triangles where the photo has its detail.

Colours belong to vertices in the browser, and the head has 1,900 of them in the face: a photo's eyes and lips
would be smears. Added vertices lie in the middle of edges, so the browser computes where they are, and a
moving head costs no more to send.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float

from occface_core.geometry.subdivision import Subdivision, subdivide, whole
from occface_core.morphable.head_model import HeadModel
from occface_core.rendering.uv import sample_texture

# Regions cut in the first round, and those cut once more.
FINE = ("face", "eyes", "mouth_interior")
FINEST = ("eye_region", "eyes", "lips", "brows")


def colours_at(
    texture: Float[np.ndarray, "U U C"], uv: Float[torch.Tensor, "W 2"]
) -> Float[np.ndarray, "W C"]:
    """A texture's values at texture coordinates, bilinear."""
    image = torch.from_numpy(np.ascontiguousarray(texture, dtype=np.float32)).permute(2, 0, 1)[None]
    return sample_texture(image, uv.to(image)[None, None])[0, :, 0].T.numpy()


class Display:
    """The finer mesh of one head.

    Attributes:
        mesh: the finer triangles. uv: (W,2) texture coordinates of its vertices; None for heads without.
    """

    def __init__(self, head: HeadModel) -> None:
        mesh = whole(head.faces.cpu(), head.n_vertices)
        for names in (FINE, FINEST):
            found = [head.regions[name].cpu() for name in names if name in head.regions]
            if found:
                weight = mesh.extend(torch.stack(found).amax(0))
                mesh = subdivide(mesh, weight[mesh.faces].mean(1) > 0.5)
        self.mesh: Subdivision = mesh
        self.uv = None
        if head.uv is not None and head.uv_faces is not None:
            self.uv = mesh.at_vertices(head.uv.cpu()[head.uv_faces.cpu()])

    def extend(self, values: Float[np.ndarray, "V *C"]) -> Float[np.ndarray, "W *C"]:
        """Values of the head's vertices, carried on to the added ones."""
        return self.mesh.extend(torch.from_numpy(np.ascontiguousarray(values))).numpy()

    def sample(self, texture: Float[np.ndarray, "U U 3"]) -> Float[np.ndarray, "W 3"] | None:
        """Colours of a texture at every vertex; None for heads without a texture layout."""
        if self.uv is None:
            return None
        return colours_at(texture, self.uv)


@lru_cache(maxsize=2)
def display_of(head: HeadModel) -> Display:
    """The finer mesh of a head, made once."""
    return Display(head)

"""What a reconstruction is: one frozen record of plain numpy arrays."""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from occface_core.data.crop import CropTransform
from occface_core.errors import MeshError
from occface_core.geometry.mesh import Mesh


@dataclass(frozen=True)
class Reconstruction:
    """A face in 3D, in model space and in the photo it came from.

    Model space: metres, x to the subject's left, y up, z out of the face. Photo: pixels of the upright
    original, x right, y down, centres at +0.5; relative depth in the same unit, larger = farther.

    Attributes:
        verts: (V,3) posed and expressive, model space.
        verts_neutral: (V,3) the same person at rest with a neutral face, model space.
        verts_image: (V,3) the posed vertices in the photo.
        faces: (F,3) triangles, counter-clockwise from outside.
        landmarks68_2d: (68,2) iBUG points in the photo; the jaw line follows the visible outline.
        landmarks_now7: (7,3) NoW points on the neutral mesh.
        face_mask: (H,W) 1 = visible face skin.
        vertex_visibility: (V,) in [0,1], 0 = hidden by the head itself, by an object, or outside the photo.
        code: (N,) the network's output in the layout `code_layout`.
        code_layout: Name of that layout, see `occface_core.morphable.parameters.layout`.
        parameters: Group name -> values, named views of the code.
        expression_names: One name per expression coefficient (ARKit actions on the open head).
        crop: The square the network saw; `crop_size` its side in network pixels.
        box: (4,) box of the 68 landmarks it was made from, photo pixels.
        detection_score: The detector's confidence; None when the box was given.
        visible_fraction: Share of the face's pixels that are visible, [0,1].
        model, head: Names of the network and of the head model.
        vertex_sigma_mm: (V,) expected error, NaN where the network makes no claim; None if it never does.
        albedo: (A,A,3) unlit colour of the whole head in [0,1]; None without an albedo model for this head.
        texture: (U,U,3) the photo's colours where seen, elsewhere those of the other side of the face where
            that is seen, else albedo, brought to the photo's light. U is A, or twice that for faces that are
            large in the photo.
        texture_visibility: (U,U) in [0,1], how much of each texel came from the photo.
        uv, uv_faces: Texture coordinates (v up) and their triangles, when the head has them.
        notes: Sentences for the user, for example that the largest of several faces was taken.
    """

    verts: Float[np.ndarray, "V 3"]
    verts_neutral: Float[np.ndarray, "V 3"]
    verts_image: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    landmarks68_2d: Float[np.ndarray, "68 2"]
    landmarks_now7: Float[np.ndarray, "7 3"]
    face_mask: UInt8[np.ndarray, "H W"]
    vertex_visibility: Float[np.ndarray, " V"]
    code: Float[np.ndarray, " N"]
    code_layout: str
    parameters: dict[str, np.ndarray]
    expression_names: tuple[str, ...]
    crop: CropTransform
    crop_size: int
    box: Float[np.ndarray, "4"]
    detection_score: float | None
    visible_fraction: float
    model: str
    head: str
    vertex_sigma_mm: Float[np.ndarray, " V"] | None = None
    albedo: Float[np.ndarray, "A A 3"] | None = None
    texture: Float[np.ndarray, "U U 3"] | None = None
    texture_visibility: Float[np.ndarray, "U U"] | None = None
    uv: Float[np.ndarray, "Vt 2"] | None = None
    uv_faces: Int[np.ndarray, "F 3"] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def crop_to_original(self) -> Float[np.ndarray, "3 3"]:
        """Homogeneous matrix from crop pixels to photo pixels."""
        return np.linalg.inv(self.crop.matrix(self.crop_size))

    def mesh(self, space: str = "posed", *, textured: bool = True) -> Mesh:
        """The head as a mesh for export or display.

        Args:
            space: "posed", "neutral" (both metres) or "image" (photo pixels, with y and depth turned so that
                y is up and z points to the viewer, as in the other two).
            textured: Attach the texture when there is one.

        Raises:
            MeshError: Unknown space.
        """
        choices = {
            "posed": self.verts,
            "neutral": self.verts_neutral,
            "image": self.verts_image * [1, -1, -1],
        }
        if space not in choices:
            raise MeshError(f"mesh space {space!r} is unknown; use one of {', '.join(choices)}")
        properties = {"visibility": self.vertex_visibility}
        if self.vertex_sigma_mm is not None:
            properties["sigma_mm"] = self.vertex_sigma_mm
        with_uv = self.uv is not None and self.uv_faces is not None
        return Mesh(
            verts=_tensor(choices[space]),
            faces=torch.from_numpy(np.ascontiguousarray(self.faces)).long(),
            uv=_tensor(self.uv) if with_uv and self.uv is not None else None,
            uv_faces=torch.from_numpy(self.uv_faces).long()
            if with_uv and self.uv_faces is not None
            else None,
            texture=_tensor(self.texture) if textured and with_uv and self.texture is not None else None,
            vertex_properties={name: _tensor(values) for name, values in properties.items()},
        )


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))

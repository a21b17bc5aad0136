"""From reconstructions to what the app shows: heads side by side, distances, overlay, animation.

Heads are shown upright (global rotation removed), so that differences are differences of face and
expression, not of pose. Letters: V verts, F faces, H W image.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, UInt8

from demo import figures
from demo.display import Display, colours_at, display_of
from demo.engine import Comparison
from occface_core.geometry.mesh import vertex_normals
from occface_core.morphable.albedo import vertex_uv
from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.animation import MAX_JAW, parameters
from occface_core.pipeline.reconstructor import Reconstruction
from occface_core.rendering.rasterizer import interpolate, rasterize

STUDENT_PANEL = 2
AS_IT_IS = ("Teacher", "Teacher, the same", "Student")  # titles where nothing was put before the face
# Slider -> ARKit actions it drives, both sides together.
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "smile": ("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft", "cheekSquintRight"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "brows": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    "pucker": ("mouthPucker",),
}
MISLED = 0.05  # share of the object's pixels in a texture from which on its light is not believed
PLAIN_SKIN = np.array([[0.78, 0.62, 0.53]], np.float32)
_OVERLAY_COLOUR = np.array([0.55, 0.86, 0.84], np.float32)


def upright(result: Reconstruction, head: HeadModel) -> Float[np.ndarray, "V 3"]:
    """Expressive vertices with the global rotation removed, metres."""
    params = parameters(result)
    pose = params.pose.clone()
    pose[:, :3] = 0
    return _evaluate(head, params.betas, params.expression, pose)


def animated(
    result: Reconstruction, head: HeadModel, *, jaw: float, actions: Mapping[str, float]
) -> Float[np.ndarray, "V 3"]:
    """The person's head making a face: neutral plus the given actions.

    Args:
        jaw: Jaw opening, 0 closed to 1 wide open.
        actions: Key of `ACTIONS` -> strength in [0,1].
    """
    params = parameters(result)
    expression = torch.zeros_like(params.expression)
    for name, strength in actions.items():
        for unit in ACTIONS[name]:
            if unit in head.expression_names:
                expression[:, head.expression_names.index(unit)] = strength
    pose = torch.zeros_like(params.pose)
    pose[:, 3] = jaw * MAX_JAW
    return _evaluate(head, params.betas, expression, pose)


def _evaluate(
    head: HeadModel, betas: torch.Tensor, expression: torch.Tensor, pose: torch.Tensor
) -> Float[np.ndarray, "V 3"]:
    with torch.inference_mode():
        return head(betas, expression, pose).verts[0].numpy()


def face_weights(head: HeadModel) -> Float[np.ndarray, " V"]:
    """1 for the vertices over which differences are averaged: the face region, or all without one."""
    region = head.regions.get("face")
    return np.ones(head.n_vertices, np.float32) if region is None else region.numpy()


def _eyes(head: HeadModel) -> Float[np.ndarray, " V"]:
    region = head.regions.get("eyes")
    return np.zeros(head.n_vertices, np.float32) if region is None else region.numpy()


class Heads:
    """The three heads of a comparison in both views, and their distances to the reference.

    Attributes:
        verts: View -> the heads from left to right, (V,3) metres.
        distance_mm: View -> distances of each head to the reference, (V,) mm.
        seen: For each head how far its photo shows a vertex, (V,) in [0,1].
    """

    def __init__(self, comparison: Comparison, head: HeadModel) -> None:
        self.results = (comparison.reference, comparison.teacher, comparison.student)
        self.head = head
        self.untouched = comparison.covered.untouched
        # The app knows exactly what it put in front of the face, which a network can only estimate.
        self._clear = comparison.covered.clear
        self.seen = [comparison.reference.vertex_visibility] + [
            result.vertex_visibility * at_vertices(self._clear, result) for result in self.results[1:]
        ]
        self.verts = {
            "photo": [upright(result, head) for result in self.results],
            "neutral": [result.verts_neutral for result in self.results],
        }
        self.distance_mm = {
            view: [np.linalg.norm(verts - heads[0], axis=1) * 1000 for verts in heads]
            for view, heads in self.verts.items()
        }

    def mean_mm(self, view: str, index: int) -> float:
        """Mean distance of a head to the reference over the face, mm."""
        return float(np.average(self.distance_mm[view][index], weights=face_weights(self.head)))

    def message(self) -> dict:
        """The viewer's message: all views and colours of the three heads."""
        region = face_weights(self.head) > 0.5
        tops = {view: figures.scale_top([d[region] for d in ds]) for view, ds in self.distance_mm.items()}
        panels = [self._panel(index, tops) for index in range(len(self.results))]
        mesh = display_of(self.head).mesh
        return figures.viewer_message(mesh.faces.numpy(), panels, tops, added=mesh.parents.numpy())

    def _panel(self, index: int, tops: Mapping[str, float]) -> figures.Panel:
        result, display = self.results[index], display_of(self.head)
        skin, photo = (shown_colours(texture, display) for texture in (result.albedo, result.texture))
        colours: dict = {
            "photo": completed_colours(photo, skin, self.believed(index)),
            "skin": skin_colours(result, self.head),
            "difference": {
                view: figures.difference_colours(self.distance_mm[view][index], top)
                for view, top in tops.items()
            },
            "seen": figures.seen_colours(self.seen[index]),
        }
        views = {view: heads[index] for view, heads in self.verts.items()}
        title = AS_IT_IS[index] if self.untouched else ""
        return figures.Panel(views, colours, self._note(index), title)

    def _note(self, index: int) -> str:
        # The photo as it is has no clean one to refer to: the teacher's two heads are the same.
        if index == 0 or (self.untouched and index != STUDENT_PANEL):
            return ""
        reference = "the teacher's" if self.untouched else "reference"
        return f"{self.mean_mm('neutral', index):.1f} mm from {reference}"

    def believed(self, index: int) -> Float[np.ndarray, " W"]:
        """Where the colours of a head's texture are right, [0,1], at every vertex that is shown.

        It is complete, hidden skin included. But a network that takes the object for skin has its colours in
        the texture, and their light in what fills the gaps; then only what the photo shows is believed.
        """
        result, display = self.results[index], display_of(self.head)
        taken = display.extend(texel_visibility(result, self.head))
        clear = np.ones_like(taken)
        if index:
            clear = at_points(self._clear, display.extend(result.verts_image[:, :2]))
        wrong = taken * (1 - clear)
        if wrong.sum() <= MISLED * taken.sum():
            return 1 - wrong
        return display.extend(result.vertex_visibility) * clear


def at_vertices(values: Float[np.ndarray, "H W"], result: Reconstruction) -> Float[np.ndarray, " V"]:
    """Values of the pixels under the vertices."""
    return at_points(values, result.verts_image[:, :2])


def at_points(values: Float[np.ndarray, "H W"], points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " N"]:
    """Values of the pixels under points; outside the picture those of its border."""
    height, width = values.shape
    columns = np.clip(points[:, 0].astype(int), 0, width - 1)
    rows = np.clip(points[:, 1].astype(int), 0, height - 1)
    return values[rows, columns]


def shown_colours(texture: Float[np.ndarray, "U U 3"] | None, display: Display) -> Float[np.ndarray, "W 3"]:
    """A texture at the vertices that are shown; plain skin without one."""
    colours = None if texture is None else display.sample(texture)
    count = display.mesh.count + len(display.mesh.parents)
    return np.tile(PLAIN_SKIN, (count, 1)) if colours is None else colours


def skin_colours(result: Reconstruction, head: HeadModel) -> Float[np.ndarray, "V 3"]:
    """Estimated skin colour at every vertex, without the photo's light."""
    return _sample(result.albedo, head)


def photo_colours(result: Reconstruction, head: HeadModel) -> Float[np.ndarray, "V 3"]:
    """The photo's own colours where it shows the surface; elsewhere other photos', or skin in its light."""
    return _sample(result.texture, head)


def texel_visibility(result: Reconstruction, head: HeadModel) -> Float[np.ndarray, " V"]:
    """How much of the colour at every vertex came from the photo itself."""
    if result.texture_visibility is None or head.uv is None:
        return result.vertex_visibility
    return _sample(result.texture_visibility[..., None], head)[:, 0]


def completed_colours(
    photo: Float[np.ndarray, "V 3"], skin: Float[np.ndarray, "V 3"], seen: Float[np.ndarray, " V"]
) -> Float[np.ndarray, "V 3"]:
    """The photo's colours where seen; elsewhere skin colour, brought to the photo's light to blend."""
    weight = seen[:, None]
    gain = (weight * photo).sum(0) / np.maximum((weight * skin).sum(0), 1e-6)
    lit = skin * np.clip(gain, 0.6, 1.7) if seen.sum() > 10 else skin
    return weight * photo + (1 - weight) * np.clip(lit, 0, 1)


def _sample(texture: Float[np.ndarray, "U U C"] | None, head: HeadModel) -> Float[np.ndarray, "V C"]:
    if texture is None or head.uv is None:
        return np.tile(PLAIN_SKIN, (head.n_vertices, 1))
    return colours_at(texture, vertex_uv(head))


def overlay(
    pixels: UInt8[np.ndarray, "H W 3"], result: Reconstruction, head: HeadModel, opacity: float = 0.72
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw the face part of a head over a photo, shaded, so that its fit can be judged."""
    verts = torch.from_numpy(result.verts_image)[None]
    height, width = pixels.shape[:2]
    fragments = rasterize(verts, head.faces, height, width)
    face = torch.from_numpy(np.maximum(face_weights(head), _eyes(head)))[None, :, None]
    attributes = torch.cat([vertex_normals(verts, head.faces), face], dim=2)
    drawn = interpolate(fragments, verts, head.faces, attributes)[0].numpy()
    # Depth grows away from the camera, so a normal that faces it has a negative third component.
    light = np.clip(-drawn[..., 2] * 0.8 - drawn[..., 1] * 0.25 - drawn[..., 0] * 0.15, 0, 1)[..., None]
    surface = _OVERLAY_COLOUR * (0.25 + 0.8 * light)
    alpha = opacity * np.clip(drawn[..., 3:] * 2 - 0.5, 0, 1) * fragments.mask[0, 0].numpy()[..., None]
    mixed = pixels / 255 * (1 - alpha) + np.clip(surface, 0, 1) * alpha
    return np.rint(mixed * 255).astype(np.uint8)

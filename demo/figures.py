"""Plotly meshes for the browser: traces, vertex colours, and the message that carries three heads at once.

Traces are plain dictionaries in Plotly's JSON form. Coordinates travel as base64 float32 and triangles as
uint16, which Plotly.js decodes itself, so a head of 5,181 vertices is 164 kB instead of 480.
Coordinates are in mm with x to the subject's left, y up, z out of the face.

Letters: V verts, F faces.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

# Strong enough to show shape, soft enough to keep the skin's own colours readable.
LIGHTING = {
    "ambient": 0.35,
    "diffuse": 0.6,
    "specular": 0.06,
    "roughness": 0.5,
    "fresnel": 0.05,
    "vertexnormalsepsilon": 0,
    "facenormalsepsilon": 0,
}
LIGHT_POSITION = {"x": 1e5, "y": 1e5, "z": -1e3}
CLAY = "#c9c4bd"
# Lightness falls steadily along both scales, so they read in grey and with any colour vision.
DIFFERENCE_SCALE = ("#e9ebee", "#f6d58a", "#ee8d4d", "#c6364f", "#5f1452")
GUESSED_SCALE = ("#ef8a3c", "#f6d9b8", "#2a9389")
_SCALE_STEPS_MM = (2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0)


@dataclass(frozen=True)
class Panel:
    """One of the heads shown side by side.

    Attributes:
        verts: View name ("photo", "neutral") -> (V,3) positions, metres, upright and facing the viewer.
        colours: Colour mode -> (V,3) RGB in [0,1]; a mode may also map view names to colours of its own.
        note: A short line under the panel's title, for example its mean difference.
        title: What the head was made from; empty: as the page has it (clean photo, covered photo).
    """

    verts: Mapping[str, Float[np.ndarray, "V 3"]]
    colours: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    title: str = ""


def typed_array(values: Shaped[np.ndarray, "..."]) -> dict[str, str]:
    """A 1-D array in Plotly.js's typed-array form: float32, or the smallest unsigned integers that do."""
    if np.issubdtype(values.dtype, np.floating):
        kind, packed = "f4", values.astype("<f4")
    elif values.size and int(values.max()) > np.iinfo(np.uint16).max:
        kind, packed = "u4", values.astype("<u4")
    else:
        kind, packed = "u2", values.astype("<u2")
    return {"dtype": kind, "bdata": base64.b64encode(packed.tobytes()).decode("ascii")}


def positions(verts: Float[np.ndarray, "V 3"]) -> dict[str, Any]:
    """The x, y, z entries of a trace, in mm.

    The viewer's up axis is z in Plotly's default camera, but any axis may be up, so the axes stay ours.
    """
    return {axis: typed_array(verts[:, k] * 1000.0) for k, axis in enumerate("xyz")}


def triangles(faces: Int[np.ndarray, "F 3"]) -> dict[str, Any]:
    """The i, j, k entries of a trace."""
    return {corner: typed_array(faces[:, k]) for k, corner in enumerate("ijk")}


def hex_colours(rgb: Float[np.ndarray, "V 3"]) -> list[str]:
    """RGB in [0,1] to "#rrggbb", the form Plotly takes fastest."""
    packed = np.rint(np.clip(np.nan_to_num(rgb), 0.0, 1.0) * 255).astype(np.uint8).tobytes().hex()
    return [f"#{packed[start : start + 6]}" for start in range(0, len(packed), 6)]


def mesh_trace(
    verts: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    colours: Float[np.ndarray, "V 3"] | None = None,
) -> dict[str, Any]:
    """A complete Mesh3d trace: one head with the project's light, clay-coloured without `colours`."""
    surface: dict[str, Any] = {"color": CLAY} if colours is None else {"vertexcolor": hex_colours(colours)}
    return trace_style() | positions(verts) | triangles(faces) | surface


def trace_style() -> dict[str, Any]:
    """What all heads share: type, light, no hover."""
    return {
        "type": "mesh3d",
        "lighting": dict(LIGHTING),
        "lightposition": dict(LIGHT_POSITION),
        "flatshading": False,
        "hoverinfo": "skip",
        "showscale": False,
    }


def scene_layout(panels: Sequence[Float[np.ndarray, "V 3"]]) -> dict[str, Any]:
    """Layout with one box for all heads, so that sizes compare and nothing jumps while a face moves."""
    points = np.concatenate(panels) * 1000.0
    centre = (points.max(0) + points.min(0)) / 2
    half = (points.max(0) - points.min(0)) / 2 * 1.06
    axes = {
        f"{name}axis": {"visible": False, "range": [float(centre[k] - half[k]), float(centre[k] + half[k])]}
        for k, name in enumerate("xyz")
    }
    ratio = half / half.max()
    scene = {
        **axes,
        "aspectmode": "manual",
        "aspectratio": {name: float(ratio[k]) for k, name in enumerate("xyz")},
        "bgcolor": "rgba(0,0,0,0)",
        "dragmode": "orbit",
        "camera": front_camera(),
    }
    return {
        "scene": scene,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
    }


def front_camera() -> dict[str, Any]:
    """Looking straight at the face, a little to the subject's left so that its depth shows."""
    return {
        "eye": {"x": 0.36, "y": 0.06, "z": 1.3},
        "up": {"x": 0, "y": 1, "z": 0},
        "center": {"x": 0, "y": 0, "z": 0},
        "projection": {"type": "perspective"},
    }


def colour_ramp(values: Float[np.ndarray, " V"], stops: Sequence[str]) -> Float[np.ndarray, "V 3"]:
    """Map [0,1] onto evenly spaced hex colours."""
    table = np.array([[int(stop[k : k + 2], 16) / 255 for k in (1, 3, 5)] for stop in stops])
    place = np.clip(np.nan_to_num(values), 0.0, 1.0)
    knots = np.linspace(0.0, 1.0, len(stops))
    return np.stack([np.interp(place, knots, table[:, channel]) for channel in range(3)], axis=1)


def difference_colours(distance_mm: Float[np.ndarray, " V"], top_mm: float) -> Float[np.ndarray, "V 3"]:
    """Colour of a distance between 0 and `top_mm`."""
    return colour_ramp(distance_mm / top_mm, DIFFERENCE_SCALE)


def seen_colours(visibility: Float[np.ndarray, " V"]) -> Float[np.ndarray, "V 3"]:
    """Colour of how far a vertex was seen in the photo: 0 guessed (orange), 1 seen (green)."""
    return colour_ramp(visibility, GUESSED_SCALE)


def scale_top(distances_mm: Sequence[Float[np.ndarray, " V"]]) -> float:
    """Upper end of the colour bar: the round number that holds 98 % of all distances."""
    largest = max((float(np.percentile(d, 98)) for d in distances_mm if d.size), default=0.0)
    return next((step for step in _SCALE_STEPS_MM if step >= largest), _SCALE_STEPS_MM[-1])


def viewer_message(
    faces: Int[np.ndarray, "F 3"],
    panels: Sequence[Panel],
    scale_mm: Mapping[str, float],
    *,
    added: Int[np.ndarray, "N 2"] | None = None,
) -> dict[str, Any]:
    """Everything the viewer needs to show the heads in every view and colour without asking again.

    Args:
        faces: Triangles, shared by all heads.
        panels: The heads from left to right.
        scale_mm: View name -> upper end of its difference scale.
        added: The two parents of each vertex that follows the heads' own. The viewer puts it between them,
            and gives it their mean colour where a panel's colours end before it.
    """
    ends = np.empty((0, 2), np.int64) if added is None else added
    return {
        "kind": "meshes",
        "style": trace_style() | triangles(faces),
        "added": [typed_array(ends[:, 0]), typed_array(ends[:, 1])],
        "layout": scene_layout([verts for panel in panels for verts in panel.verts.values()]),
        "clay": CLAY,
        "scale_mm": dict(scale_mm),
        "ramps": {"difference": list(DIFFERENCE_SCALE), "seen": list(GUESSED_SCALE)},
        "panels": [
            {
                "verts": {view: positions(verts) for view, verts in panel.verts.items()},
                "colours": {mode: _packed(colours) for mode, colours in panel.colours.items()},
                "note": panel.note,
                "title": panel.title,
            }
            for panel in panels
        ],
    }


def animation_message(verts: Float[np.ndarray, "V 3"], panel: int) -> dict[str, Any]:
    """New positions for one head; colours and triangles stay."""
    return {"kind": "animate", "panel": panel, "verts": positions(verts)}


def _packed(colours: Any) -> Any:
    """Colours without separators ("rrggbbrrggbb..."), smaller than a JSON list; the viewer splits them."""
    if isinstance(colours, Mapping):
        return {view: _packed(part) for view, part in colours.items()}
    return "".join(hex_colours(colours)).replace("#", "")

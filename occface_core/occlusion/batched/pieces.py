"""Designs of occluders: meshes on the mean face with their textures, as the bank stores them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from occface_core.occlusion.surfaces import grid_faces, grid_normals, grid_uv

TEXTURE = 96  # side of a design's main texture
SWATCH = 8  # below it lie plain colours, squares of this side
ATLAS = (TEXTURE + SWATCH, TEXTURE)
_FLIP = np.array([1.0, -1.0, -1.0], np.float32)  # from the mean face's frame to pixels' and back
# How a design is carried to a face: spline of the points, pose, or affine map of its upper half.
WARPED, POSED, UPPER = 0, 1, 2


@dataclass(frozen=True)
class Piece:
    """One surface of a design.

    Attributes:
        verts: (V,3) metres on the mean face. normals: (V,3) unit.
        faces: (F,3), counter-clockwise seen from outside.
        texel: (V,2) column and row in the design's atlas.
        tone: (V,) brightness. form: (V,) how much the light's direction shows. shine: (V,) highlight.
        two_sided: drawn and lit from both sides.
        weights: (V,K) warp weights, of warped designs only.
        moved: (V,3) metres added after the warp, of warped designs only.
    """

    verts: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    texel: np.ndarray
    tone: np.ndarray
    form: np.ndarray
    shine: np.ndarray
    two_sided: bool = False
    weights: np.ndarray | None = None
    moved: np.ndarray | None = None


@dataclass(frozen=True)
class Design:
    """An occluder on the mean face.

    Attributes:
        pieces: its surfaces; designs of one family have the same pieces, with NaN where one lacks something.
        texture: (TEXTURE,TEXTURE,5) RGB, opacity, and 1 where RGB multiplies a colour of the face.
        swatches: (4,) plain colours: RGB, and 1 where it multiplies a colour of the face.
        kind: textures of the same kind may be exchanged between designs.
        level: which warp the design uses, a name; "" for rigid ones.
    """

    pieces: list[Piece]
    texture: np.ndarray
    swatches: list[np.ndarray] = field(default_factory=list)
    kind: str = ""
    level: str = ""


def surface(
    grid: np.ndarray,
    *,
    swatch: int | None = None,
    uv: np.ndarray | None = None,
    closed: bool = False,
    two_sided: bool = False,
    shine: float = 0.0,
    form: float = 1.0,
    tone: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    moved: np.ndarray | None = None,
) -> Piece:
    """A piece from a grid (R,C,3) in metres, showing the main texture or one of the plain colours."""
    rows, columns = grid.shape[:2]
    count = rows * columns
    pixels = (grid * _FLIP).astype(np.float32)
    around = np.concatenate([pixels[:, -1:], pixels, pixels[:, :1]], axis=1) if closed else pixels
    normals = grid_normals(around)
    normals = normals[:, 1:-1] if closed else normals
    return Piece(
        verts=grid.reshape(-1, 3).astype(np.float32),
        normals=normals.reshape(-1, 3),
        faces=grid_faces(rows, columns, closed),
        texel=texels(count, swatch, grid_uv(rows, columns) if uv is None else uv),
        tone=np.ones(count) if tone is None else tone.reshape(-1),
        form=np.full(count, form),
        shine=np.full(count, shine),
        two_sided=two_sided,
        weights=weights,
        moved=moved,
    )


def texels(count: int, swatch: int | None, uv: np.ndarray) -> np.ndarray:
    """(count,2) column and row in the atlas: the middle of a plain colour, or uv within the main texture."""
    if swatch is not None:
        middle = [SWATCH * (swatch + 0.5), TEXTURE + SWATCH / 2]
        return np.tile(np.array(middle, np.float32), (count, 1))
    return np.clip(uv, 0.0, 1.0) * (TEXTURE - 0.1)


def plain(colour: np.ndarray) -> np.ndarray:
    """(4,) plain colour lit by the picture's light."""
    return np.append(colour, 0.0)


# A colour of the face, its skin's or its hair's. Bytes end at 1, and nails are brighter than skin: hence 0.8.
BRIGHTEST = 1.25
DYED = np.array([1 / BRIGHTEST, 1 / BRIGHTEST, 1 / BRIGHTEST, 1.0])


def main_texture(rgba: np.ndarray, dyed: np.ndarray | float = 0.0) -> np.ndarray:
    """Bring a painter's (h,w,4) texture to the bank's size; ``dyed`` 1 multiplies a colour of the face."""
    shrinks = rgba.shape[0] > TEXTURE or rgba.shape[1] > TEXTURE
    size = cv2.resize(
        np.ascontiguousarray(rgba, np.float32),
        (TEXTURE, TEXTURE),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST,
    )
    share = np.broadcast_to(np.asarray(dyed, np.float32), size.shape[:2])[..., None]
    return np.concatenate([size, share], axis=2)


def atlas(design: Design) -> np.ndarray:
    """(*ATLAS,5) uint8: the main texture above the plain colours."""
    whole = np.zeros((*ATLAS, 5), np.float32)
    whole[:TEXTURE] = design.texture
    for number, colour in enumerate(design.swatches):
        place = (slice(TEXTURE, None), slice(number * SWATCH, (number + 1) * SWATCH))
        whole[place] = np.insert(colour, 3, 1.0)
    return np.clip(np.round(whole * 255), 0, 255).astype(np.uint8)


def missing(piece: Piece) -> Piece:
    """The same piece left out: it is never drawn."""
    return Piece(**{**vars(piece), "verts": np.full_like(piece.verts, np.nan)})


def joined(pieces: Sequence[Piece], name: str) -> np.ndarray:
    """One attribute of all pieces, along the vertices."""
    return np.concatenate([getattr(piece, name) for piece in pieces]).astype(np.float32)

"""The store of designs that a batch picks its objects from, as padded tensors on one device."""

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Int64, UInt8
from safetensors.torch import save_file
from torch import Tensor

from occface_core.assets import load_safetensors
from occface_core.errors import AssetError, OcclusionError
from occface_core.occlusion.batched.designs import MAKERS
from occface_core.occlusion.batched.pieces import Design, atlas, joined
from occface_core.occlusion.batched.views import silhouettes
from occface_core.occlusion.request import EMPIRICAL_NAMES

DESIGNS = 64  # of each family, unless asked for more
_VERSION = "1"
_NOWHERE = 1e6  # metres: stands for NaN in files


@dataclass(frozen=True)
class OccluderBank:
    """Designs of the empirical families on the mean face: G families of D designs each, N = G*D.

    Letters: V vertices (the last one is never drawn), F triangles, K controls of warps, S view directions.

    Attributes:
        verts: metres; of warped designs what is added after the warp.
        normals: unit.
        surface: column and row in the atlas, brightness, how much the light's direction shows, highlight.
        faces: triangles of each family. two_sided: those that are drawn from both sides.
        both_lit: vertices of each family that are lit from both sides.
        texture: atlas of each design: RGB, opacity, and 255 where RGB multiplies a colour of the face.
        alike: first design, and number of designs, whose textures fit this one.
        warp: row of ``warps`` that carries the design. warps: weights of the control points.
        hidden: which of the 468 face points the design covers, seen from each direction.
    """

    verts: Float[Tensor, "N V 3"]
    normals: Float16[Tensor, "N V 3"]
    surface: Float16[Tensor, "N V 5"]
    faces: Int64[Tensor, "G F 3"]
    two_sided: Bool[Tensor, "G F"]
    both_lit: Bool[Tensor, "G V"]
    texture: UInt8[Tensor, "N h w 5"]
    alike: Int64[Tensor, "N 2"]
    warp: Int64[Tensor, " N"]
    warps: Float[Tensor, "L W K"]
    hidden: UInt8[Tensor, "N S 468"]

    @property
    def designs(self) -> int:
        """Designs of each family."""
        return len(self.verts) // len(EMPIRICAL_NAMES)

    def to(self, device: torch.device | str) -> "OccluderBank":
        """The same on `device`."""
        return OccluderBank(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def save(self, path: Path) -> None:
        """Write everything into a safetensors file."""
        tensors = {f.name: getattr(self, f.name).cpu().contiguous() for f in fields(self)}
        tensors["verts"] = tensors["verts"].nan_to_num(_NOWHERE)  # files of numbers that are none are refused
        save_file(tensors, path, {"format": "occface-bank", "version": _VERSION})

    @classmethod
    def load(cls, path: Path) -> "OccluderBank":
        """Read what ``save`` wrote.

        Raises:
            AssetError: the file is missing, damaged, or holds something else.
        """
        tensors, metadata = load_safetensors(path)
        names = {f.name for f in fields(cls)}
        if metadata.get("format") != "occface-bank" or metadata.get("version") != _VERSION:
            raise AssetError(f"{path} is no bank of occluders of this version; build and save it again")
        if set(tensors) != names:
            raise AssetError(
                f"{path} lacks {', '.join(sorted(names - set(tensors)))}; build and save it again"
            )
        verts = tensors.pop("verts")
        return cls(verts=verts.masked_fill(verts == _NOWHERE, torch.nan), **tensors)

    @classmethod
    def build(cls, designs: int = DESIGNS, *, seed: int = 0) -> "OccluderBank":
        """Make random designs on the CPU: about ten milliseconds each.

        Args:
            designs: of each family.
            seed: same seed, same bank.

        Raises:
            OcclusionError: no designs are asked for.
            AssetError: the head or the hands are missing.
        """
        if designs < 1:
            raise OcclusionError(f"a bank of {designs} designs is empty; ask for at least 1 of each family")
        made: list[list[Design]] = []
        for number, name in enumerate(EMPIRICAL_NAMES):
            rng = np.random.default_rng([seed, number])
            made.append(sorted((MAKERS[name][1](rng) for _ in range(designs)), key=lambda one: one.kind))
        return _pack(made)


def _pack(made: list[list[Design]]) -> OccluderBank:
    everything = [design for family in made for design in family]
    verts = 1 + max(len(joined(family[0].pieces, "verts")) for family in made)
    count = max(sum(len(piece.faces) for piece in family[0].pieces) for family in made)
    faces = np.full((len(made), count, 3), verts - 1)
    two_sided, both_lit = np.zeros(faces.shape[:2], bool), np.zeros((len(made), verts), bool)
    hidden = []
    for number, family in enumerate(made):
        first, corner = 0, 0
        for piece in family[0].pieces:
            faces[number, first : first + len(piece.faces)] = piece.faces + corner
            two_sided[number, first : first + len(piece.faces)] = piece.two_sided
            both_lit[number, corner : corner + len(piece.verts)] = piece.two_sided
            first, corner = first + len(piece.faces), corner + len(piece.verts)
        shapes = np.stack([joined(design.pieces, "verts") for design in family])
        hidden.append(silhouettes(shapes, faces[number, :first], two_sided[number, :first]))
    warps, rows = _warps(everything)
    return OccluderBank(
        verts=torch.from_numpy(np.stack([_shape(design, verts) for design in everything])),
        normals=torch.from_numpy(np.stack([_padded(joined(d.pieces, "normals"), verts) for d in everything]))
        .nan_to_num()
        .half(),
        surface=torch.from_numpy(np.stack([_surface(design, verts) for design in everything])).half(),
        faces=torch.from_numpy(faces).long(),
        two_sided=torch.from_numpy(two_sided),
        both_lit=torch.from_numpy(both_lit),
        texture=torch.from_numpy(np.stack([atlas(design) for design in everything])),
        alike=torch.from_numpy(np.concatenate([_alike(family, n) for n, family in enumerate(made)])),
        warp=torch.tensor(rows),
        warps=torch.from_numpy(warps),
        hidden=torch.from_numpy(np.concatenate(hidden)),
    )


def _padded(values: np.ndarray, count: int, fill: float = 0.0) -> np.ndarray:
    rest = np.full((count - len(values), *values.shape[1:]), fill, np.float32)
    return np.concatenate([values.astype(np.float32), rest])


def _shape(design: Design, count: int) -> np.ndarray:
    """(count,3) positions, or what is added to the warp's; NaN where nothing is to be drawn."""
    verts = joined(design.pieces, "verts")
    if design.level:
        verts = np.where(np.isnan(verts), verts, joined(design.pieces, "moved"))
    return _padded(verts, count, np.nan)


def _surface(design: Design, count: int) -> np.ndarray:
    columns = [joined(design.pieces, name) for name in ("tone", "form", "shine")]
    values = np.concatenate([joined(design.pieces, "texel"), np.stack(columns, axis=1)], axis=1)
    return _padded(values, count)


def _warps(designs: list[Design]) -> tuple[np.ndarray, list[int]]:
    """Weights of every warp in use, padded to the longest, and each design's row (0 for rigid ones)."""
    tables: dict[str, np.ndarray] = {}
    for design in designs:
        if design.level and design.level not in tables:
            tables[design.level] = joined(design.pieces, "weights")
    longest = max(map(len, tables.values()))
    names = list(tables)
    rows = [names.index(design.level) if design.level else 0 for design in designs]
    return np.stack([_padded(table, longest) for table in tables.values()]), rows


def _alike(family: list[Design], number: int) -> np.ndarray:
    """(D,2) first design and number of designs of each one's kind, counted over all families."""
    kinds = [design.kind for design in family]
    start = number * len(family)
    return np.array([[start + kinds.index(kind), kinds.count(kind)] for kind in kinds], np.int64)


@lru_cache(maxsize=4)
def shared_bank(device: torch.device) -> OccluderBank:
    """The usual bank on a device, built once per process (some seconds)."""
    if device.type != "cpu":
        return shared_bank(torch.device("cpu")).to(device)
    return OccluderBank.build()

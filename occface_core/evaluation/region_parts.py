"""Nose, mouth, forehead and cheek on a head model, and their scans."""

import torch
from jaxtyping import Int
from torch import Tensor

from occface_core.errors import AssetError
from occface_core.morphable.head_model import HeadModel

_AROUND_LIPS = 0.009  # metres
_BELOW_LIDS = 0.006
_LOWER_LIDS = (40, 41, 46, 47)


@torch.no_grad()
def face_parts(head: HeadModel) -> Int[Tensor, " V"]:
    """Part of every vertex: 0 nose, 1 mouth, 2 forehead, 3 cheek, -1 none.

    The mouth reaches 9 mm around the lips; the forehead holds brows and eyes down to 6 mm below the lower
    lids; the cheek is what is left of the face, chin included. REALY's regions were drawn on another head.

    Raises:
        AssetError: the head lacks a face, nose or lips region, or the 68 landmarks.
    """
    regions, verts = head.regions, head.v_template
    absent = {"face", "nose", "lips"} - set(regions)
    if absent:
        raise AssetError(f"head {head.name!r} has no region {', '.join(sorted(absent))}")
    face = (regions["face"] > 0.5) & (head.component == 0)
    if "mouth_interior" in regions:
        face &= regions["mouth_interior"] < 0.5
    points = head.landmarks(verts[None], "68_static")[0]
    nose = face & (regions["nose"] > 0.5)
    to_lips = torch.cdist(verts, verts[regions["lips"] > 0.5]).amin(1)
    mouth = face & ~nose & (to_lips < _AROUND_LIPS)
    upper = face & ~nose & ~mouth & (verts[:, 1] > points[list(_LOWER_LIDS), 1].mean() - _BELOW_LIDS)
    part = torch.full((len(verts),), -1, dtype=torch.long, device=verts.device)
    for number, inside in enumerate((nose, mouth, upper, face & ~nose & ~mouth & ~upper)):
        part[inside] = number
    return part

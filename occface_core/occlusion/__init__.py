"""Occlusion synthesis: arbitrary pixels and plausible objects over faces, with exact masks."""

from occface_core.occlusion.api import EMPIRICAL, FAMILIES, IRRATIONAL, occlude
from occface_core.occlusion.batched.api import occlude_batch
from occface_core.occlusion.batched.bank import OccluderBank
from occface_core.occlusion.face_points import estimate_depth, face_mask_from_points
from occface_core.occlusion.types import Occlusion

__all__ = [
    "EMPIRICAL",
    "FAMILIES",
    "IRRATIONAL",
    "OccluderBank",
    "Occlusion",
    "estimate_depth",
    "face_mask_from_points",
    "occlude",
    "occlude_batch",
]

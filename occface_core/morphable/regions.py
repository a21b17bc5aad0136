"""Regions of a head, stored ones and those derived from them."""

from jaxtyping import Float
from torch import Tensor

from occface_core.errors import AssetError
from occface_core.morphable.head_model import HeadModel

DERIVED: tuple[str, ...] = ("cheeks", "jaw")


def region_weight(head: HeadModel, name: str) -> Float[Tensor, "V"]:
    """Weight in [0,1] of every vertex in a region.

    `cheeks` and `jaw` are what nose, lips, brows and eye region leave of the face above and below the mouth.

    Raises:
        AssetError: the head has no such region.
    """
    regions = head.regions
    if name in regions:
        return regions[name]
    if name not in DERIVED or "face" not in regions:
        known = ", ".join(sorted({*regions, *DERIVED}))
        raise AssetError(f"head {head.name!r} has no region {name!r}; it has {known}")
    taken = sum(regions[r] for r in ("nose", "lips", "brows", "eye_region"))
    lips = regions["lips"]
    mouth_height = (head.v_template[:, 1] * lips).sum() / lips.sum()
    below = (head.v_template[:, 1] < mouth_height).float()
    rest = (regions["face"] - taken).clamp(min=0)
    return rest * (below if name == "jaw" else 1 - below)

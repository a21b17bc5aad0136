"""What a caller may ask of the occluders: families and their shares, coverage, inputs that fit together."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from occface_core.errors import OcclusionError

IRRATIONAL_NAMES: tuple[str, ...] = ("noise_patch", "random_shape", "stripes", "blur", "other_image")
EMPIRICAL_NAMES: tuple[str, ...] = (
    "medical_mask",
    "sunglasses",
    "glasses",
    "hand",
    "hair_strands",
    "cap_brim",
    "scarf",
    "microphone",
    "phone",
    "cup",
)
# Shares of the empirical families in a mix, against 1 for the others: what hides faces most often.
_EMPIRICAL_WEIGHT = {"medical_mask": 3.0, "sunglasses": 2.0, "hand": 2.0}

# What hides a face besides a first object, and how often; of what lies in one place there is one.
SECOND_SHARES = {
    "sunglasses": 3.0,
    "glasses": 3.0,
    "hand": 2.0,
    "cap_brim": 2.0,
    "hair_strands": 2.0,
    "medical_mask": 2.0,
    "phone": 1.0,
}
_ONE_PLACE = ({"sunglasses", "glasses"}, {"medical_mask", "scarf"}, {"cap_brim"}, {"hair_strands"})
_HELD = ("hand", "microphone", "phone", "cup")  # before everything that is worn
SECOND_COVERAGE = (0.05, 0.3)  # of what the first object leaves

FamilyChoice = str | Sequence[str] | Mapping[str, float]


def sample_seeds(batch: int, generator: torch.Generator) -> list[int]:
    """One seed per sample. Drawn one by one on CUDA, where a bulk draw depends on its size."""
    if generator.device.type == "cpu":
        return torch.randint(2**63 - 1, (batch,), generator=generator).tolist()
    draws = [
        torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device) for _ in range(batch)
    ]
    return torch.cat(draws).tolist() if draws else []


def resolve_family(family: FamilyChoice, *, has_points: bool) -> tuple[list[str], np.ndarray]:
    """Names and cumulative weights (ending above 1, so a draw in [0,1) always finds a name).

    Raises:
        OcclusionError: unknown names, weights that mean nothing, or families that need points without any.
    """
    if isinstance(family, Mapping):
        wanted = {name: float(weight) for name, weight in family.items()}
    elif isinstance(family, str):
        wanted = {family: 1.0}
    else:
        wanted = dict.fromkeys(family, 1.0)
    if not wanted or not all(np.isfinite(weight) and weight >= 0 for weight in wanted.values()):
        raise OcclusionError(f"family {family!r} must name at least one family with weights >= 0")
    flat: dict[str, float] = {}
    for name, weight in wanted.items():
        for member, share in _expand(name, has_points).items():
            flat[member] = flat.get(member, 0.0) + weight * share
    missing = [name for name, weight in flat.items() if name in EMPIRICAL_NAMES and weight > 0]
    if missing and not has_points:
        raise OcclusionError(
            f"{', '.join(missing)} need points (B,468,3); pass points= or family='irrational'"
        )
    total = sum(flat.values())
    if total <= 0:
        raise OcclusionError(f"family {family!r}: all weights are 0")
    cumulative = np.cumsum(np.array(list(flat.values())) / total)
    cumulative[-1] = 2.0
    return list(flat), cumulative


def _expand(name: str, has_points: bool) -> dict[str, float]:
    """Shares of the families a name stands for; they sum to 1."""
    if name == "irrational" or (name == "random" and not has_points):
        return dict.fromkeys(IRRATIONAL_NAMES, 1.0 / len(IRRATIONAL_NAMES))
    if name == "empirical":
        weights = {member: _EMPIRICAL_WEIGHT.get(member, 1.0) for member in EMPIRICAL_NAMES}
        total = sum(weights.values())
        return {member: weight / total for member, weight in weights.items()}
    if name == "random":
        halves = _expand("irrational", has_points) | _expand("empirical", has_points)
        return {member: 0.5 * share for member, share in halves.items()}
    if name not in (*IRRATIONAL_NAMES, *EMPIRICAL_NAMES):
        known = ", ".join((*IRRATIONAL_NAMES, *EMPIRICAL_NAMES, "irrational", "empirical", "random"))
        raise OcclusionError(f"unknown occlusion family {name!r}; known: {known}")
    return {name: 1.0}


def draw_second(first: str, draw: float, wanted: str = "") -> str:
    """The family of an object that comes on top of a first one.

    Args:
        first: family of the first. draw: uniform in [0,1). wanted: the answer, if there is a wish.

    >>> draw_second("sunglasses", 0.0), draw_second("cup", 0.9)
    ('hand', 'phone')
    """
    if wanted:
        return wanted
    taken = set().union(*(place for place in _ONE_PLACE if first in place), {first})
    names = [name for name in SECOND_SHARES if name not in taken and (first not in _HELD or name in _HELD)]
    bounds = np.cumsum([SECOND_SHARES[name] for name in names])
    return names[min(int(np.searchsorted(bounds, draw * bounds[-1], side="right")), len(names) - 1)]


def check_second(second: float, family: str = "", *, has_points: bool) -> None:
    """Refuse shares of second objects outside 0..1, families that are none, and any of them without points.

    Raises:
        OcclusionError: with what is wrong.
    """
    if not 0.0 <= second <= 1.0:
        raise OcclusionError(f"second {second!r} must be a share within 0..1")
    if family and family not in EMPIRICAL_NAMES:
        raise OcclusionError(f"second_family {family!r} is not one of {', '.join(EMPIRICAL_NAMES)}")
    if second and not has_points:
        raise OcclusionError("second objects need points (B,468,3); pass points= or second=0")


def check_coverage(coverage: tuple[float, float] | None) -> None:
    """Refuse ranges outside 0..1.

    Raises:
        OcclusionError: with the range.
    """
    if coverage is None:
        return
    if len(coverage) != 2 or not 0.0 <= coverage[0] <= coverage[1] <= 1.0:
        raise OcclusionError(f"coverage {coverage!r} must be (low, high) with 0 <= low <= high <= 1")


def check_shapes(image: Tensor, face_mask: Tensor, points: Tensor | None, others: Tensor | None) -> None:
    """Refuse shapes that do not fit together.

    Raises:
        OcclusionError: with both shapes.
    """
    if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape[2:]:
        raise OcclusionError(f"image has shape {tuple(image.shape)}, expected (B,3,H,W)")
    batch, _, height, width = image.shape
    if tuple(face_mask.shape) != (batch, 1, height, width):
        raise OcclusionError(
            f"face_mask has shape {tuple(face_mask.shape)}, expected {(batch, 1, height, width)}"
        )
    if points is not None and tuple(points.shape) != (batch, 468, 3):
        raise OcclusionError(f"points have shape {tuple(points.shape)}, expected {(batch, 468, 3)}")
    if others is not None and (others.ndim != 4 or others.shape[1] != 3):
        raise OcclusionError(f"other_images has shape {tuple(others.shape)}, expected (N,3,h,w)")


def check_finite(image: Tensor, face_mask: Tensor, points: Tensor | None) -> None:
    """Refuse NaN and infinity.

    Raises:
        OcclusionError: with the name of the input that holds some.
    """
    given = {"image": image, "face_mask": face_mask, "points": points}
    inputs = {name: tensor for name, tensor in given.items() if tensor is not None}
    # Sums show the same at a fraction of the cost, in one transfer; only an odd one needs a closer look.
    sums = torch.stack([tensor.float().sum().to(image.device) for tensor in inputs.values()])
    if bool(torch.isfinite(sums).all()):
        return
    for name, tensor in inputs.items():
        if not bool(torch.isfinite(tensor).all()):
            raise OcclusionError(f"{name} holds NaN or infinite values; drop or repair those samples first")

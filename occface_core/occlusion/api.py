"""The public call: occlude a batch of face images, seeded, with exact masks."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.errors import OcclusionError
from occface_core.occlusion import irrational
from occface_core.occlusion.eyewear import glasses, sunglasses
from occface_core.occlusion.garments import cap_brim, scarf
from occface_core.occlusion.hair import hair_strands
from occface_core.occlusion.hands import hand
from occface_core.occlusion.held import cup, microphone, phone
from occface_core.occlusion.kernels import compose
from occface_core.occlusion.medical_mask import medical_mask
from occface_core.occlusion.types import Occlusion, Painted, Sample

Painter = Callable[[Sample, np.random.Generator], Painted]

IRRATIONAL: dict[str, Painter] = {
    "noise_patch": irrational.noise_patch,
    "random_shape": irrational.random_shape,
    "stripes": irrational.stripes,
    "blur": irrational.blur,
    "other_image": irrational.other_image,
}
EMPIRICAL: dict[str, Painter] = {
    "medical_mask": medical_mask,
    "sunglasses": sunglasses,
    "glasses": glasses,
    "hand": hand,
    "hair_strands": hair_strands,
    "cap_brim": cap_brim,
    "scarf": scarf,
    "microphone": microphone,
    "phone": phone,
    "cup": cup,
}
FAMILIES: tuple[str, ...] = (*IRRATIONAL, *EMPIRICAL)
# Shares of the empirical families in a mix, against 1 for the others: what hides faces most often.
_EMPIRICAL_WEIGHT = {"medical_mask": 3.0, "sunglasses": 2.0, "hand": 2.0}

FamilyChoice = str | Sequence[str] | Mapping[str, float]


def occlude(
    image: Float[Tensor, "B 3 H W"],
    face_mask: Float[Tensor, "B 1 H W"],
    *,
    points: Float[Tensor, "B 468 3"] | None = None,
    family: FamilyChoice = "random",
    coverage: tuple[float, float] | None = (0.2, 0.5),
    generator: torch.Generator,
    other_images: Float[Tensor, "N 3 h w"] | None = None,
    shadows: bool = True,
) -> Occlusion:
    """Cover part of every face and say exactly which part.

    One seed per sample is drawn from ``generator`` first; each sample is then made on its own, so a sample's
    pixels depend neither on the batch size nor on its neighbours.

    Args:
        image: (B,3,H,W) RGB in [0,1].
        face_mask: (B,1,H,W) visible face skin before occlusion, in [0,1].
        points: (B,468,3) face points in MediaPipe order, pixels: x right, y down, depth larger = farther
            (see ``estimate_depth`` for points without depth). The empirical families are anchored to them.
        family: a family name; ``"irrational"``, ``"empirical"`` or ``"random"`` for a mix (``"random"`` takes
            half of the samples from each group, and only irrational ones when ``points`` is None); a list to
            draw from evenly; or a mapping from names to weights.
        coverage: range of the share of the visible face to hide. Families of free size land within a few
            points of a target drawn evenly from it; objects of fixed size (glasses) take the variant and
            place nearest to it, and the returned coverage says what came out. None: the family decides.
        generator: source of all randomness.
        other_images: (N,3,h,w) pictures that ``other_image`` cuts pieces from; without them it uses a turned
            copy of the image itself.
        shadows: let the empirical families darken the skin beside them. Outside ``occluder`` the picture is
            untouched when this is False, and always for the irrational families.

    Returns:
        Occlusion on the device and in the dtype of ``image``.

    Raises:
        OcclusionError: unknown family, coverage out of range, shapes that do not fit together, NaN or
            infinite inputs, or an empirical family without points.
    """
    _check_inputs(image, face_mask, points, other_images)
    _check_coverage(coverage)
    names, weights = _resolve_family(family, has_points=points is not None)
    seeds = _sample_seeds(image.shape[0], generator)
    pictures = _to_numpy(image).transpose(0, 2, 3, 1)
    faces = _to_numpy(face_mask)[:, 0]
    clouds = None if points is None else _to_numpy(points)
    others = None if other_images is None or len(other_images) == 0 else other_images

    chosen, colours, occluders = [], [], []
    for index, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        name = names[int(np.searchsorted(weights, rng.random(), side="right"))]
        pick = rng.random()
        sample = Sample(
            image=np.ascontiguousarray(pictures[index]),
            face=np.ascontiguousarray(faces[index]),
            points=None if clouds is None else clouds[index],
            other=_pick_other(others, pick) if name == "other_image" else None,
            target=None if coverage is None else float(rng.uniform(*coverage)),
            shadows=shadows,
        )
        painted = _painter(name)(sample, rng)
        composed, alpha = compose(
            sample.image, painted.shadow if shadows else None, painted.colour, painted.alpha
        )
        chosen.append(name)
        colours.append(composed)
        occluders.append(alpha)
    return _gather(image, face_mask, colours, occluders, chosen)


def _painter(name: str) -> Painter:
    return IRRATIONAL[name] if name in IRRATIONAL else EMPIRICAL[name]


def _gather(
    image: Tensor, face_mask: Tensor, colours: list[np.ndarray], occluders: list[np.ndarray], names: list[str]
) -> Occlusion:
    height, width = image.shape[2:]
    stacked = np.stack(colours) if colours else np.zeros((0, height, width, 3), np.float32)
    alphas = np.stack(occluders) if occluders else np.zeros((0, height, width), np.float32)
    occluded = torch.from_numpy(stacked).to(image).permute(0, 3, 1, 2).contiguous()
    occluder = torch.from_numpy(alphas).to(image)[:, None]
    mask = face_mask * (1 - occluder)
    before, after = face_mask.sum((1, 2, 3)), mask.sum((1, 2, 3))
    coverage = torch.where(before > 0, 1 - after / before.clamp_min(1e-12), torch.zeros_like(before))
    return Occlusion(occluded, mask, occluder, names, coverage)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).numpy()


def _pick_other(others: Tensor | None, pick: float) -> np.ndarray | None:
    if others is None:
        return None
    chosen = _to_numpy(others[min(int(pick * len(others)), len(others) - 1)])
    return chosen.transpose(1, 2, 0)


def _sample_seeds(batch: int, generator: torch.Generator) -> list[int]:
    """One seed per sample. Drawn one by one on CUDA, where a bulk draw depends on its size."""
    if generator.device.type == "cpu":
        return torch.randint(2**63 - 1, (batch,), generator=generator).tolist()
    draws = [
        torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device) for _ in range(batch)
    ]
    return torch.cat(draws).tolist() if draws else []


def _resolve_family(family: FamilyChoice, *, has_points: bool) -> tuple[list[str], np.ndarray]:
    """Names and cumulative weights (ending above 1, so a draw in [0,1) always finds a name)."""
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
    missing = [name for name, weight in flat.items() if name in EMPIRICAL and weight > 0]
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
    if name == "irrational" or (name == "random" and not (has_points and EMPIRICAL)):
        return dict.fromkeys(IRRATIONAL, 1.0 / len(IRRATIONAL))
    if name == "empirical" and EMPIRICAL:
        weights = {member: _EMPIRICAL_WEIGHT.get(member, 1.0) for member in EMPIRICAL}
        total = sum(weights.values())
        return {member: weight / total for member, weight in weights.items()}
    if name == "random":
        halves = _expand("irrational", has_points) | _expand("empirical", has_points)
        return {member: 0.5 * share for member, share in halves.items()}
    if name not in FAMILIES:
        known = ", ".join((*FAMILIES, "irrational", "empirical", "random"))
        raise OcclusionError(f"unknown occlusion family {name!r}; known: {known}")
    return {name: 1.0}


def _check_coverage(coverage: tuple[float, float] | None) -> None:
    if coverage is None:
        return
    if len(coverage) != 2 or not 0.0 <= coverage[0] <= coverage[1] <= 1.0:
        raise OcclusionError(f"coverage {coverage!r} must be (low, high) with 0 <= low <= high <= 1")


def _check_inputs(image: Tensor, face_mask: Tensor, points: Tensor | None, others: Tensor | None) -> None:
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
    for name, tensor in (("image", image), ("face_mask", face_mask), ("points", points)):
        # A sum shows the same at a fraction of the cost; only one that is not finite needs a closer look.
        if tensor is None or bool(torch.isfinite(tensor.float().sum())):
            continue
        if not bool(torch.isfinite(tensor).all()):
            raise OcclusionError(f"{name} holds NaN or infinite values; drop or repair those samples first")

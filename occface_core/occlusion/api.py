"""The public call: occlude a batch of face images, seeded, with exact masks."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.occlusion import irrational
from occface_core.occlusion.eyewear import glasses, sunglasses
from occface_core.occlusion.garments import cap_brim, scarf
from occface_core.occlusion.hair import hair_strands
from occface_core.occlusion.hands import hand
from occface_core.occlusion.held import cup, microphone, phone
from occface_core.occlusion.kernels import compose
from occface_core.occlusion.medical_mask import medical_mask
from occface_core.occlusion.request import (
    SECOND_COVERAGE,
    FamilyChoice,
    check_coverage,
    check_finite,
    check_second,
    check_shapes,
    draw_second,
    resolve_family,
    sample_seeds,
)
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
    second: float = 0.0,
    second_family: str = "",
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
        second: share of the samples that get a second object on top, sunglasses or a hand over a mask for
            instance: 5 to 30 % of what the first leaves, whatever ``coverage`` says. Their family is
            ``"medical_mask+sunglasses"``; the other samples keep their pixels.
        second_family: an empirical family for all second objects; drawn per sample by default.

    Returns:
        Occlusion on the device and in the dtype of ``image``.

    Raises:
        OcclusionError: unknown family, coverage or second out of range, shapes that do not fit together, NaN
            or infinite inputs, or an empirical family or a second object without points.
    """
    check_shapes(image, face_mask, points, other_images)
    check_finite(image, face_mask, points)
    check_coverage(coverage)
    check_second(second, second_family, has_points=points is not None)
    names, weights = resolve_family(family, has_points=points is not None)
    seeds = sample_seeds(image.shape[0], generator)
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
        composed, alpha = _cover(sample, name, rng)
        if second and rng.random() < second:
            extra = draw_second(name, rng.random(), second_family)
            composed, alpha = _cover_again(sample, composed, alpha, extra, rng)
            name = f"{name}+{extra}"
        chosen.append(name)
        colours.append(composed)
        occluders.append(alpha)
    return _gather(image, face_mask, colours, occluders, chosen)


def _cover(sample: Sample, name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The picture (H,W,3) with an object in front, and the object's opacity (H,W)."""
    painted = _painter(name)(sample, rng)
    shadow = painted.shadow if sample.shadows else None
    return compose(sample.image, shadow, painted.colour, painted.alpha)


def _cover_again(
    sample: Sample, composed: np.ndarray, alpha: np.ndarray, name: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same for a sample that has an object before it; opacity of both together."""
    target = None if sample.target is None else float(rng.uniform(*SECOND_COVERAGE))
    rest = replace(sample, image=composed, face=sample.face * (1 - alpha), target=target, bare=sample.image)
    composed, over = _cover(rest, name, rng)
    return composed, 1 - (1 - alpha) * (1 - over)


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

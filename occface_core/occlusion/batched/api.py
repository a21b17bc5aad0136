"""The batched call: cover every face of a batch on the device where it lies."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.occlusion.batched.bank import OccluderBank, shared_bank
from occface_core.occlusion.batched.device import upload
from occface_core.occlusion.batched.draws import Draws
from occface_core.occlusion.batched.empirical import paint
from occface_core.occlusion.batched.group import Group, Layer, compose
from occface_core.occlusion.batched.irrational import IRRATIONAL
from occface_core.occlusion.request import (
    EMPIRICAL_NAMES,
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
from occface_core.occlusion.types import Occlusion

# Samples painted together: what fits a processor's cache, or a GPU's memory. The pixels are the same.
_AT_ONCE = {"cpu": 4, "cuda": 256}
_SECOND = 0x5DEECE66D  # turns the seed of a sample into that of its second object


def occlude_batch(
    image: Float[Tensor, "B 3 H W"],
    face_mask: Float[Tensor, "B 1 H W"],
    *,
    points: Float[Tensor, "B 468 3"] | None = None,
    family: FamilyChoice = "random",
    coverage: tuple[float, float] | None = (0.2, 0.5),
    generator: torch.Generator,
    other_images: Float[Tensor, "N 3 h w"] | None = None,
    shadows: bool = True,
    bank: OccluderBank | None = None,
    second: float = 0.0,
    second_family: str = "",
) -> Occlusion:
    """Cover part of every face, as :func:`occlude` does, but all of them at once and on their own device.

    The families are the same, the pixels are not: one seed per sample is drawn from ``generator``, and every
    random number is a hash of it, so that a sample's pixels depend neither on the batch size nor on its
    neighbours, and CPU and GPU cover the same places. Sizes need no search: see ``shapes.quantile``.

    Args:
        image: (B,3,H,W) RGB in [0,1], on any device.
        face_mask: (B,1,H,W) visible face skin before occlusion, in [0,1].
        points: (B,468,3) face points in MediaPipe order, pixels and depth, as for :func:`occlude`.
        family: as for :func:`occlude`.
        coverage: range of the share of the visible face to hide, as for :func:`occlude`.
        generator: source of the seeds; best on the CPU, where it needs nothing from the GPU.
        other_images: (N,3,h,w) pictures that ``other_image`` cuts pieces from, or None.
        shadows: let the empirical families darken the skin beside them.
        bank: designs of the empirical families; the usual ones by default.
        second, second_family: share and family of second objects on top, as for :func:`occlude`.

    Returns:
        Occlusion on the device and in the dtype of ``image``.

    Raises:
        OcclusionError: as :func:`occlude`.
    """
    check_shapes(image, face_mask, points, other_images)
    check_finite(image, face_mask, points)
    check_coverage(coverage)
    check_second(second, second_family, has_points=points is not None)
    names, weights = resolve_family(family, has_points=points is not None)
    # Drawn on the CPU: which samples a painter gets is then known without asking the GPU.
    seeds = torch.tensor(sample_seeds(len(image), generator), dtype=torch.int64)
    draws = Draws(seeds)
    picks = draws.uniform("family")[:, 0].double().numpy()
    families = np.array(names, dtype=object)[np.searchsorted(weights, picks, side="right")]
    whole = _whole(image, face_mask, points, coverage, upload(seeds, image.device), other_images)
    result, occluder = _paint(whole, families, shadows, bank)
    if second:
        result, occluder, families = _paint_again(
            whole, draws, (second, second_family), (result, occluder, families), shadows, bank
        )
    return _finish(image, face_mask, result, occluder, families.tolist())


def _paint(
    whole: Group, families: np.ndarray, shadows: bool, bank: OccluderBank | None
) -> tuple[Tensor, Tensor]:
    """Pictures with an object of its family before each, and the objects' opacity."""
    result, occluder = whole.image.clone(), torch.zeros_like(whole.face)
    for members, painter in _work(families, bank, whole.image.device):
        rows = upload(members, whole.image.device)
        group = _rows(whole, rows)
        layer = painter(group)
        if not shadows:
            layer = Layer(layer.colour, layer.alpha)
        result.index_copy_(0, rows, compose(group.image, layer))
        occluder.index_copy_(0, rows, layer.alpha)
    return result, occluder


def _paint_again(
    whole: Group,
    draws: Draws,
    second: tuple[float, str],
    first: tuple[Tensor, Tensor, np.ndarray],
    shadows: bool,
    bank: OccluderBank | None,
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Pictures, opacity and families, a share of them with a second object; `draws` are on the CPU."""
    result, occluder, families = first
    members = np.flatnonzero(draws.chance("second", second[0])[:, 0].numpy())
    if not len(members):
        return first
    wanted = draws.uniform("second family")[:, 0].double().numpy()[members]
    below = families[members]
    extras = [draw_second(*pair, second[1]) for pair in zip(below, wanted, strict=True)]
    above = np.array(extras, dtype=object)
    rows = upload(members, whole.image.device)
    picture, hidden = result.index_select(0, rows), occluder.index_select(0, rows)
    painted, over = _paint(_remaining(_rows(whole, rows), picture, hidden), above, shadows, bank)
    result.index_copy_(0, rows, painted)
    occluder.index_copy_(0, rows, 1 - (1 - hidden) * (1 - over))
    families[members] = [f"{one}+{other}" for one, other in zip(below, above, strict=True)]
    return result, occluder, families


def _remaining(group: Group, covered: Tensor, occluder: Tensor) -> Group:
    """What first objects leave of a group, with random numbers of its own for second ones."""
    draws = Draws(group.draws.seeds ^ _SECOND)
    low, high = SECOND_COVERAGE
    target = draws.uniform("target", low=low, high=high)[:, 0]
    face = group.face * (1 - occluder)
    return replace(group, image=covered, face=face, target=target, draws=draws, bare=group.image)


def _work(
    families: np.ndarray, bank: OccluderBank | None, device: torch.device
) -> list[tuple[np.ndarray, Callable[[Group], Layer]]]:
    """Rows of the batch and what paints them: each irrational family, and the empirical ones together."""
    work: list[tuple[np.ndarray, Callable[[Group], Layer]]] = []
    most = _AT_ONCE["cuda" if device.type == "cuda" else "cpu"]
    for name, painter in IRRATIONAL.items():
        work += [(rows, painter) for rows in _split(np.flatnonzero(families == name), most)]
    numbers = np.full(len(families), -1)
    for number, name in enumerate(EMPIRICAL_NAMES):
        numbers[families == name] = number
    for rows in _split(np.flatnonzero(numbers >= 0), most):
        bank = shared_bank(device) if bank is None else bank.to(device)
        work.append((rows, partial(paint, numbers=numbers[rows], bank=bank)))
    return work


def _split(rows: np.ndarray, most: int) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // most)) if len(rows) else []


def _whole(
    image: Tensor,
    face_mask: Tensor,
    points: Tensor | None,
    coverage: tuple[float, float] | None,
    seeds: Tensor,
    others: Tensor | None,
) -> Group:
    """All samples as one group, in float32."""
    draws = Draws(seeds)
    low, high = (0.1, 0.6) if coverage is None else coverage
    return Group(
        image=image.detach().float(),
        face=face_mask.detach().float(),
        points=None if points is None else points.detach().float(),
        target=draws.uniform("target", low=low, high=high)[:, 0],
        draws=draws,
        others=None if others is None or len(others) == 0 else others.detach().to(image.device).float(),
        natural=coverage is None,
    )


def _rows(whole: Group, rows: Tensor) -> Group:
    """Some samples of a group."""
    pick: Callable[[Tensor], Tensor] = lambda tensor: tensor.index_select(0, rows)  # noqa: E731
    return Group(
        pick(whole.image),
        pick(whole.face),
        None if whole.points is None else pick(whole.points),
        pick(whole.target),
        Draws(pick(whole.draws.seeds)),
        whole.others,
        whole.natural,
        None if whole.bare is None else pick(whole.bare),
    )


def _finish(
    image: Tensor, face_mask: Tensor, result: Tensor, occluder: Tensor, names: list[str]
) -> Occlusion:
    occluder = occluder.to(image)
    mask = face_mask * (1 - occluder)
    # float64, whose rounding (which depends on the batch) the result's precision does not see
    before, after = (tensor.double().flatten(1).sum(1) for tensor in (face_mask, mask))
    coverage = torch.where(before > 0, 1 - after / before.clamp_min(1e-12), torch.zeros_like(before))
    return Occlusion(result.to(image), mask, occluder, names, coverage.to(image))

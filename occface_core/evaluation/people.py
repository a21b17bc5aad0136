"""Several photos of one person: how much of what a network says is the person, and how much the photo.

No scan is needed to see that two photos of one person must give one shape. The share of the variance that
lies between people (the intraclass correlation of a one-way layout) is 1 for a network that says the same of
every photo of a person and 0 for one whose answers depend on the photo alone; being a share, it does not
reward making everyone alike. It measures consistency and recognises nobody.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from occface_core.data.draws import number_people
from occface_core.data.packed import PackedPhotos
from occface_core.errors import DataError
from occface_core.evaluation.metrics import MM, percentile_interval
from occface_core.evaluation.robustness import Batches, Encoder
from occface_core.evaluation.twins import views_of
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel

Answers = Mapping[str, Float[np.ndarray, "N D"]]
MOST = 3  # photos of a person taken together
_AXES = 60  # principal axes kept; they hold all but a thousandth of the variance


@dataclass(frozen=True)
class PersonSpread:
    """Root mean square distances to a person's mean and to everyone's, unbiased, and the share between.

    Attributes:
        within: among photos of one person. total: among photos of all. share: 1 - within² / total².
        share_ci95: of `share`, people resampled.
        directions: in how many independent ways people differ, (sum of eigenvalues)² / sum of their squares
            of the covariance between people. A share alone could be had by telling men from women.
    """

    within: float
    total: float
    share: float
    share_ci95: tuple[float, float]
    directions: float


def with_several_photos(packed: PackedPhotos) -> Int[np.ndarray, "N"]:
    """Rows of a pack that show people of whom it has at least two photos.

    Raises:
        DataError: there are fewer than two such people.
    """
    albums = [album for album in number_people(packed.identities)[1] if len(album) > 1]
    if len(albums) < 2:
        raise DataError(
            f"fewer than two people with several photos among {len(packed)}: the photos must tell who is who"
        )
    return np.sort(np.concatenate(albums))


def without_size(
    neutral: Float[Tensor, "B V 3"], weight: Float[Tensor, "V"], size: float
) -> Float[Tensor, "B V 3"]:
    """Centred and scaled to a root mean square radius of `size`: one photo cannot tell a head's size."""
    centred, radius = _centred(neutral, weight)
    return centred * (size / radius)


def person_spread(
    values: Float[np.ndarray, "N D"], person: Int[np.ndarray, "N"], *, rounds: int = 1000, seed: int = 0
) -> PersonSpread:
    """Spread of weighted vectors, whose squared length is a mean square, within people and among all."""
    _, index = np.unique(person, return_inverse=True)
    count = np.bincount(index).astype(float)
    sums = _sums(values, index)
    squares = np.bincount(index, weights=(values**2).sum(1))
    inner = squares - (sums**2).sum(1) / count  # of each person's photos, around their mean

    def variances(times: Float[np.ndarray, "P"]) -> tuple[float, float]:
        photos = times @ count
        middle = (times @ sums) / photos
        total = (times @ squares - photos * (middle @ middle)) / (photos - 1)
        return times @ inner / (photos - times.sum()), total

    rng, people = np.random.default_rng(seed), len(count)
    draws = (rng.integers(people, size=people) for _ in range(rounds))
    drawn = (np.bincount(one, minlength=people).astype(float) for one in draws)
    shares = [1 - within / total for within, total in map(variances, drawn)]
    within, total = variances(np.ones(people))
    return PersonSpread(
        float(np.sqrt(within)),
        float(np.sqrt(total)),
        float(1 - within / total),
        percentile_interval(np.array(shares)),
        _directions(values, index, count),
    )


def _sums(values: Float[np.ndarray, "N D"], index: Int[np.ndarray, "N"]) -> Float[np.ndarray, "P D"]:
    """Of each person's photos."""
    sums = np.zeros((index.max() + 1, values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def _directions(
    values: Float[np.ndarray, "N D"], index: Int[np.ndarray, "N"], count: Float[np.ndarray, "P"]
) -> float:
    """Participation ratio of the covariance between people.

    It is made of products of different photos of one person, so that what differs from photo to photo cancels
    out instead of counting as a way in which people differ.
    """
    centred = values - values.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:_AXES]
    short = centred @ axes.T
    sums = _sums(short, index)
    weight = 1 / (count - 1)  # pairs of a person over its photos: every photo counts alike
    between = (sums * weight[:, None]).T @ sums - (short * weight[index, None]).T @ short
    eigenvalues = np.linalg.eigvalsh(between).clip(min=0)
    return float(eigenvalues.sum() ** 2 / max((eigenvalues**2).sum(), 1e-30))


def distance_to_person(
    values: Float[np.ndarray, "N D"],
    reference: Float[np.ndarray, "N D"],
    person: Int[np.ndarray, "N"],
    photos: int,
) -> Float[np.ndarray, "P"]:
    """How far the mean over a few photos of a person is from the person as other photos show them.

    Of everyone with `2 * MOST` photos or more, the first half is the reference (mean of `reference`), and the
    first `photos` of the rest are tried. One value per such person, root mean square.
    """
    result = []
    for number in np.unique(person):
        rows = np.flatnonzero(person == number)
        if len(rows) >= 2 * MOST:
            others, own = rows[: len(rows) // 2], rows[len(rows) // 2 :][:photos]
            result.append(np.linalg.norm(values[own].mean(0) - reference[others].mean(0)))
    return np.array(result, dtype=np.float64)


@torch.no_grad()
def describe(
    models: Mapping[str, Encoder],
    twins: Batches,
    head: HeadModel,
    albedo: AlbedoModel,
    *,
    progress: Callable[[Iterable], Iterable] = iter,
) -> dict[str, Answers]:
    """Shape without size (mm) and albedo (values in [0,1]) of every photo, as weighted vectors over the face.

    Args:
        models: name -> network.
        twins: photos and their covered twins.
        head, albedo: the face model the networks predict.
        progress: wraps the batches.

    Returns:
        Per network and view ("teacher, clean", "teacher, covered"), and for "mean head": (N,D) each of
        `shape_mm` and `albedo`, their squared lengths mean squares over the face.
    """
    weight = head.regions["face"]
    inside = weight > 0.5
    scale = (weight[inside] / weight[inside].sum()).sqrt()[:, None]
    size = float(_centred(head.v_template, weight)[1])
    parts: dict[str, dict[str, list[np.ndarray]]] = {}

    def add(name: str, neutral: Tensor, colour: Tensor) -> None:
        row = parts.setdefault(name, {"shape_mm": [], "albedo": []})
        shape = without_size(neutral, weight, size)[:, inside] * MM
        for key, value in (("shape_mm", shape), ("albedo", colour[:, inside] / 3**0.5)):
            row[key].append((value * scale).flatten(1).double().cpu().numpy())

    for step in progress(range(len(twins))):
        views = views_of(twins[step])
        for name, model in models.items():
            for view, label in (("clean", "clean"), ("occluded", "covered")):
                params = model(views[view]).params
                add(f"{name}, {label}", head.neutral(params.betas), albedo.vertex_albedo(params.albedo, head))
        blank = params.replace(betas=params.betas * 0, albedo=params.albedo * 0)
        add("mean head", head.neutral(blank.betas), albedo.vertex_albedo(blank.albedo, head))
    return {name: {key: np.concatenate(v) for key, v in row.items()} for name, row in parts.items()}


def _centred(
    verts: Float[Tensor, "*B V 3"], weight: Float[Tensor, "V"]
) -> tuple[Float[Tensor, "*B V 3"], Float[Tensor, "*B 1 1"]]:
    """Vertices around their weighted mean, and their root mean square distance from it."""
    share = (weight / weight.sum())[:, None]
    centred = verts - (verts * share).sum(-2, keepdim=True)
    return centred, (centred.square() * share).sum((-2, -1), keepdim=True).sqrt()

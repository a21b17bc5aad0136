"""Learning the mean and the components of skin colour from photos sampled in a face chart.

Letters: H W chart size, N chart cells on the face, P photos, T components.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.albedo_chart import FaceChart
from occface_core.morphable.albedo_photos import FaceSamples, fit_light, light_basis, relative_shading

Array = NDArray[np.float64]

# Relative change of skin colour (RGB, sRGB values) per unit of each global direction. Melanin darkens blue
# most: the log ratio of very light to very dark skin tones. Haemoglobin absorbs green, then blue, and hardly
# red (Tsumura et al. 2003 separate the same two pigments). Undertone is what a camera's white balance and
# carotene change.
GLOBAL_NAMES = ("melanin", "haemoglobin", "undertone")
GLOBAL_DIRECTIONS = np.array([[-0.68, -0.86, -1.0], [-0.04, -1.0, -0.85], [0.35, 0.1, -1.0]])
# Spread of the three over people when there is no photo to measure it on.
GLOBAL_SPREAD = np.array([0.20, 0.05, 0.045])
# Photos spread wider in hue than people do, by their white balance; that much belongs to the light.
_MAX_SPREAD = np.array([0.22, 0.05, 0.045])

_ASYMMETRY = 0.35  # left-right differences count less: in photos most of them are light
_CLIP = 0.28  # residuals beyond this are hats, glasses or hair
_KEEP = 0.8  # share of photos kept: the least explained are occluded or badly aligned
_DELIGHT_ROUNDS = 3
_STRIDE = 7  # light is smooth: every seventh cell is enough to fit it


@dataclass(frozen=True)
class FaceBasis:
    """What photos teach about the face, in the chart.

    Attributes:
        mean: (H,W,3) sRGB albedo where `chart.face` > 0.
        tone: (3,) typical skin colour.
        spread: (3,) standard deviation of the global directions over people.
        residuals: (R,H,W,3) residual components, one standard deviation each.
        explained: (R,) share of the residual variance each holds.
        photos: How many photos were used.
    """

    mean: Array
    tone: Array
    spread: Array
    residuals: Array
    explained: Array
    photos: int


def learn_face(chart: FaceChart, samples: FaceSamples, n_residual: int) -> FaceBasis:
    """Learn mean, tone spread and residual components.

    Args:
        chart: The face chart.
        samples: Photos sampled in it.
        n_residual: How many residual components to keep.
    """
    weight = chart.face[chart.cells]
    mean, textures, error = _delight(chart, samples, weight)
    keep = error <= np.quantile(error, _KEEP)
    textures = textures[keep]
    tones = np.median(textures[:, weight > 0.9], axis=1)
    tone = np.median(tones, axis=0)
    mean = _flip_mean(chart, _robust_mean(textures, tones / tone))
    residual, coeffs = _remove_global(textures, mean, weight)
    residuals, explained = _components(chart, residual, weight, n_residual)
    spread = np.minimum(coeffs.std(0), _MAX_SPREAD)
    return FaceBasis(chart.grid(mean), tone.astype(np.float64), spread, residuals, explained, int(keep.sum()))


def _delight(
    chart: FaceChart, samples: FaceSamples, weight: Array
) -> tuple[Array, NDArray[np.float32], Array]:
    """Mean albedo (N,3), light-free textures (P,N,3) and how badly each photo fits the mean (P,).

    Light and mean albedo depend on each other, so they are found in turns. Each photo's mean shading is
    set to 1 per channel: how bright the lamp was cannot be told from how light the skin is.
    """
    normals = chart.normal[chart.cells]
    mean = np.ones((len(weight), 3)) * np.array([0.70, 0.54, 0.46])
    textures = np.empty(samples.colours.shape, dtype=np.float32)
    error = np.empty(len(textures))
    for _ in range(_DELIGHT_ROUNDS):
        for i, (colours, rotation) in enumerate(zip(samples.colours, samples.rotations, strict=True)):
            photo = colours / 255.0
            basis = light_basis(normals @ rotation.T)
            light = fit_light(photo[::_STRIDE], mean[::_STRIDE], basis[::_STRIDE], weight[::_STRIDE])
            textures[i] = photo / relative_shading(light, basis, weight)
        tones = np.median(textures[:, weight > 0.9], axis=1)
        tone = np.median(tones, axis=0)
        mean = _flip_mean(chart, _robust_mean(textures, tones / tone))
        relative = np.abs(textures / (tones / tone)[:, None] - mean).mean(2)
        error = (relative * weight).sum(1) / weight.sum()
    return mean, textures, error


def _robust_mean(textures: NDArray[np.float32], gains: NDArray[np.float32]) -> Array:
    """Per-cell median (N,3) of textures brought to one tone by their gains (P,3)."""
    result = np.empty(textures.shape[1:])
    for start in range(0, textures.shape[1], 2048):
        part = textures[:, start : start + 2048] / gains[:, None]
        result[start : start + 2048] = np.median(part, axis=0)
    return result


def _flip_mean(chart: FaceChart, values: Array) -> Array:
    """Average of cell values (N,3) with their mirror image."""
    grid = chart.grid(values)
    return (0.5 * (grid + grid[:, ::-1]))[chart.cells]


def global_fields(mean: Array) -> Array:
    """The three global directions (3,N,3) at albedo (N,3): a relative change of whatever colour is there."""
    return GLOBAL_DIRECTIONS[:, None] * mean


def _remove_global(
    textures: NDArray[np.float32], mean: Array, weight: Array
) -> tuple[NDArray[np.float32], Array]:
    """Residuals (P,N,3) after the best global change of each photo, and those changes (P,3)."""
    fields = global_fields(mean)
    weighted = (fields * weight[:, None]).reshape(3, -1)
    gram = weighted @ fields.reshape(3, -1).T
    residual = textures - mean.astype(np.float32)
    matches = weighted.astype(np.float32) @ residual.reshape(len(residual), -1).T
    coeffs = np.asarray(np.linalg.solve(gram, matches.astype(np.float64)).T, dtype=np.float64)
    for i, row in enumerate(coeffs):
        residual[i] -= np.tensordot(row, fields, 1)
    return residual, coeffs


def _components(
    chart: FaceChart, residual: NDArray[np.float32], weight: Array, count: int
) -> tuple[Array, Array]:
    """Principal components (R,H,W,3) of the residuals, one standard deviation each, and their shares (R,).

    Over photos and their mirror images the covariance splits into a symmetric and an antisymmetric part.
    Each is solved on one half of the face and continued to the other.
    """
    np.clip(residual, -_CLIP, _CLIP, out=residual)
    residual *= weight[:, None].astype(np.float32)
    mirror = _mirror_cells(chart)
    left = chart.cells[1] >= chart.face.shape[1] // 2
    fields, variances, total = [], [], 0.0
    for sign, gain in ((1.0, 0.5), (-1.0, 0.5 * _ASYMMETRY)):
        half = (residual[:, left] + sign * residual[:, mirror[left]]) * gain
        directions, variance = _principal(half.reshape(len(half), -1).astype(np.float32, copy=False), count)
        whole = np.zeros((len(directions), len(weight), 3))
        whole[:, left] = directions.reshape(len(directions), -1, 3)
        whole[:, mirror[left]] = sign * whole[:, left]
        fields.append(whole)
        variances.append(variance)
        total += float((half**2).sum()) / len(half)
    variance = np.concatenate(variances)
    order = np.argsort(variance)[::-1][:count]
    chosen = np.concatenate(fields)[order] * np.sqrt(variance[order])[:, None, None]
    grids = np.stack([chart.grid(row) for row in chosen])
    return grids, variance[order] / total


def _principal(rows: NDArray[np.float32], count: int) -> tuple[Array, Array]:
    """Leading unit directions (count,M) and robust variances of rows (P,M), by the Gram matrix (P,P)."""
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    directions = (vectors.T.astype(np.float32) @ rows).astype(np.float64)
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    # Spread by the median: a few photos with glasses, hats or make-up must not set what is typical.
    spread = 1.4826 * np.median(np.abs(vectors), axis=0) * np.sqrt(np.maximum(values, 0))
    return directions, spread**2


def _mirror_cells(chart: FaceChart) -> NDArray[np.int64]:
    """Index (N,) among the face cells of each cell's mirror image."""
    rows, columns = chart.cells
    number = np.full(chart.face.shape, -1)
    number[rows, columns] = np.arange(len(rows))
    return number[:, ::-1][rows, columns]


def smooth_face(chart: FaceChart, n_residual: int) -> FaceBasis:
    """A face without any photo: plain skin and smooth patches (cosines over the chart, coarse first).

    For building the model where no photos are at hand; `paint` adds lips and brows from the head's regions.
    """
    rows, columns = np.indices(chart.face.shape) + 0.5
    size = len(chart.face)
    waves = sorted(
        ((i, j) for i in range(12) for j in range(12) if i + j), key=lambda w: (w[0] ** 2 + w[1] ** 2, w)
    )
    tints = np.array([[1.0, 1.0, 1.0], [0.2, -0.7, -0.6]]) * np.array([[0.02], [0.015]])
    fields = []
    for i, j in waves:
        across = (columns - size / 2) / size * np.pi * j
        wave = np.cos(np.pi * i * rows / size) * (np.sin(across) if j % 2 else np.cos(across))
        gain = (_ASYMMETRY if j % 2 else 1.0) / np.hypot(i, j) * chart.face
        fields += [(wave * gain)[..., None] * tint for tint in tints]
    residuals = np.stack(fields[:n_residual])
    power = (residuals**2).sum((1, 2, 3))
    tone = np.array([0.72, 0.55, 0.47])
    mean = np.where(chart.face[..., None] > 0, tone, 0)
    return FaceBasis(mean, tone, GLOBAL_SPREAD, residuals, power / power.sum(), 0)

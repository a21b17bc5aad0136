"""Lifting skin colour out of photos: align a face to the mean head, estimate its light, divide it out.

Photos need MediaPipe's 468 points. Only calm, near-frontal, large enough, colour photos are used. Colours
stay sRGB values (see `albedo`): image = albedo * shading is fitted in the space in which photos are compared.

Letters: N chart cells, P photos, L landmarks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from occface_core.errors import DataError
from occface_core.morphable.albedo_chart import FaceChart

Array = NDArray[np.float64]

_EYE_CORNERS, _MOUTH_CORNERS, _INNER_LIPS = (33, 263), (61, 291), (13, 14)
MAX_YAW, MAX_PITCH, MAX_ROLL = np.radians([22.0, 22.0, 30.0])
MIN_EYE_DISTANCE = 42.0  # pixels between the outer eye corners
MAX_MOUTH_GAP = 0.09  # inner lips apart, relative to the mouth's width: closed mouths only
MAX_MISFIT = 0.11  # rms landmark distance to the mean head, relative to the distance of the eyes
MIN_CHROMA = 0.02  # mean difference of red and blue: below, the photo is grey
_SHADING_RANGE = (0.4, 2.2)  # relative to the photo's mean shading


@dataclass(frozen=True)
class Alignment:
    """A face's scaled-orthographic pose: pixel = scale * (rotation @ point)[:2] * (1,-1) + offset."""

    scale: float
    rotation: Array  # (3,3)
    offset: Array  # (2,)
    residual: Array  # (L,2) pixels left between the photo's points and the mean head's

    def project(self, points: Array) -> Array:
        """Mean-head points (N,3), metres, to pixels (N,2)."""
        turned = points @ self.rotation.T
        return self.scale * turned[:, :2] * np.array([1.0, -1.0]) + self.offset


def align(points: Array, landmarks: Array) -> Alignment:
    """Least-squares pose of the mean head's landmarks (L,3) under photo points (L,2)."""
    centre3, centre2 = landmarks.mean(0), points.mean(0)
    affine, *_ = np.linalg.lstsq(landmarks - centre3, points - centre2, rcond=None)
    axes = affine.T * np.array([[1.0], [-1.0]])
    left, spread, right = np.linalg.svd(axes, full_matrices=False)
    axes = left @ right
    rotation = np.stack([axes[0], axes[1], np.cross(axes[0], axes[1])])
    scale = float(spread.mean())
    offset = centre2 - scale * (rotation @ centre3)[:2] * np.array([1.0, -1.0])
    pose = Alignment(scale, rotation, offset, np.zeros_like(points))
    return Alignment(scale, rotation, offset, points - pose.project(landmarks))


def usable(points: Array, pose: Alignment) -> bool:
    """Whether a face is frontal, calm and large enough to learn skin from."""

    def distance(pair: tuple[int, int]) -> float:
        return float(np.linalg.norm(points[pair[0]] - points[pair[1]]))

    yaw = np.arctan2(pose.rotation[0, 2], pose.rotation[2, 2])
    pitch = np.arctan2(pose.rotation[1, 2], pose.rotation[2, 2])
    roll = np.arctan2(pose.rotation[0, 1], pose.rotation[0, 0])
    eyes = distance(_EYE_CORNERS)
    misfit = np.sqrt((pose.residual**2).sum(1).mean())
    return bool(
        max(abs(yaw) / MAX_YAW, abs(pitch) / MAX_PITCH, abs(roll) / MAX_ROLL) < 1
        and eyes > MIN_EYE_DISTANCE
        and misfit < MAX_MISFIT * eyes
        and distance(_INNER_LIPS) < MAX_MOUTH_GAP * distance(_MOUTH_CORNERS)
    )


def warp_weights(cells: Array, landmarks: Array, smoothing: float = 0.0006) -> Array:
    """Linear map (N,L) that spreads landmark residuals over cells as the smoothest field through them.

    Biharmonic interpolation in 3D (kernel -r and a constant), with `smoothing` metres added to the diagonal
    because the points of photos are noisy.
    """
    count = len(landmarks)

    def kernel(a: Array, b: Array) -> Array:
        return -np.sqrt(np.maximum((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1), 0))

    system = np.ones((count + 1, count + 1))
    system[:count, :count] = kernel(landmarks, landmarks) - smoothing * np.eye(count)
    system[count, count] = 0
    inverse = np.linalg.inv(system)
    basis = np.concatenate([kernel(cells, landmarks), np.ones((len(cells), 1))], axis=1)
    return basis @ inverse[:, :count]


def sample(image: NDArray[np.uint8], pixels: Array) -> Array:
    """Bilinear colours (N,3) in [0,1] at pixel places (N,2), centres at +0.5; the border is repeated."""
    height, width = image.shape[:2]
    x, y = (pixels[:, 0] - 0.5).clip(0, width - 1.001), (pixels[:, 1] - 0.5).clip(0, height - 1.001)
    x0, y0 = x.astype(np.int64), y.astype(np.int64)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    bottom = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
    return (top * (1 - fy) + bottom * fy) / 255.0


def light_basis(normals: Array) -> Array:
    """Quadratic polynomials (N,9) of unit normals (N,3): the space of second-order spherical harmonics."""
    x, y, z = normals.T
    return np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], axis=1)


def fit_light(colours: Array, albedo: Array, basis: Array, weights: Array, rounds: int = 4) -> Array:
    """Light coefficients (9,3) of a face whose albedo is roughly known.

    Args:
        colours: (N,3) photo colours.
        albedo: (N,3) what the skin is taken to be, up to a factor per channel.
        basis: (N,9) `light_basis` of the normals in the camera's frame.
        weights: (N,) trust of each cell.
        rounds: Reweighting rounds: cells far off the fit (hair, glasses, highlights) lose their vote.
    """
    light = np.zeros((9, 3))
    trust = weights
    # Higher bands are held back a little: a face shows only the normals of one hemisphere.
    ridge = np.diag([0.0, 1, 1, 1, 3, 3, 3, 3, 3]) * 1e-3 * weights.sum()
    for _ in range(rounds):
        for channel in range(3):
            design = basis * albedo[:, channel, None]
            weighted = design * trust[:, None]
            light[:, channel] = np.linalg.solve(weighted.T @ design + ridge, weighted.T @ colours[:, channel])
        error = np.abs(colours - (basis @ light) * albedo).max(1)
        scale = 1.5 * np.median(error[weights > 0.5]) + 1e-3
        trust = weights / (1 + (error / scale) ** 2)
    return light


def relative_shading(light: Array, basis: Array, weights: Array) -> Array:
    """Shading (N,3) under a light (9,3), scaled to mean 1 per channel over the weighted cells."""
    result = basis @ light
    mean = (result * weights[:, None]).sum(0) / weights.sum()
    return (result / np.maximum(mean, 1e-3)).clip(*_SHADING_RANGE)


@dataclass(frozen=True)
class FaceSamples:
    """Photos sampled at the face cells of a chart.

    Attributes:
        colours: (P,N,3) uint8, as photographed.
        rotations: (P,3,3) mean head to camera.
    """

    colours: NDArray[np.uint8]
    rotations: Array


class FaceSampler:
    """Samples photos in a chart; `add` them one by one."""

    def __init__(self, chart: FaceChart) -> None:
        self._landmarks = chart.landmarks
        self._position = chart.position[chart.cells]
        self._spread = warp_weights(self._position, chart.landmarks)
        self._colours: list[NDArray[np.uint8]] = []
        self._rotations: list[Array] = []

    def __len__(self) -> int:
        return len(self._colours)

    def add(self, image: NDArray[np.uint8], points: NDArray) -> bool:
        """Take one photo (H,W,3) RGB with its points (468+,2) in pixels; False when it is not usable."""
        points = np.asarray(points[:468], dtype=np.float64)
        pose = align(points, self._landmarks)
        if not usable(points, pose):
            return False
        pixels = pose.project(self._position) + self._spread @ pose.residual
        if (pixels < 0).any() or (pixels > np.array(image.shape[1::-1])).any():
            return False
        colours = sample(image, pixels)
        if np.mean(colours[:, 0] - colours[:, 2]) < MIN_CHROMA:
            return False
        self._colours.append((colours * 255 + 0.5).astype(np.uint8))
        self._rotations.append(pose.rotation)
        return True

    def result(self) -> FaceSamples:
        """Everything taken so far.

        Raises:
            DataError: No photo was usable.
        """
        if not self._colours:
            raise DataError("no photo shows a calm, near-frontal face large enough to learn skin colour from")
        return FaceSamples(np.stack(self._colours), np.stack(self._rotations))

"""Light an occluder as its face is lit, and blend it into the picture's sharpness and noise."""

from dataclasses import dataclass

import cv2
import numpy as np

from occface_core.occlusion.canonical import canonical_normals
from occface_core.occlusion.face_points import EYES_AND_LIPS
from occface_core.occlusion.kernels import premultiply, unmultiply
from occface_core.occlusion.posing import HeadPose
from occface_core.occlusion.surfaces import opaque_window

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
SKIN = np.setdiff1d(np.arange(468), np.array(EYES_AND_LIPS))


@dataclass(frozen=True)
class Light:
    """Light estimated from a face.

    Attributes:
        level: (3,) RGB of a white surface under the mean light.
        skin: (3,) median skin colour.
        gradient: (3,) relative brightness per unit of the normal (x right, y up, z to the viewer).
        offset: mean of ``gradient . normal`` over the face, so that the face's own mean shading is 1.
    """

    level: np.ndarray
    skin: np.ndarray
    gradient: np.ndarray
    offset: float

    def relative(self, normals: np.ndarray) -> np.ndarray:
        """(N,) brightness of surfaces with (N,3) unit normals, 1 = the face's own mean."""
        return np.clip(1.0 + normals @ self.gradient - self.offset, 0.3, 1.5)

    def shade(self, normals: np.ndarray) -> np.ndarray:
        """(N,3) colour that multiplies an albedo on surfaces with (N,3) unit normals."""
        return (self.relative(normals)[:, None] * self.level).astype(np.float32)


def estimate_light(image: np.ndarray, points: np.ndarray, pose: HeadPose) -> Light:
    """Fit brightness = a + b.n to the skin at the face points (robustly), and guess the white level.

    White cannot be told from one face: half of the guess is the picture's bright end, half a fixed multiple
    of the skin's brightness.
    """
    height, width = image.shape[:2]
    columns, rows = np.floor(points[SKIN, :2]).astype(np.int64).T
    normals = pose.turn(canonical_normals()[SKIN])
    seen = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height) & (normals[:, 2] > 0.15)
    if seen.sum() < 20:
        return Light(np.full(3, 0.8, np.float32), np.full(3, 0.5, np.float32), np.zeros(3, np.float32), 0.0)
    colours, normals = image[rows[seen], columns[seen]], normals[seen]
    luminance = colours @ LUMA
    ranked = np.sort(luminance)
    luminance = np.clip(luminance, ranked[int(0.05 * len(ranked))], ranked[int(0.97 * len(ranked))])
    middle = max(float(ranked[len(ranked) // 2]), 0.03)
    design = np.concatenate([normals, np.ones((len(normals), 1), np.float32)], axis=1).astype(np.float64)
    ridge = np.diag([0.05, 0.05, 0.1, 1e-6]) * len(normals)
    fit = np.linalg.solve(design.T @ design + ridge, design.T @ (luminance / middle))
    gradient = np.clip(fit[:3], -0.8, 0.8).astype(np.float32)
    gradient += np.array([0.0, 0.10, 0.12], np.float32)  # some form even where the light is flat
    skin = np.sort(colours, axis=0)[len(colours) // 2]
    few = image[:: max(1, height // 28), :: max(1, width // 28)].reshape(-1, 3)
    brightness = np.sort(few @ LUMA)
    bright = float(brightness[int(0.95 * len(brightness))])
    white = np.clip(0.5 * bright + 0.5 * 1.5 * middle, 0.3, 0.98)
    cast = few.mean(axis=0)
    cast = np.clip(cast / max(float(cast @ LUMA), 1e-3), 0.7, 1.3) ** 0.25
    return Light((white * cast).astype(np.float32), skin, gradient, float(normals.mean(axis=0) @ gradient))


def blend_in(
    rng: np.random.Generator, image: np.ndarray, colour: np.ndarray, alpha: np.ndarray, extent: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give an occluder the picture's softness and noise.

    Args:
        rng: source of the noise.
        image: (H,W,3) the picture.
        colour: (H,W,3) occluder colour.
        alpha: (H,W) occluder opacity.
        extent: pixels between the eyes' outer corners, or a similar face size, to scale the blur.

    Returns:
        Colour and opacity, both slightly blurred; opacity stays 0 beyond about 3 sigma.
    """
    grey = image[::2, ::2, 1]  # green stands for brightness: only statistics are wanted
    laplacian = cv2.Laplacian(np.ascontiguousarray(image[..., 1]), cv2.CV_32F)[::2, ::2]
    detail = float(np.abs(laplacian).mean()) / max(float(grey.std()), 1e-3)
    sigma = float(np.clip(0.9 - 2.0 * detail, 0.3, 0.9)) * float(np.clip(extent / 60.0, 0.4, 2.0))
    noise = float(np.clip(np.median(np.abs(laplacian)) * 0.25, 0.0, 0.02))
    soft, tinted = np.zeros_like(alpha), np.zeros_like(colour)
    window = opaque_window(alpha, margin=6)
    if window is None:
        return tinted, soft
    layers = np.empty((*alpha[window].shape, 4), np.float32)
    premultiply(colour[window], alpha[window], layers)
    layers = cv2.GaussianBlur(layers, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REPLICATE)
    grain = rng.standard_normal(layers.shape[:2], dtype=np.float32)
    unmultiply(layers, grain, np.float32(noise), tinted[window], soft[window])
    if float(np.abs(image[::4, ::4, 0] - image[::4, ::4, 2]).mean()) < 0.004:  # a black and white picture
        tinted[window] = (tinted[window] @ LUMA)[..., None]
    return tinted, soft


def contact_shadow(alpha: np.ndarray, face: np.ndarray, extent: float, strength: float) -> np.ndarray:
    """(H,W) darkening of the face beside an occluder: its opacity, blurred and shifted slightly down."""
    sigma = max(0.045 * extent, 0.5)
    reach = cv2.GaussianBlur(alpha, (0, 0), sigma)
    shift = max(1, round(0.03 * extent))
    moved = np.zeros_like(reach)
    moved[shift:] = reach[:-shift]
    return 1.0 - np.float32(strength) * moved * np.clip(face, 0.0, 1.0)

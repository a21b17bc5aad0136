"""Compiled loops over the pixels of one picture: one pass each where array operations would take several."""

import inspect
from collections.abc import Callable

import numpy as np
from numba import njit


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile on first call. Unwrapped first, since run-time type checkers wrap functions numba must read."""
    plain = inspect.unwrap(function)
    try:
        return njit(cache=True, fastmath=True, nogil=True)(plain)
    except RuntimeError:  # read-only install without a home folder: compile anew in each process
        return njit(fastmath=True, nogil=True)(plain)


@compiled
def _compose(image, shadow, colour, alpha, out, occluder):  # type: ignore[no-untyped-def]
    shaded = shadow.shape[0] > 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            a = min(max(alpha[y, x], np.float32(0.0)), np.float32(1.0))
            occluder[y, x] = a
            dark = shadow[y, x] if shaded else np.float32(1.0)
            for k in range(3):
                below = image[y, x, k] * dark if shaded else image[y, x, k]
                if a > 0:
                    mixed = below + a * (colour[y, x, k] - below)
                    out[y, x, k] = min(max(mixed, np.float32(0.0)), np.float32(1.0))
                else:
                    out[y, x, k] = below


def compose(
    image: np.ndarray, shadow: np.ndarray | None, colour: np.ndarray, alpha: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Darken a picture and blend an occluder over it; pixels that neither touches keep their exact bits.

    Args:
        image: (H,W,3) float32. shadow: (H,W) factors, or None. colour: (H,W,3). alpha: (H,W) opacity.

    Returns:
        (H,W,3) and the opacity (H,W), limited to [0,1].
    """
    out, occluder = np.empty_like(image), np.empty(image.shape[:2], np.float32)
    factors = np.empty((0, 0), np.float32) if shadow is None else np.ascontiguousarray(shadow, np.float32)
    _compose(
        image,
        factors,
        np.ascontiguousarray(colour, np.float32),
        np.ascontiguousarray(alpha, np.float32),
        out,
        occluder,
    )
    return out, occluder


@compiled
def premultiply(colour, alpha, layers):  # type: ignore[no-untyped-def]
    """Colour times opacity, and opacity, side by side: (h,w,3) and (h,w) into (h,w,4)."""
    for y in range(alpha.shape[0]):
        for x in range(alpha.shape[1]):
            a = alpha[y, x]
            for k in range(3):
                layers[y, x, k] = colour[y, x, k] * a
            layers[y, x, 3] = a


@compiled
def unmultiply(layers, grain, noise, colour, alpha):  # type: ignore[no-untyped-def]
    """Blurred (h,w,4) layers back into colour, plus noise, and opacity without its faint tail."""
    for y in range(layers.shape[0]):
        for x in range(layers.shape[1]):
            a = layers[y, x, 3]
            alpha[y, x] = np.float32(0.0) if a < 0.01 else min(a, np.float32(1.0))
            share = np.float32(1.0) / max(a, np.float32(1e-3))
            for k in range(3):
                colour[y, x, k] = layers[y, x, k] * share + grain[y, x] * noise

"""How a mask sits: a little too wide or small, askew, slipped, standing off; never as if it were painted on.

Masks that follow a face point by point would tell where its hidden jaw lies, which real ones do not.
"""

from dataclasses import dataclass

import numpy as np

_STRETCH, _ROLL = 0.07, np.radians(3.5)  # standard deviations: of the logarithms of width and height; radians
_SHIFT = np.array([0.003, 0.003, 0.0])  # metres, standard deviations: across, up
_OFF = 0.005  # metres that a loose mask stands off the face, at most
_FARTHEST = 1.6  # standard deviations


@dataclass(frozen=True)
class Wear:
    """A similarity of the mask's own plane on the mean face, and a distance from it.

    Attributes:
        stretch: (2,) width and height, 1 as designed. roll: radians about the line of sight.
        shift: (3,) metres, x to the subject's left, y up, z out of the face.
    """

    stretch: np.ndarray
    roll: float
    shift: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Wear":
        """One at random."""
        spread = np.clip(rng.standard_normal(5), -_FARTHEST, _FARTHEST)
        shift = _SHIFT * np.append(spread[3:], 0.0) + np.array([0.0, 0.0, _OFF * rng.random() ** 2])
        return cls(np.exp(_STRETCH * spread[:2]), float(_ROLL * spread[2]), shift)

    def displacement(self, grid: np.ndarray, *, about: np.ndarray) -> np.ndarray:
        """Where points of the mask go from where they were designed.

        Args:
            grid: (...,3) metres on the mean face. about: (3,) centre of the mask.

        Returns:
            (...,3) metres.
        """
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        flat = (grid - about)[..., :2] * self.stretch
        turned = flat @ np.array([[cos, sin], [-sin, cos]])
        moved = np.concatenate([turned + about[:2], grid[..., 2:]], axis=-1) + self.shift
        return (moved - grid).astype(np.float32)

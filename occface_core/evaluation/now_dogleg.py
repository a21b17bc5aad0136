"""Powell's dogleg for small dense least-squares problems, ending where the NoW evaluator ends.

The method is that of Lourakis and Argyros (ICCV 2005). The published NoW numbers come from a run that starts
with a trust radius of 0.1 and stops at the first accepted step that gains less than 0.01 % of the sum of
squares, with Gauss-Newton steps from conjugate gradients at relative tolerance 1e-5. That is short of the
minimum, so the same numbers need the same rules; a better optimiser would be further from them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse.linalg import cg

TRUST_RADIUS = 0.1
LEAST_GAIN = 1e-4  # of the sum of squares, per accepted step
GRADIENT_FLOOR = STEP_FLOOR = 1e-15
MAX_STEPS = 200
CG_TOLERANCE, CG_STEPS = 1e-5, 2000

Residuals = Callable[[Float[np.ndarray, " P"]], Float[np.ndarray, " N"]]
Jacobian = Callable[[Float[np.ndarray, " P"]], Float[np.ndarray, "N P"]]


@dataclass(frozen=True)
class DoglegResult:
    """Where the search ended.

    Attributes:
        parameters: the best parameters found.
        sum_of_squares: the objective there.
        steps: accepted steps.
        evaluations: residual evaluations, the first included.
    """

    parameters: Float[np.ndarray, " P"]
    sum_of_squares: float
    steps: int
    evaluations: int


def minimise(residuals: Residuals, jacobian: Jacobian, start: Float[np.ndarray, " P"]) -> DoglegResult:
    """Minimise the sum of squared residuals.

    Args:
        residuals: residual vector at given parameters; not finite = out of bounds.
        jacobian: its derivatives; called only at parameters whose residuals were computed last.
        start: first parameters.
    """
    point, radius = np.array(start, np.float64), TRUST_RADIUS
    values = residuals(point)
    total, steps, evaluations = float(values @ values), 0, 1
    local = _Quadratic(jacobian(point), values)
    while steps < MAX_STEPS and np.abs(local.downhill).max() >= GRADIENT_FLOOR:
        step = local.step(radius)
        if np.linalg.norm(step) <= STEP_FLOOR * np.linalg.norm(point):
            break
        trial_values = residuals(point + step)
        trial = float(trial_values @ trial_values)
        evaluations += 1
        improved = trial < total
        gain = total - trial
        radius = _next_radius(radius, gain / local.predicted(step) if improved else -np.inf, step)
        if improved:
            small = gain < LEAST_GAIN * total
            point, total, steps = point + step, trial, steps + 1
            if small:
                break
            local = _Quadratic(jacobian(point), trial_values)
        if radius <= STEP_FLOOR * np.linalg.norm(point):
            break
    return DoglegResult(point, total, steps, evaluations)


def _next_radius(radius: float, ratio: float, step: Float[np.ndarray, " P"]) -> float:
    """Trust radius after a step whose gain was ``ratio`` times the predicted one."""
    if ratio > 0.9:
        return max(radius, 2.5 * float(np.linalg.norm(step)))
    return radius / 4 if not ratio >= 0.05 else radius


class _Quadratic:
    """The Gauss-Newton model of the objective around one point."""

    def __init__(self, jacobian: Float[np.ndarray, "N P"], values: Float[np.ndarray, " N"]) -> None:
        self.hessian = jacobian.T @ jacobian
        self.downhill = -(jacobian.T @ values)
        slope = float(self.downhill @ self.downhill)
        curvature = float(self.downhill @ self.hessian @ self.downhill)
        self.cauchy = self.downhill * (slope / curvature) if curvature > 0 else self.downhill
        self._newton: Float[np.ndarray, " P"] | None = None

    @property
    def newton(self) -> Float[np.ndarray, " P"]:
        """The Gauss-Newton step, solved once and only when it is needed."""
        if self._newton is None:
            self._newton = cg(self.hessian, self.downhill, rtol=CG_TOLERANCE, maxiter=CG_STEPS)[0]
        return self._newton

    def step(self, radius: float) -> Float[np.ndarray, " P"]:
        """The dogleg step: down the slope, then bending towards Gauss-Newton, no longer than ``radius``."""
        first = float(np.linalg.norm(self.cauchy))
        if first >= radius:
            return self.cauchy * (radius / first)
        if np.linalg.norm(self.newton) <= radius:
            return self.newton
        bend = self.newton - self.cauchy
        along, length = float(self.cauchy @ bend), float(bend @ bend)
        room = radius**2 - first**2
        return self.cauchy + bend * (room / (along + np.sqrt(along**2 + length * room)))

    def predicted(self, step: Float[np.ndarray, " P"]) -> float:
        """Decrease of the sum of squares that the model expects."""
        return float(2 * self.downhill @ step - step @ self.hessian @ step)

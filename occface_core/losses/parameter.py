"""Losses between codes, plain and variance-normalised, and priors on a code."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.morphable.parameters import FaceParameters


def code_mse(student: Float[Tensor, "B N"], teacher: Float[Tensor, "B N"]) -> Float[Tensor, "B"]:
    """Mean squared difference of two codes: L = 1/M sum (v_u - v)^2 (Rana, 'Learner', equation of the loss).

    Raises:
        ValueError: the codes have different lengths; a 236 code cannot be compared with a 257 one.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"codes of shapes {tuple(student.shape)} and {tuple(teacher.shape)} cannot be compared"
        )
    return (student - teacher).square().mean(-1)


def normalised_code_mse(
    student: Float[Tensor, "B N"], teacher: Float[Tensor, "B N"], scale: Float[Tensor, "N"]
) -> Float[Tensor, "B"]:
    """`code_mse` after dividing every entry by its spread, so that no group counts by its unit alone."""
    return code_mse(student / scale, teacher / scale)


def parameter_prior(params: FaceParameters) -> dict[str, Float[Tensor, "B"]]:
    """Gaussian priors on shape and albedo, a sparse one on expression, and a white-light one (MoFA,
    FOCUS)."""
    light = params.sh_coeffs
    white = light.mean(-1, keepdim=True)
    return {
        "shape": params.betas.square().mean(-1),
        "albedo": params.albedo.square().mean(-1),
        "expression": params.expression.abs().mean(-1),
        "jaw": params.pose[:, 3:].square().sum(-1)
        + (-params.pose[:, 3]).clamp(min=0)
        + 20.0 * params.pose[:, 4:].square().sum(-1),
        "light": (light - white).square().sum(-1).mean(-1) + 0.1 * light[:, 1:].square().sum((-1, -2)),
    }


def expression_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Indices of expressions that differ only in their side (ARKit's ...Left and ...Right)."""
    index = {name: i for i, name in enumerate(names)}
    return [
        (i, index[name[:-4] + "Right"])
        for name, i in index.items()
        if name.endswith("Left") and name[:-4] + "Right" in index
    ]


def expression_asymmetry(
    expression: Float[Tensor, "B E"], pairs: Sequence[tuple[int, int]]
) -> Float[Tensor, "B"]:
    """Mean difference between the two sides of the face: most expressions use both.

    Landmarks of a turned head say little about the far side; without this prior it stays at rest and smiles
    come out lopsided.
    """
    if not pairs:
        return torch.zeros_like(expression[:, 0])
    left, right = zip(*pairs, strict=True)
    return (expression[:, list(left)] - expression[:, list(right)]).abs().mean(-1)


def uncertainty_nll(error_mm: Float[Tensor, "B R"], log_sigma: Float[Tensor, "B R"]) -> Float[Tensor, "B"]:
    """Negative log-likelihood of region errors under a half-normal with scale sigma, up to a constant.

    The error is taken as data (detached): uncertainty must describe the geometry, not shape it.
    """
    log_sigma = log_sigma.clamp(-3.0, 4.0)
    return (0.5 * (error_mm.detach() * torch.exp(-log_sigma)).square() + log_sigma).mean(-1)

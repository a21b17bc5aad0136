"""Losses on codes and priors: known values, gradients, refusals."""

import math

import pytest
import torch

from occface_core.losses import (
    code_mse,
    expression_asymmetry,
    normalised_code_mse,
    parameter_prior,
    uncertainty_nll,
)
from occface_core.losses.parameter import expression_pairs
from occface_core.morphable.parameters import DECA_236, FaceParameters


def neutral(count: int = 2) -> FaceParameters:
    """Mean face, closed mouth, white ambient light."""
    params = FaceParameters.from_code(torch.zeros(count, DECA_236.size))
    light = torch.zeros(count, 9, 3)
    light[:, 0] = 3.5
    return params.replace(sh_coeffs=light)


def test_code_mse_is_the_published_mean_per_image() -> None:
    student, teacher = torch.zeros(2, 4), torch.tensor([[0.0, 0, 0, 0], [1.0, 2, 3, 4]])
    assert code_mse(student, teacher).tolist() == [0.0, 7.5]


def test_codes_of_different_layouts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 236\).*\(1, 257\)"):
        code_mse.__wrapped__(torch.zeros(1, 236), torch.zeros(1, 257))


def test_normalised_mse_counts_every_entry_alike() -> None:
    scale = torch.tensor([1.0, 10.0])
    error = torch.tensor([[1.0, 0.0], [0.0, 10.0]])
    values = normalised_code_mse(error, torch.zeros(2, 2), scale)
    assert values[0] == values[1] == 0.5


def test_priors_vanish_on_the_mean_face() -> None:
    for name, value in parameter_prior(neutral()).items():
        assert value.tolist() == [0.0, 0.0], name


def test_each_prior_sees_its_own_part() -> None:
    base = neutral(1)
    open_jaw, crossed = torch.zeros(1, 6), torch.zeros(1, 6)
    open_jaw[0, 3], crossed[0, 3] = 0.2, -0.2
    changes = {
        "shape": base.replace(betas=torch.ones(1, 100)),
        "albedo": base.replace(albedo=2 * torch.ones(1, 50)),
        "expression": base.replace(expression=0.5 * torch.ones(1, 50)),
        "jaw": base.replace(pose=open_jaw),
    }
    expected = {"shape": 1.0, "albedo": 4.0, "expression": 0.5, "jaw": 0.04}
    for name, changed in changes.items():
        prior = parameter_prior(changed)
        assert float(prior[name]) == pytest.approx(expected[name])
        assert all(float(v) == 0 for k, v in prior.items() if k != name)
    # A jaw that closes through the upper lip costs more than one that opens as far.
    assert float(parameter_prior(base.replace(pose=crossed))["jaw"]) == pytest.approx(0.24)


def test_light_prior_prefers_white() -> None:
    white, red = neutral(1), neutral(1)
    red.sh_coeffs[0, 0, 0] += 1.0
    assert float(parameter_prior(white)["light"]) == 0.0
    assert float(parameter_prior(red)["light"]) > 0.0


def test_uncertainty_is_best_when_sigma_is_the_root_mean_square_error(generator: torch.Generator) -> None:
    error = 1.7 * torch.randn(4000, 1, generator=generator).abs()
    grid = torch.linspace(-1, 2, 121)
    losses = torch.stack([uncertainty_nll(error, g.expand_as(error)).mean() for g in grid])
    best = math.exp(float(grid[losses.argmin()]))
    assert best == pytest.approx(float(error.square().mean().sqrt()), rel=0.05)


def test_uncertainty_describes_geometry_without_shaping_it() -> None:
    error = torch.ones(2, 3, requires_grad=True)
    log_sigma = torch.zeros(2, 3, requires_grad=True)
    uncertainty_nll(error, log_sigma).sum().backward()
    assert error.grad is None
    torch.testing.assert_close(log_sigma.grad, torch.zeros(2, 3))  # 1 - (error / sigma)^2 = 0 here


def test_sides_of_the_face_are_paired_by_name() -> None:
    names = ("jawForward", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "eyeBlinkLeft")
    assert expression_pairs(names) == [(1, 2)]


def test_asymmetry_is_the_mean_difference_of_the_sides() -> None:
    expression = torch.tensor([[0.9, 0.5, 0.2, 0.1], [0.0, 0.4, 0.4, 1.0]])
    assert expression_asymmetry(expression, [(1, 2)]).tolist() == pytest.approx([0.3, 0.0])
    assert expression_asymmetry(expression, []).tolist() == [0.0, 0.0]

"""Sigma calibration on made errors with a known answer."""

import pytest
import torch

from occface_core.evaluation.calibration import ONE_SIGMA, sigma_scale, within_one_sigma


def test_scale_recovers_a_known_factor(generator: torch.Generator) -> None:
    error = torch.randn(20000, 2, generator=generator).abs() * torch.tensor([0.5, 3.0])
    sigma = torch.ones_like(error)
    scale = sigma_scale(error, sigma)
    assert scale.tolist() == pytest.approx([0.5, 3.0], rel=0.03)
    assert within_one_sigma(error, sigma * scale).tolist() == pytest.approx([ONE_SIGMA] * 2, abs=2e-3)


def test_scale_needs_no_normal_errors(generator: torch.Generator) -> None:
    error = torch.rand(5000, 1, generator=generator) ** 3
    sigma = 0.2 + torch.rand(5000, 1, generator=generator)
    share = within_one_sigma(error, sigma * sigma_scale(error, sigma))
    assert float(share) == pytest.approx(ONE_SIGMA, abs=2e-3)

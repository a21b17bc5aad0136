"""Vertex losses in millimetres: known values, regions, gradients."""

import pytest
import torch

from occface_core.losses import form_distance_mm, region_rms_mm, vertex_distance_mm


def test_metres_in_millimetres_out() -> None:
    target = torch.zeros(2, 3, 3)
    predicted = target.clone()
    predicted[1] += torch.tensor([0.003, 0.0, 0.004])
    weight = torch.ones(3)
    assert vertex_distance_mm(predicted, target, weight).tolist() == pytest.approx([0, 5], abs=2e-3)


def test_only_the_region_counts() -> None:
    target = torch.zeros(1, 2, 3)
    predicted = torch.tensor([[[0.002, 0, 0], [9.0, 9, 9]]])
    assert float(vertex_distance_mm(predicted, target, torch.tensor([1.0, 0.0]))) == pytest.approx(
        2, rel=1e-4
    )


def test_regions_are_root_mean_squares_of_their_own_vertices() -> None:
    target = torch.zeros(1, 4, 3)
    predicted = torch.zeros(1, 4, 3)
    predicted[0, :, 0] = torch.tensor([0.003, 0.004, 0.001, 0.001])
    regions = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]])
    expected = [12.5**0.5, 1.0, (27 / 4) ** 0.5]
    assert region_rms_mm(predicted, target, regions)[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_gradients() -> None:
    predicted = torch.rand(2, 4, 3, dtype=torch.float64, requires_grad=True)
    target, weight = torch.rand(2, 4, 3, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    regions = torch.rand(2, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: vertex_distance_mm(p, target, weight), (predicted,))
    assert torch.autograd.gradcheck(lambda p: region_rms_mm(p, target, regions), (predicted,))


def test_gradient_is_finite_at_zero_distance() -> None:
    points = torch.zeros(1, 3, 3, requires_grad=True)
    vertex_distance_mm(points, torch.zeros(1, 3, 3), torch.ones(3)).sum().backward()
    assert torch.isfinite(points.grad).all()


def test_form_distance_ignores_size_and_place_but_not_form() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 40, 3, generator=generator) * 0.05
    weight = torch.rand(40, generator=generator)
    assert torch.allclose(form_distance_mm(target * 1.3 + 0.2, target, weight), torch.zeros(2), atol=2e-3)
    stretched = target * torch.tensor([1.2, 1.0, 1.0])
    error = form_distance_mm(stretched, target, weight)
    assert (error > 1.0).all()
    assert (error < vertex_distance_mm(stretched, target, weight)).all()


def test_form_distance_has_a_gradient_at_a_flat_prediction() -> None:
    predicted = torch.zeros(1, 5, 3, requires_grad=True)
    form_distance_mm(predicted, torch.randn(1, 5, 3), torch.ones(5)).sum().backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()

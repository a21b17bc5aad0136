"""Landmark losses: known distances, weights, invariance to shifts, gradients."""

import pytest
import torch

from occface_core.data.landmarks import EYE_PAIRS, LIP_PAIRS
from occface_core.losses import landmark_loss, landmark_weights, pair_distance_loss
from occface_core.occlusion.face_points import FACE_OVAL


def test_zero_on_identity_and_a_known_distance() -> None:
    points = torch.rand(2, 5, 2)
    shift = torch.tensor([[[0.0, 0.0]], [[0.3, 0.4]]])
    values = landmark_loss(points + shift, points)
    assert values.tolist() == pytest.approx([0.0, 0.5], abs=2e-4)


def test_weights_trust_outlines_less_and_eyes_and_lips_more() -> None:
    weights = landmark_weights()
    assert weights.shape == (468,)
    assert float(weights.mean()) == pytest.approx(1.0)
    oval, eye, lip = weights[FACE_OVAL[0]], weights[EYE_PAIRS[0][0]], weights[LIP_PAIRS[0][1]]
    assert oval < weights[4] < eye == lip


def test_weights_scale_each_point() -> None:
    target = torch.zeros(1, 2, 2)
    predicted = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    assert float(landmark_loss(predicted, target, torch.tensor([0.5, 1.5]))) == pytest.approx(1.75)


def test_pair_loss_ignores_shifts_and_sees_opening() -> None:
    points = torch.rand(2, 468, 2)
    assert pair_distance_loss(points + 0.7, points, LIP_PAIRS).tolist() == pytest.approx([0, 0], abs=2e-4)
    opened = points.clone()
    opened[:, [b for _, b in LIP_PAIRS], 1] += 0.25
    assert pair_distance_loss(opened, points, LIP_PAIRS).tolist() == pytest.approx([0.25] * 2, abs=1e-4)


def test_gradients() -> None:
    target = torch.rand(2, 468, 2, dtype=torch.float64)[:, :12]
    predicted = torch.rand(2, 12, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: landmark_loss(p, target), (predicted,))
    pairs = ((0, 1), (4, 7))
    assert torch.autograd.gradcheck(lambda p: pair_distance_loss(p, target, pairs), (predicted,))


def test_gradient_is_finite_where_prediction_meets_target() -> None:
    points = torch.rand(1, 4, 2, requires_grad=True)
    landmark_loss(points, points.detach()).sum().backward()
    assert torch.isfinite(points.grad).all()

"""Metrics by hand-known values, invariances and empty cases."""

import math

import numpy as np
import pytest
import torch

from occface_core.evaluation.metrics import (
    bootstrap_interval,
    bootstrap_means,
    identity_spread_mm,
    identity_spread_texture,
    nme,
    percentile_interval,
    posed_error_mm,
    segmentation_scores,
    shape_error_mm,
    shape_spread_mm,
    texture_error,
)
from occface_core.geometry.transforms import axis_angle_to_matrix


def cloud(generator: torch.Generator, count: int = 30) -> torch.Tensor:
    return 0.1 * torch.randn(2, count, 3, generator=generator)


def test_shape_error_is_a_weighted_mean_in_mm_without_alignment() -> None:
    reference = torch.zeros(1, 2, 3)
    predicted = torch.tensor([[[0.003, 0, 0.004], [0.001, 0, 0]]])
    assert float(shape_error_mm(predicted, reference, torch.ones(2))) == pytest.approx(3.0)
    assert float(shape_error_mm(predicted, reference, torch.tensor([1.0, 0]))) == pytest.approx(5.0)
    shifted = reference + 0.01
    assert float(shape_error_mm(shifted, reference, torch.ones(2))) == pytest.approx(10 * math.sqrt(3))


def test_posed_error_ignores_rigid_motion_but_not_size(generator: torch.Generator) -> None:
    reference = cloud(generator)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -0.5, 0.2]))
    moved = reference @ turn.T + torch.tensor([0.05, -0.1, 0.2])
    weight = torch.ones(reference.shape[1])
    assert posed_error_mm(moved, reference, weight).tolist() == pytest.approx([0, 0], abs=1e-3)
    assert float(posed_error_mm(1.1 * moved, reference, weight).min()) > 5


def test_posed_error_looks_at_the_region_only(generator: torch.Generator) -> None:
    reference = cloud(generator)
    predicted = reference.clone()
    predicted[:, 20:] += 1.0
    weight = torch.cat([torch.ones(20), torch.zeros(10)])
    assert posed_error_mm(predicted, reference, weight).tolist() == pytest.approx([0, 0], abs=1e-3)


def test_texture_error() -> None:
    reference = torch.full((1, 4, 3), 0.5)
    predicted = reference.clone()
    predicted[0, 0] += torch.tensor([0.3, -0.3, 0.0])
    assert float(texture_error(predicted, reference, torch.ones(4))) == pytest.approx(0.05)


def test_spread_of_equal_faces_is_zero_and_of_two_is_half_their_distance() -> None:
    face = torch.rand(1, 5, 3)
    assert shape_spread_mm(face.expand(4, -1, -1), torch.ones(5)) == pytest.approx(0.0, abs=1e-4)
    pair = torch.cat([face, face + torch.tensor([0.004, 0.0, 0.0])])
    assert shape_spread_mm(pair, torch.ones(5)) == pytest.approx(2.0, rel=1e-3)


def test_nme_divides_by_the_references_box() -> None:
    reference = torch.tensor([[[0.0, 0.0], [40.0, 10.0], [20.0, 5.0]]])
    predicted = reference + torch.tensor([3.0, 4.0])
    assert float(nme(predicted, reference)) == pytest.approx(5 / 20)
    assert float(nme(3 * predicted, 3 * reference)) == pytest.approx(5 / 20)  # any image size


def test_nme_of_a_degenerate_box_is_finite() -> None:
    points = torch.zeros(1, 4, 2)
    assert float(nme(points, points)) == 0.0


def test_segmentation_scores_count_inside_the_region() -> None:
    predicted = torch.tensor([[[True, True, False, False, True]]])
    truth = torch.tensor([[[True, False, True, False, False]]])
    region = torch.tensor([[[True, True, True, True, False]]])
    scores = {k: float(v) for k, v in segmentation_scores(predicted, truth, region).items()}
    expected = {"accuracy": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "iou": 1 / 3}
    assert scores == pytest.approx(expected)


def test_segmentation_of_nothing_does_not_divide_by_zero() -> None:
    nothing = torch.zeros(1, 2, 2, dtype=torch.bool)
    assert all(float(v) == 0 for v in segmentation_scores(nothing, nothing, nothing).values())


def test_bootstrap_covers_the_mean_and_shrinks_with_data(rng: np.random.Generator) -> None:
    small, large = rng.normal(5, 2, 30), rng.normal(5, 2, 3000)
    low, high = bootstrap_interval(small, rng=rng)
    assert low < small.mean() < high
    tight = bootstrap_interval(large, rng=rng)
    assert tight[1] - tight[0] < 0.25 * (high - low)
    assert tight[1] - tight[0] == pytest.approx(2 * 1.96 * 2 / math.sqrt(3000), rel=0.15)


def test_bootstrap_leaves_out_what_is_not_finite(rng: np.random.Generator) -> None:
    assert bootstrap_interval(np.array([1.0, np.nan, 1.0]), rng=rng) == (1.0, 1.0)
    assert all(math.isnan(v) for v in bootstrap_interval(np.array([np.nan]), rng=rng))


def test_a_person_who_does_not_change_with_the_cover_has_no_identity_spread() -> None:
    face = torch.rand(1, 2, 5, 3)
    weight = torch.tensor([1.0, 1, 1, 1, 0])
    same = face.expand(3, -1, -1, -1)
    assert identity_spread_mm(same, weight).tolist() == pytest.approx([0, 0], abs=1e-4)
    pair = torch.cat([face, face + torch.tensor([0.004, 0, 0])])
    pair[1, :, 4] += 1  # outside the region
    assert identity_spread_mm(pair, weight).tolist() == pytest.approx([2, 2], rel=1e-3)
    colours = torch.stack([torch.full((1, 5, 3), 0.4), torch.full((1, 5, 3), 0.6)])
    assert float(identity_spread_texture(colours, weight)) == pytest.approx(0.1, rel=1e-4)


def test_resampled_means_are_paired_and_skip_what_is_absent(rng: np.random.Generator) -> None:
    values = rng.normal(2, 1, (60, 3))
    values[:, 1] = 3 * values[:, 0]
    values[::2, 2] = np.nan
    drawn = bootstrap_means(values, rng=rng)
    assert drawn.shape == (1000, 3)
    np.testing.assert_allclose(drawn[:, 1] / drawn[:, 0], 3, rtol=1e-9)
    low, high = percentile_interval(drawn[:, 2])
    assert low < np.nanmean(values[:, 2]) < high
    assert high - low == pytest.approx(2 * 1.96 * np.nanstd(values[:, 2]) / np.sqrt(30), rel=0.3)
    nothing = bootstrap_means(np.full((4, 1), np.nan), rng=rng)
    assert all(math.isnan(bound) for bound in percentile_interval(nothing[:, 0]))

import math

import pytest
import torch

from occface_core.errors import MeshError
from occface_core.geometry.transforms import (
    Similarity,
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    procrustes,
)


def random_axis_angles(generator: torch.Generator, count: int = 200) -> torch.Tensor:
    axes = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    angles = torch.linspace(0, math.pi - 1e-4, count, dtype=torch.float64)
    return torch.nn.functional.normalize(axes, dim=-1) * angles[:, None]


def test_quarter_turn_about_y_takes_z_to_x():
    matrix = axis_angle_to_matrix(torch.tensor([0.0, math.pi / 2, 0.0]))
    torch.testing.assert_close(
        matrix @ torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0]), atol=1e-6, rtol=0
    )


def test_matrices_are_rotations_and_convert_back(generator):
    vectors = random_axis_angles(generator)
    matrices = axis_angle_to_matrix(vectors)
    identity = torch.eye(3, dtype=torch.float64).expand_as(matrices)
    torch.testing.assert_close(matrices @ matrices.mT, identity)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(200, dtype=torch.float64))
    torch.testing.assert_close(matrix_to_axis_angle(matrices), vectors)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_convert_back_up_to_sign(axis):
    vector = torch.zeros(3, dtype=torch.float64)
    vector[axis] = math.pi
    found = matrix_to_axis_angle(axis_angle_to_matrix(vector))
    torch.testing.assert_close(found.abs(), vector)


def test_rotation_gradients_match_finite_differences_also_at_zero(generator):
    vectors = torch.cat([torch.zeros(1, 3, dtype=torch.float64), random_axis_angles(generator, 6)])
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vectors.requires_grad_())
    # The inverse is smooth away from half turns.
    matrices = axis_angle_to_matrix(vectors.detach()[:4]).requires_grad_()
    matrix_to_axis_angle(matrices).sum().backward()
    assert torch.isfinite(matrices.grad).all()


@pytest.mark.parametrize("with_scale", [True, False])
def test_procrustes_finds_the_transform_it_was_given(generator, with_scale):
    source = torch.randn(5, 9, 3, generator=generator, dtype=torch.float64)
    scale = torch.rand(5, generator=generator, dtype=torch.float64) + 0.5
    truth = Similarity(
        scale if with_scale else torch.ones_like(scale),
        axis_angle_to_matrix(random_axis_angles(generator, 5)),
        torch.randn(5, 3, generator=generator, dtype=torch.float64),
    )
    found = procrustes(source, truth.apply(source), with_scale=with_scale)
    torch.testing.assert_close(found.scale, truth.scale)
    torch.testing.assert_close(found.rotation, truth.rotation)
    torch.testing.assert_close(found.translation, truth.translation)
    torch.testing.assert_close(found.inverse().apply(found.apply(source)), source)


def test_procrustes_ignores_points_of_zero_weight(generator):
    source = torch.randn(1, 8, 3, generator=generator, dtype=torch.float64)
    target = 2 * source + 1
    target[:, 0] += 50
    weights = torch.ones(8, dtype=torch.float64)
    weights[0] = 0
    found = procrustes(source, target, weights=weights)
    torch.testing.assert_close(found.scale, torch.tensor([2.0], dtype=torch.float64))


def test_procrustes_never_mirrors_unless_allowed(generator):
    source = torch.randn(1, 8, 3, generator=generator, dtype=torch.float64)
    mirrored = source * torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    assert torch.linalg.det(procrustes(source, mirrored).rotation).item() == pytest.approx(1)
    free = procrustes(source, mirrored, allow_reflection=True)
    torch.testing.assert_close(free.apply(source), mirrored)


def test_procrustes_refuses_too_few_points_and_empty_weights():
    points = torch.zeros(1, 2, 3)
    with pytest.raises(MeshError, match="at least 3"):
        procrustes(points, points)
    points = torch.zeros(1, 4, 3)
    with pytest.raises(MeshError, match="positive sum"):
        procrustes(points, points, weights=torch.zeros(4))

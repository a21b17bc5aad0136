"""The photometric term: exact sampling, weights, and gradients in position and colour."""

import pytest
import torch

from occface_core.losses import sample_at, vertex_photometric_loss


def test_sampling_hits_pixel_centres() -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    columns, rows = torch.meshgrid(torch.arange(4.0), torch.arange(3.0), indexing="xy")
    points = torch.stack([(columns + 0.5) / 2 - 1, (rows + 0.5) / 1.5 - 1], -1).reshape(1, 12, 2)
    torch.testing.assert_close(sample_at(image, points)[0, :, 0], torch.arange(12.0))


def test_zero_when_the_colours_are_right_and_a_known_value() -> None:
    image = torch.full((2, 3, 8, 8), 0.5)
    points, weight = torch.rand(2, 5, 2) - 0.5, torch.ones(2, 5)
    colour = torch.full((2, 5, 3), 0.5)
    colour[1, :, 0] += 0.3
    values = vertex_photometric_loss(image, points, colour, weight)
    assert values.tolist() == pytest.approx([0.001, 0.3], abs=1e-3)


def test_vertices_outside_the_image_or_hidden_do_not_count() -> None:
    image = torch.zeros(1, 3, 8, 8)
    points = torch.tensor([[[0.0, 0.0], [1.5, 0.0], [0.2, 0.2]]])
    colour = torch.tensor([[[0.0, 0, 0], [1.0, 1, 1], [1.0, 1, 1]]])
    value = vertex_photometric_loss(image, points, colour, torch.tensor([[1.0, 1.0, 0.0]]))
    assert float(value) == pytest.approx(0.001, abs=1e-4)


def test_nothing_visible_is_zero_not_nan() -> None:
    value = vertex_photometric_loss(
        torch.rand(1, 3, 8, 8), torch.zeros(1, 4, 2), torch.rand(1, 4, 3), torch.zeros(1, 4)
    )
    assert float(value) == 0.0


def test_gradients(generator: torch.Generator) -> None:
    image = torch.rand(1, 3, 9, 9, generator=generator, dtype=torch.float64)
    points = (torch.rand(1, 4, 2, generator=generator, dtype=torch.float64) - 0.5).requires_grad_()
    colour = torch.rand(1, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.ones(1, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p, c: vertex_photometric_loss(image, p, c, weight), (points, colour)
    )

import numpy as np
import torch

from occface_core.rendering.cameras import (
    from_pixels,
    inverse_weak_perspective,
    perspective,
    to_pixels,
    weak_perspective,
)


def test_weak_perspective_agrees_with_the_reference(shared_dir):
    with np.load(shared_dir / "refs/camera_sh_normals.npz") as data:
        verts, camera, expected = (torch.from_numpy(data[k]) for k in ("verts", "camera", "proj_image"))
    torch.testing.assert_close(weak_perspective(verts, camera), expected, atol=1e-6, rtol=0)


def test_image_corners_become_pixel_corners():
    corners = torch.tensor([[[-1.0, -1, 0], [1, 1, 0.5]]])
    assert to_pixels(corners, 112).tolist() == [[[0, 0, 0], [112, 112, 28]]]


def test_subjects_left_is_on_the_right_and_up_is_up():
    points = torch.tensor([[[0.1, 0.1, 0.1]]])
    x, y, depth = to_pixels(weak_perspective(points, torch.tensor([[5.0, 0, 0]])), 100)[0, 0].tolist()
    assert x > 50
    assert y < 50
    assert depth < 0  # nearer than the origin


def test_weak_perspective_inverts(generator):
    points = torch.randn(2, 5, 3, generator=generator)
    camera = torch.tensor([[7.0, 0.01, -0.02], [3.0, 0.0, 0.1]])
    pixels = to_pixels(weak_perspective(points, camera), 224)
    back = inverse_weak_perspective(from_pixels(pixels, 224), camera)
    torch.testing.assert_close(back, points, atol=1e-6, rtol=1e-5)


def test_perspective_centre_size_and_depth():
    points = torch.tensor([[[0.0, 0, 0], [0.1, 0.2, 0.5], [0.0, 0, 2.0]]])
    found = perspective(
        points, focal=torch.tensor([100.0]), distance=torch.tensor([1.0]), centre=torch.tensor([[50.0, 60]])
    )
    torch.testing.assert_close(found[0, :2], torch.tensor([[50.0, 60, 1], [70, 20, 0.5]]))
    assert found[0, 2, 2] == -1  # behind the camera
    assert torch.isfinite(found).all()

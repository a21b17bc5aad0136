"""Photos turned out of their plane: what is seen of a turned head is what drawing it turned shows."""

import math

import pytest
import torch
from torch import Tensor

from occface_core.data.profiling import (
    LIMIT,
    _nearest,
    align,
    draw_turns,
    profile,
    yaw_of,
)
from occface_core.data.synthetic import SyntheticConfig, SyntheticFaces
from occface_core.geometry.transforms import axis_angle_to_matrix
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.rendering.cameras import to_pixels, weak_perspective
from occface_core.rendering.lighting import sh_shading, turn_light
from occface_core.rendering.renderer import Renderer

SIZE = 112


def turns(degrees: list[float]) -> Tensor:
    """Rotations about the heads' own upright axes."""
    vectors = torch.zeros(len(degrees), 3)
    vectors[:, 1] = torch.tensor(degrees) * (math.pi / 180)
    return axis_angle_to_matrix(vectors)


@pytest.fixture(scope="module")
def people(open_head: HeadModel, small_albedo: AlbedoModel) -> FaceParameters:
    still = SyntheticConfig(yaw=4.0, pitch=4.0, roll=4.0)
    faces = SyntheticFaces(open_head, small_albedo, SIZE, still)
    return faces.sample(4, generator=torch.Generator().manual_seed(2)).params


class Studio:
    """Draws heads with their true masks."""

    def __init__(self, head: HeadModel, albedo: AlbedoModel) -> None:
        self.head, self.albedo, self.renderer = head, albedo, Renderer(head, SIZE)

    def __call__(self, params: FaceParameters) -> tuple[Tensor, Tensor, Tensor]:
        """Picture, mask of the face, landmarks in pixels."""
        verts = self.head(params.betas, params.expression, params.pose).verts
        colour = self.albedo.vertex_albedo(params.albedo, self.head)
        out = self.renderer(verts, params.camera, colour, params.sh_coeffs)
        inside = self.head.regions["face"][self.head.faces].mean(-1) > 0.5
        face = out.fragments.pix_to_face
        mask = (inside[face.clamp(min=0)] & (face >= 0)).float()[:, None]
        points = to_pixels(weak_perspective(self.head.landmarks(verts, "468"), params.camera), SIZE)
        return out.image.clamp(0, 1), mask, points[..., :2]


@pytest.fixture(scope="module")
def studio(open_head: HeadModel, small_albedo: AlbedoModel) -> Studio:
    return Studio(open_head, small_albedo)


def test_no_turn_changes_nothing(studio: Studio, people: FaceParameters) -> None:
    image, mask, points = studio(people)
    same = profile(studio.head, image, mask, points, people, turns([0.0] * 4))
    torch.testing.assert_close(same.points, points, atol=1e-2, rtol=0)
    torch.testing.assert_close(same.params.to_code(), people.to_code(), atol=1e-4, rtol=0)
    assert float(((same.image - image) * mask).abs().mean()) < 1e-3
    assert float(((same.mask > 0.5) != (mask > 0.5)).float().mean()) < 0.005


@pytest.mark.parametrize("degrees", [20.0, 40.0])
def test_a_turned_picture_is_the_picture_of_the_turned_head(
    studio: Studio, people: FaceParameters, degrees: float
) -> None:
    image, mask, points = studio(people)
    away = [degrees if y >= 0 else -degrees for y in yaw_of(people.pose).tolist()]
    made = profile(studio.head, image, mask, points, people, turns(away))
    true_image, true_mask, true_points = studio(made.params)
    torch.testing.assert_close(made.points, true_points, atol=0.05, rtol=0)
    both = true_mask * (made.mask > 0.5)
    # Skin of the near cheek that the photo saw from aside is unknown, so the face seen is the smaller one.
    assert float(both.sum() / true_mask.sum()) > 0.8
    assert float(both.sum() / (made.mask > 0.5).sum()) > 0.9
    wrong = ((made.image - true_image) * both).abs().sum() / (3 * both.sum())
    moved = ((image - true_image) * both).abs().sum() / (3 * both.sum())
    assert float(wrong) < 0.02
    assert float(moved) > 3 * float(wrong)


def test_a_fit_that_lies_elsewhere_is_moved_onto_the_photo(studio: Studio, people: FaceParameters) -> None:
    image, mask, points = studio(people)
    turn = turns([35.0] * 4)
    straight = profile(studio.head, image, mask, points, people, turn)
    moved = [x.roll((5, -4), (2, 3)) for x in (image, mask)]
    made = profile(studio.head, *moved, points + torch.tensor([-4.0, 5.0]), people, turn)
    torch.testing.assert_close(made.points, straight.points, atol=1e-2, rtol=0)
    assert float(((made.image - straight.image) * straight.mask).abs().mean()) < 0.005
    assert float(made.misfit.max()) < 1e-4
    assert float(profile(studio.head, image, mask, points.flip(1), people, turn).misfit.min()) > 0.1


def test_landmarks_beside_the_fit_are_seen_from_aside_too(studio: Studio, people: FaceParameters) -> None:
    """A smile the fit missed: corners of the mouth out by two pixels, and drawn up by two."""
    image, mask, points = studio(people)
    beside = points.clone()
    beside[:, 61] += torch.tensor([-2.0, -2.0])
    beside[:, 291] += torch.tensor([2.0, -2.0])
    plain, made = (profile(studio.head, image, mask, p, people, turns([60.0] * 4)) for p in (points, beside))
    zoom = made.params.camera[:, 0] / people.camera[:, 0]
    moved = (made.points - plain.points)[:, 291] / zoom[:, None]
    torch.testing.assert_close(moved[:, 0], torch.full((4,), 1.0), atol=0.3, rtol=0)  # cos 60 of 2
    torch.testing.assert_close(moved[:, 1], torch.full((4,), -2.0), atol=0.3, rtol=0)


def test_the_crop_frames_turned_heads_as_before(studio: Studio, people: FaceParameters) -> None:
    made = profile(studio.head, *studio(people), people, turns([50.0] * 4)).params
    boxes = []
    for params in (people, made):
        verts = studio.head(params.betas, params.expression, params.pose).verts
        points = studio.head.landmarks(verts, "68", global_pose=params.pose[:, :3])
        points = weak_perspective(points, params.camera)[..., :2]
        low, high = points.amin(1), points.amax(1)
        boxes.append(torch.cat([(low + high) / 2, (high - low).mean(1, keepdim=True)], 1))
    torch.testing.assert_close(boxes[1], boxes[0], atol=1e-4, rtol=0)
    assert torch.equal(made.betas, people.betas)
    assert torch.equal(made.pose[:, 3:], people.pose[:, 3:])


def test_light_turns_with_the_head(generator: torch.Generator) -> None:
    light = torch.randn(3, 9, 3, generator=generator)
    rotation = axis_angle_to_matrix(torch.randn(3, 3, generator=generator))
    normals = torch.nn.functional.normalize(torch.randn(3, 50, 3, generator=generator), dim=-1)
    turned = sh_shading(normals @ rotation.mT, turn_light(light, rotation))
    torch.testing.assert_close(turned, sh_shading(normals, light), atol=1e-4, rtol=1e-4)


def test_heads_turn_away_from_the_camera(generator: torch.Generator) -> None:
    pose = torch.zeros(300, 6)
    pose[:, 1] = torch.linspace(-1.3, 1.3, 300)
    drawn = draw_turns(pose, generator)
    again = draw_turns(pose, torch.Generator().manual_seed(7))
    assert torch.equal(drawn, again)
    ahead = (axis_angle_to_matrix(pose[:, :3]) @ drawn)[:, :, 2]
    after = torch.atan2(ahead[:, 0], ahead[:, 2])
    sideways = pose[:, 1].abs() > 0.15
    assert torch.equal(after.sign()[sideways], pose[:, 1].sign()[sideways])
    assert (after.abs() > pose[:, 1].abs() - 0.02).all()
    assert float(after.abs().max()) < LIMIT + 0.1  # looking up or down on top turns them a little further
    assert float(after.abs().max()) > 1.2


def test_align_moves_points_onto_points(generator: torch.Generator) -> None:
    verts = torch.randn(2, 500, 3, generator=generator)
    affine = torch.tensor([[1.1, 0.2], [-0.1, 0.9]])
    wanted = verts[:, :60, :2] @ affine + 3.0
    moved = align(verts, verts[:, :60, :2], wanted)
    torch.testing.assert_close(moved[..., :2], verts[..., :2] @ affine + 3.0, atol=1e-4, rtol=1e-4)
    assert torch.equal(moved[..., 2], verts[..., 2])


def test_nearest_nodes(generator: torch.Generator) -> None:
    on = torch.rand(3, 9, 11, generator=generator) < 0.1
    distance, place = _nearest(on)
    grid = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")
    nodes = torch.stack(grid, -1).flatten(0, 1)
    for known, far, where in zip(on, distance, place, strict=True):
        expected = torch.cdist(nodes, known.nonzero().float()).amin(1)
        torch.testing.assert_close(far.flatten(), expected)
        assert known.flatten()[where.flatten()].all()
        torch.testing.assert_close((nodes - nodes[where.flatten()]).norm(dim=1), expected)

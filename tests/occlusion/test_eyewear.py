"""Sunglasses and glasses: what their lenses show and hide, and the shapes of their frames."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from occface_core.occlusion import Occlusion, lenses, occlude
from occface_core.occlusion.batched.designs import MAKERS
from occface_core.occlusion.frames import (
    RINGS,
    Frame,
    frame_colour,
    lens_points,
    lens_uv,
    random_frame,
    ring_factors,
)
from occface_core.occlusion.lenses import HIDES, lens_texture
from occface_core.occlusion.posing import place_rigid

EYE = slice(30, 56)  # rows of a lens texture behind which eyes lie
EYES = ((33, 133), (263, 362))


def lens(make: Callable, seed: int) -> np.ndarray:
    """(96,96,4) of one kind, without reflections."""
    rgba = np.empty((96, 96, 4), np.float32)
    rgba[..., :3], rgba[..., 3] = make(np.random.default_rng(seed))
    return rgba


def shown(monkeypatch: pytest.MonkeyPatch, faces, make: Callable, seed: int = 0) -> Occlusion:  # type: ignore[no-untyped-def]
    """Sunglasses that all have lenses of one kind."""
    monkeypatch.setattr("occface_core.occlusion.eyewear.lens_texture", lambda rng, *, clear: lens(make, seed))
    images, masks, points = faces
    generator = torch.Generator().manual_seed(1)
    return occlude(images, masks, points=points, family="sunglasses", generator=generator, shadows=False)


def at_eyes(values: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(B,2,C) of (B,C,H,W) midway between the corners of each eye."""
    places = torch.stack([points[:, list(eye), :2].mean(1) for eye in EYES], dim=1).long()
    return torch.stack([value[:, xy[:, 1], xy[:, 0]].T for value, xy in zip(values, places, strict=True)])


@pytest.mark.parametrize("clear", [False, True])
def test_lenses_are_valid_and_depend_on_the_seed_alone(clear):
    textures = [lens_texture(np.random.default_rng(seed), clear=clear) for seed in range(150)]
    for seed, texture in enumerate(textures):
        assert (texture.shape, texture.dtype) == ((96, 96, 4), np.float32)
        assert 0 <= texture.min() <= texture.max() <= 1
        np.testing.assert_array_equal(texture, lens_texture(np.random.default_rng(seed), clear=clear))
        assert clear or texture[EYE, :, 3].min() > HIDES
    if clear:
        medians = np.array([np.median(texture[..., 3]) for texture in textures])
        assert (medians < HIDES).mean() > 0.9
        glare = np.array([(texture[..., 3] > HIDES).any() for texture in textures])
        assert 0.1 < glare.mean() < 0.45


def test_sunglasses_come_in_many_colours():
    means = [lens_texture(np.random.default_rng(s), clear=False)[..., :3].mean((0, 1)) for s in range(200)]
    light, tone = np.max(means, axis=1), np.argmax(means, axis=1)
    assert (light > 0.45).mean() > 0.12  # as bright as skin
    assert (light < 0.2).mean() > 0.25
    assert min((tone[light > 0.3] == channel).mean() for channel in range(3)) > 0.1


@pytest.mark.parametrize("seed", range(12))
def test_mirrors_show_a_scene_and_hide_everything(monkeypatch, faces, seed):
    texture = lens(lenses.mirror, seed)
    assert (texture[..., 3] == 1).all()
    assert texture[..., :3].std((0, 1)).max() > 0.04
    result = shown(monkeypatch, faces, lenses.mirror, seed)
    assert float(at_eyes(result.occluder, faces[2]).min()) > 0.99
    assert float(at_eyes(result.mask, faces[2]).max()) < 0.01


@pytest.mark.parametrize("seed", range(12))
def test_graded_lenses_are_darker_and_denser_above(seed):
    texture = lens(lenses.graded, seed)
    brightness = texture[..., :3].mean((1, 2))
    assert brightness[:20].mean() < brightness[-20:].mean()
    opacity = texture[..., 3].mean(1)
    assert opacity[:20].min() > 0.75
    assert opacity[-1] < opacity[0] - 0.25
    assert opacity[EYE].min() > HIDES


@pytest.mark.parametrize(
    ("make", "low", "high"),
    [(lenses.coloured, 0.12, 0.48), (lenses.tinted, 0.5, 0.95), (lenses.mirror, 0, 0.01)],
)
def test_eyes_shimmer_through_as_much_as_the_mask_says(monkeypatch, faces, make, low, high):
    """What passes of a change behind the lens is what the mask calls visible."""
    images, masks, points = faces
    marked = images.clone()
    for index, cloud in enumerate(points):
        for eye in EYES:
            x, y = cloud[list(eye), :2].mean(0).long().tolist()
            marked[index, :, y, x] += 0.02  # too little to change light or sharpness noticeably
    for seed in range(4):
        plain = shown(monkeypatch, faces, make, seed)
        other = shown(monkeypatch, (marked, masks, points), make, seed)
        passed = at_eyes(other.image - plain.image, points).mean(2) / 0.02
        visible = 1 - at_eyes(plain.occluder, points)[..., 0]
        assert float((passed - visible).abs().max()) < 0.05
        assert low <= float(visible.min()) <= float(visible.max()) <= high


def test_a_lens_has_no_hole_in_its_middle(monkeypatch, make_faces):
    frame = some_frame(lambda frame: not frame.one_piece)
    monkeypatch.setattr("occface_core.occlusion.eyewear.random_frame", lambda rng, *, clear: frame)
    monkeypatch.setattr("occface_core.occlusion.eyewear._lens_scale", lambda *rest: 1.0)
    faces = make_faces(3, 300, 300)
    result = shown(monkeypatch, faces, lenses.mirror)
    for occluder, cloud in zip(result.occluder[:, 0], faces[2].numpy(), strict=True):
        for side in (-1.0, 1.0):
            middle = lens_points(frame, side, 1.0, RINGS)[0].mean(0)
            x, y = place_rigid(cloud, middle[None])[0, :2].astype(int)
            assert float(occluder[y - 2 : y + 3, x - 2 : x + 3].min()) == 1


def some_frame(wanted: Callable[[Frame], bool], *, clear: bool = False) -> Frame:
    return next(
        f for seed in range(500) if wanted(f := random_frame(np.random.default_rng(seed), clear=clear))
    )


@pytest.mark.parametrize("scale", [0.9, 1.3])
def test_the_halves_of_a_shield_join_in_the_middle_and_share_one_picture(scale):
    shield = some_frame(lambda frame: frame.one_piece)
    for side in (-1.0, 1.0):
        rings = lens_points(shield, side, scale, RINGS)
        x, uv = rings[..., 0].reshape(-1), lens_uv(rings, one_piece=True)
        assert (side * x).min() == 0
        assert np.ptp(rings[..., 1].reshape(-1)[x == 0]) > 0.02 * scale  # the seam is a line, not a point
        np.testing.assert_allclose(uv[x == 0, 0], 0.5)
        assert (side * (uv[:, 0] - 0.5)).min() >= 0
        assert 0 <= uv.min() <= uv.max() <= 1


def test_the_lenses_of_a_pair_mirror_the_scene_from_two_places():
    pair = some_frame(lambda frame: not frame.one_piece)
    left, right = (lens_uv(lens_points(pair, side, 1.0, RINGS)) for side in (-1.0, 1.0))
    assert left[:, 0].min() < right[:, 0].min() - 0.1
    assert left[:, 0].max() < right[:, 0].max() - 0.1


def test_rims_may_end_halfway_down():
    half = some_frame(lambda frame: frame.lower == 0 and frame.rim > 0, clear=True)
    outer, inner = ring_factors(half, 1.0)
    height = half.outline[:, 1] / half.outline[:, 1].max()
    assert (outer - inner)[height > 0.5].min() > 0.02
    np.testing.assert_array_equal(outer[height < -0.5], inner[height < -0.5])


def test_frames_come_in_many_shapes_and_colours():
    frames = [random_frame(np.random.default_rng(seed), clear=False) for seed in range(300)]
    area = np.array([cv2.contourArea(frame.outline) * 1e6 for frame in frames])  # square millimetres
    assert area.min() < 1200
    assert area.max() > 2600
    assert 0.05 < np.mean([frame.one_piece for frame in frames]) < 0.2
    assert not any(random_frame(np.random.default_rng(seed), clear=True).one_piece for seed in range(100))
    colours = np.array([frame_colour(np.random.default_rng(seed)) for seed in range(300)])
    assert (colours.min(1) > 0.8).mean() > 0.05  # white
    assert (np.ptp(colours, axis=1) > 0.4).mean() > 0.06  # bright
    assert (colours.max(1) < 0.12).mean() > 0.25  # black


@pytest.mark.parametrize("family", ["sunglasses", "glasses"])
def test_designs_of_a_bank_have_the_same_pieces(family):
    made = [MAKERS[family][1](np.random.default_rng(seed)) for seed in range(40)]
    shapes = [[(len(piece.verts), len(piece.faces)) for piece in design.pieces] for design in made]
    assert all(shape == shapes[0] for shape in shapes)
    for design in made:
        drawn = [piece for piece in design.pieces if not np.isnan(piece.verts).any()]
        assert all(np.isfinite(piece.normals).all() for piece in drawn)

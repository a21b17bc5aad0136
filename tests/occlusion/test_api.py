"""The public call: exact masks, determinism, coverage and refusals, for every family."""

import numpy as np
import pytest
import torch

from occface_core.errors import OcclusionError
from occface_core.occlusion import EMPIRICAL, FAMILIES, IRRATIONAL, Occlusion, occlude


def run(faces, family="random", seed=0, **options) -> Occlusion:
    images, masks, points = faces
    generator = torch.Generator().manual_seed(seed)
    return occlude(images, masks, points=points, family=family, generator=generator, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_mask_is_face_without_occluder_and_rest_is_untouched(faces, family):
    result = run(faces, family, shadows=False)
    images, masks, _ = faces
    assert result.family == [family] * len(images)
    assert torch.equal(result.mask, masks * (1 - result.occluder))
    outside = (result.occluder == 0).expand_as(images)
    assert torch.equal(result.image[outside], images[outside])
    assert bool((result.occluder.amax(dim=(1, 2, 3)) > 0.5).all())
    assert float(result.image.min()) >= 0
    assert float(result.image.max()) <= 1
    expected = 1 - result.mask.sum((1, 2, 3)) / masks.sum((1, 2, 3))
    torch.testing.assert_close(result.coverage, expected)


@pytest.mark.parametrize("family", list(EMPIRICAL))
def test_shadows_only_darken_the_face(faces, family):
    images, masks, _ = faces
    with_shadow, without = run(faces, family), run(faces, family, shadows=False)
    assert torch.equal(with_shadow.occluder, without.occluder)
    outside = (with_shadow.occluder == 0) & (masks > 0)
    change = (with_shadow.image - images)[outside.expand_as(images)]
    assert float(change.max()) <= 0
    off_face = ((with_shadow.occluder == 0) & (masks == 0)).expand_as(images)
    assert torch.equal(with_shadow.image[off_face], images[off_face])


@pytest.mark.parametrize("family", [*FAMILIES, "random"])
def test_same_seed_same_pixels_for_any_batch_size(faces, family):
    images, masks, points = faces
    whole = run(faces, family, seed=5, other_images=images)
    generator = torch.Generator().manual_seed(5)
    for index in range(0, len(images), 2):
        part = slice(index, index + 2)
        result = occlude(
            images[part],
            masks[part],
            points=points[part],
            family=family,
            generator=generator,
            other_images=images,
        )
        assert torch.equal(result.image, whole.image[part])
        assert torch.equal(result.occluder, whole.occluder[part])
        assert result.family == whole.family[part]


def test_another_seed_gives_other_pixels(faces):
    assert not torch.equal(run(faces, seed=1).image, run(faces, seed=2).image)


@pytest.mark.parametrize("family", list(IRRATIONAL))
@pytest.mark.parametrize("target", [0.1, 0.35, 0.7])
def test_free_families_meet_the_target(faces, family, target):
    result = run(faces, family, coverage=(target, target))
    assert bool(((result.coverage - target).abs() < 0.05).all()), result.coverage


def test_medical_mask_moves_towards_the_target(faces):
    low, high = (run(faces, "medical_mask", coverage=(share, share)).coverage for share in (0.2, 0.55))
    assert bool((low < high - 0.08).all())
    assert 0.15 < float(low.mean()) < float(high.mean()) < 0.65


def test_eyewear_hides_the_eyes(faces):
    """The pupils' neighbourhood (midway between the eye corners) lies under both lenses."""
    result = run(faces, "sunglasses")
    for occluder, points in zip(result.occluder, faces[2], strict=True):
        for corners in ((33, 133), (263, 362)):
            x, y = points[list(corners), :2].mean(0).long().tolist()
            assert float(occluder[0, y, x]) > 0.5


def test_medical_mask_hides_the_mouth_and_never_the_eyes(faces):
    result = run(faces, "medical_mask", coverage=None)
    for occluder, points in zip(result.occluder, faces[2], strict=True):
        x, y = points[13, :2].long().tolist()
        assert float(occluder[0, y, x]) > 0.5
        for corners in ((33, 133), (263, 362)):
            x, y = points[list(corners), :2].mean(0).long().tolist()
            assert float(occluder[0, y, x]) == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("height", "width"), [(61, 83), (1, 1), (17, 200)])
def test_odd_sizes(make_faces, family, height, width):
    result = run(make_faces(2, height, width), family)
    assert result.image.shape == (2, 3, height, width)
    assert bool(torch.isfinite(result.image).all())


@pytest.mark.parametrize("family", FAMILIES)
def test_faces_outside_the_picture_and_empty_masks(faces, family):
    images, masks, points = faces
    generator = torch.Generator().manual_seed(0)
    result = occlude(
        images, torch.zeros_like(masks), points=points + 500.0, family=family, generator=generator
    )
    assert bool(torch.isfinite(result.image).all())
    assert float(result.coverage.abs().max()) == 0


def test_empty_batch(faces):
    images, masks, points = (tensor[:0] for tensor in faces)
    result = occlude(images, masks, points=points, generator=torch.Generator())
    assert result.image.shape == (0, 3, 96, 96)
    assert result.family == []


def test_mixes_of_families(make_faces):
    many = make_faces(60, 24, 24)
    assert set(run(many, ["blur", "stripes"]).family) == {"blur", "stripes"}
    weighted = run(many, {"blur": 9.0, "stripes": 1.0}).family
    assert weighted.count("blur") > 40
    assert set(run(many, "empirical").family) <= set(EMPIRICAL)
    half = sum(name in IRRATIONAL for name in run(many, "random").family)
    assert 15 < half < 45


def test_random_without_points_is_irrational(faces):
    images, masks, _ = faces
    result = occlude(images, masks, generator=torch.Generator().manual_seed(0))
    assert set(result.family) <= set(IRRATIONAL)


def test_inputs_are_not_changed_and_gradients_are_not_needed(faces):
    images, masks, points = (tensor.clone() for tensor in faces)
    run((images, masks, points))
    for tensor, original in zip((images, masks, points), faces, strict=True):
        assert torch.equal(tensor, original)


def test_other_images_may_have_another_size(faces):
    images, masks, _ = faces
    white = torch.ones(2, 3, 33, 50)
    generator = torch.Generator().manual_seed(0)
    result = occlude(images, masks, family="other_image", generator=generator, other_images=white)
    solid = (result.occluder == 1).expand_as(images)
    np.testing.assert_allclose(result.image[solid].numpy(), 1.0)


def test_unknown_family_lists_the_known(faces):
    with pytest.raises(OcclusionError, match=r"'umbrella'.*medical_mask.*empirical"):
        run(faces, "umbrella")


@pytest.mark.parametrize("coverage", [(-0.1, 0.5), (0.5, 0.2), (0.0, 1.5), (float("nan"), 0.5)])
def test_coverage_out_of_range(faces, coverage):
    with pytest.raises(OcclusionError, match="coverage"):
        run(faces, coverage=coverage)


@pytest.mark.parametrize("family", [[], {}, {"blur": -1.0}, {"blur": 0.0}, {"blur": float("nan")}])
def test_meaningless_mixes(faces, family):
    with pytest.raises(OcclusionError, match="family"):
        run(faces, family)


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_nan_inputs(faces, broken):
    inputs = [tensor.clone() for tensor in faces]
    inputs[broken].view(-1)[5] = float("nan")
    with pytest.raises(OcclusionError, match="NaN"):
        run(inputs)


def test_empirical_without_points(faces):
    images, masks, _ = faces
    with pytest.raises(OcclusionError, match="points"):
        occlude(images, masks, family="medical_mask", generator=torch.Generator())

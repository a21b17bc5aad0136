"""Second objects on top of a first one, painted one by one and in batches."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from occface_core.errors import OcclusionError
from occface_core.occlusion import EMPIRICAL, FAMILIES, occlude, occlude_batch
from occface_core.occlusion.batched.draws import Draws
from occface_core.occlusion.batched.group import Group
from occface_core.occlusion.batched.light import estimate_lights
from occface_core.occlusion.batched.place import fit_poses
from occface_core.occlusion.lighting import estimate_light
from occface_core.occlusion.request import SECOND_SHARES, draw_second
from occface_core.occlusion.scene import Scene
from occface_core.occlusion.types import Sample


@pytest.fixture(params=["painted", "batched"])
def cover(request, small_bank):  # type: ignore[no-untyped-def]
    return occlude if request.param == "painted" else partial(occlude_batch, bank=small_bank)


def run(cover, faces, second, *, seed=0, points=True, **options):  # type: ignore[no-untyped-def]
    images, masks, clouds = faces
    generator = torch.Generator().manual_seed(seed)
    given = clouds if points else None
    return cover(images, masks, points=given, generator=generator, second=second, **options)


def test_a_second_object_hides_more_and_leaves_the_first_where_it_was(cover, faces):
    images, masks, _ = faces
    one = run(cover, faces, 0.0, family="medical_mask", shadows=False)
    two = run(cover, faces, 1.0, family="medical_mask", shadows=False)
    for name in two.family:
        first, extra = name.split("+")
        assert first == "medical_mask"
        assert extra in SECOND_SHARES
    assert bool((two.occluder >= one.occluder - 1e-6).all())
    assert bool((two.coverage > one.coverage).all())
    assert torch.equal(two.mask, masks * (1 - two.occluder))
    outside = (two.occluder == 0).expand_as(images)
    assert torch.equal(two.image[outside], images[outside])


def test_the_other_samples_keep_their_pixels(cover, make_faces):
    many = make_faces(24, 40, 40)
    one, two = run(cover, many, 0.0), run(cover, many, 0.5)
    twice = torch.tensor(["+" in name for name in two.family])
    assert 5 < int(twice.sum()) < 19
    assert torch.equal(one.image[~twice], two.image[~twice])
    assert [name.split("+")[0] for name in two.family] == one.family


def test_pixels_do_not_depend_on_the_batch(cover, make_faces):
    images, masks, points = make_faces(6, 48, 48)
    whole = run(cover, (images, masks, points), 0.7, seed=4)
    generator = torch.Generator().manual_seed(4)
    for index in range(6):
        one = slice(index, index + 1)
        single = cover(images[one], masks[one], points=points[one], generator=generator, second=0.7)
        assert single.family == whole.family[one]
        assert torch.equal(single.image, whole.image[one])
        assert torch.equal(single.occluder, whole.occluder[one])


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan")])
def test_impossible_shares_are_refused(cover, faces, wrong):
    with pytest.raises(OcclusionError, match="second"):
        run(cover, faces, wrong)


def test_without_points_there_is_nothing_to_put_a_second_object_on(cover, faces):
    with pytest.raises(OcclusionError, match="second objects need points"):
        run(cover, faces, 0.5, points=False, family="irrational")


@pytest.mark.parametrize("first", FAMILIES)
def test_second_families_lie_elsewhere(first):
    drawn = {draw_second(first, draw) for draw in np.linspace(0, 0.9999, 400)}
    assert first not in drawn
    assert drawn <= set(EMPIRICAL)
    held = {"hand", "phone", "cup", "microphone"}
    assert drawn <= held if first in held else len(drawn) >= 4  # nothing is worn over what is held
    assert draw_second(first, 0.5, "cup") == "cup"
    eyes = {"sunglasses", "glasses"}
    if first in eyes:
        assert not drawn & eyes
    if first == "scarf":
        assert "medical_mask" not in drawn


def test_a_second_object_is_lit_by_the_photo_not_by_the_first(faces):
    """A hand has the face's skin, whatever the colour of the mask below it."""
    images, masks, points = faces
    bare, green = images[:1], images[:1] * torch.tensor([0.2, 1.0, 0.4])[:, None, None]
    picture, other = (one[0].permute(1, 2, 0).numpy() for one in (bare, green))
    plain = Sample(picture, masks[0, 0].numpy(), points[0].numpy(), None, 0.3)
    covered = replace(plain, image=other, bare=picture)
    own, same, wrong = (Scene.of(one).light for one in (plain, covered, replace(plain, image=other)))
    np.testing.assert_array_equal(own.skin, same.skin)
    np.testing.assert_array_equal(own.level, same.level)
    assert np.abs(own.skin - wrong.skin).max() > 0.1

    group = Group(bare, masks[:1], points[:1], torch.tensor([0.3]), Draws(torch.tensor([7])))
    poses = fit_poses(points[:1])
    lights = [
        estimate_lights(one, poses)
        for one in (group, replace(group, image=green, bare=bare), replace(group, image=green))
    ]
    assert torch.equal(lights[0].skin, lights[1].skin)
    assert torch.equal(lights[0].level, lights[1].level)
    assert float((lights[0].skin - lights[2].skin).abs().max()) > 0.1


def test_light_is_read_off_the_photo_for_both_objects(cover, faces, monkeypatch):
    images = faces[0]
    seen: list[torch.Tensor] = []

    def painted(image, *rest):  # type: ignore[no-untyped-def]
        seen.append(torch.from_numpy(image).permute(2, 0, 1)[None])
        return estimate_light(image, *rest)

    def batched(group, poses):  # type: ignore[no-untyped-def]
        seen.append(group.original)
        return estimate_lights(group, poses)

    monkeypatch.setattr("occface_core.occlusion.scene.estimate_light", painted)
    monkeypatch.setattr("occface_core.occlusion.batched.empirical.estimate_lights", batched)
    run(cover, faces, 1.0, family="medical_mask", second_family="hand")
    pictures = torch.cat(seen)
    assert len(pictures) == 2 * len(images)
    for picture in pictures:
        assert any(torch.equal(picture, image) for image in images)


def test_second_families_are_checked(cover, faces):
    with pytest.raises(OcclusionError, match="second_family 'blur'"):
        run(cover, faces, 1.0, second_family="blur")
    result = run(cover, faces, 1.0, family="blur", second_family="scarf")
    assert set(result.family) == {"blur+scarf"}

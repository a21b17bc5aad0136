"""Batches are a pure function of seed and step; crops, landmarks and masks agree with each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from occface_core.data.batches import (
    BatchConfig,
    TwinBatch,
    TwinSampler,
    colour_jitter,
    jitter_matrix,
    warp,
)
from occface_core.data.draws import number_people
from occface_core.data.landmarks import landmark_box, mirror_pairs
from occface_core.data.packed import PackedPhotos, pack, points_box68
from occface_core.data.photos import load_photo_set
from occface_core.errors import ConfigError
from occface_core.morphable.head_model import HeadModel

SMALL = BatchConfig(batch_size=4, size=64)


@pytest.fixture(scope="module")
def packed(photo_folder) -> PackedPhotos:
    return pack(load_photo_set(photo_folder), size=96)


@pytest.fixture(scope="module")
def mean_points(open_head: HeadModel) -> Tensor:
    return open_head.landmarks(open_head.v_template[None], "468")[0]


@pytest.fixture
def make(packed: PackedPhotos, mean_points: Tensor):
    def build(config: BatchConfig = SMALL, *, seed: int = 5, augment: bool = True) -> TwinSampler:
        mirror = mirror_pairs(mean_points.numpy())
        return TwinSampler(packed, config, seed=seed, mirror=mirror, mean_points=mean_points, augment=augment)

    return build


def assert_equal(a: TwinBatch, b: TwinBatch) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"clean_share": 1.5}, r"clean_share 1\.5"),
        ({"coverage": (0.5, 0.2)}, "increasing pair"),
        ({"coverage": (0.0, 1.1)}, "increasing pair"),
        ({"batch_size": 6, "duplicates": 4}, "not a multiple of duplicates 4"),
        ({"duplicates": 0}, "duplicates 0"),
        ({"person_share": -0.1}, r"person_share -0\.1"),
        ({"closed_eyes_share": 1.2}, r"closed_eyes_share 1\.2"),
        ({"stretch_share": 1.5}, r"stretch_share 1\.5"),
        ({"harsh_share": -1.0}, r"harsh_share -1\.0"),
        ({"person_share": 0.5, "duplicates": 2}, "several photos of a person or duplicates"),
    ],
)
def test_bad_settings_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **changes)


def test_68_points_are_not_enough_to_train_on(packed: PackedPhotos, mean_points: Tensor) -> None:
    few = replace(packed, points=packed.points[:, :68])
    with pytest.raises(ConfigError, match="468 MediaPipe landmarks per photo, got 68"):
        TwinSampler(few, SMALL, seed=0, mirror=np.arange(468), mean_points=mean_points)


@pytest.mark.parametrize("family", ["irrational", "random"])
def test_a_step_gives_the_same_batch_whatever_came_before(make, family: str) -> None:
    config = replace(SMALL, occlude=True, family=family)
    fresh, used = make(config), make(config)
    used[0], used[7]
    assert_equal(fresh[3], used[3])
    assert not torch.equal(fresh[3].clean, make(config, seed=6)[3].clean)


def test_every_epoch_sees_every_photo_once_in_a_new_order(make) -> None:
    sampler = make()
    assert len(sampler) == 3
    epochs = [np.concatenate([sampler.indices(3 * e + i) for i in range(3)]) for e in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(12)) for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()


def test_evaluation_reads_photos_in_order_and_keeps_the_last_few(make) -> None:
    sampler = make(replace(SMALL, batch_size=5), augment=False)
    batches = [sampler[i] for i in range(len(sampler))]
    assert torch.cat([b.index for b in batches]).tolist() == list(range(12))
    assert [len(b.clean) for b in batches] == [5, 5, 2]
    assert_equal(batches[1], sampler[1])


def test_without_jitter_the_crop_is_the_standard_one(make) -> None:
    batch = make(augment=False)[0]
    for points in batch.points.numpy():
        x0, y0, x1, y1 = points_box68(points)
        assert ((x1 - x0) + (y1 - y0)) / 2 == pytest.approx(64 / 1.5, rel=1e-3)
        assert (x0 + x1) / 2 == pytest.approx(32, abs=0.05)
        assert (y0 + y1) / 2 == pytest.approx(32, abs=0.05)


def test_stretched_pictures_keep_their_area_and_are_mostly_wide() -> None:
    config = replace(SMALL, stretch_share=0.5, roll_jitter=0.0)
    rng = np.random.default_rng(0)
    linear = np.stack([jitter_matrix(rng, config, 96)[:, :2] for _ in range(400)])
    zoom, aspect = np.linalg.det(linear), linear[:, 0, 0] / linear[:, 1, 1]
    still = np.linalg.det(jitter_matrix(rng, replace(SMALL, roll_jitter=0.0, scale_jitter=0.0), 96)[:, :2])
    assert np.abs(np.log(zoom / still)).max() <= 2 * SMALL.scale_jitter + 1e-9
    stretched = aspect[np.abs(aspect - 1) > 1e-9]
    assert len(stretched) / 400 == pytest.approx(0.5, abs=0.08)
    assert (stretched > 1).mean() == pytest.approx(0.75, abs=0.1)
    factor = np.maximum(stretched, 1 / stretched)
    assert factor.min() >= 1.1
    assert factor.max() <= 1.4


def test_pictures_are_stretched_before_they_are_turned() -> None:
    """As a lying head in a wide frame is: along the photo's axes, whatever the crop does afterwards."""
    config = replace(SMALL, stretch_share=1.0, scale_jitter=0.0)
    for seed in range(8):
        linear = jitter_matrix(np.random.default_rng(seed), config, 96)[:, :2]
        assert linear[:, 0] @ linear[:, 1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, stretch_share=1.0)])
def test_a_spot_moves_with_the_points(rng: np.random.Generator, config: BatchConfig) -> None:
    for _ in range(5):
        image = np.zeros((96, 96), np.float32)
        place = rng.integers(35, 60, 2)
        image[place[1] - 1 : place[1] + 2, place[0] - 1 : place[0] + 2] = 1
        matrix = jitter_matrix(rng, config, 96)
        moved = warp(image, matrix, 64)
        rows, columns = np.mgrid[:64, :64] + 0.5
        spot = np.array([(columns * moved).sum(), (rows * moved).sum()]) / moved.sum()
        np.testing.assert_allclose(matrix @ [place[0] + 0.5, place[1] + 0.5, 1], spot, atol=0.15)


def test_flips_keep_right_points_on_the_right_side(make) -> None:
    """In a picture the subject's right eye (33) is left of the left eye (263), flipped or not."""
    sampler = make()
    for step in range(6):
        points = sampler[step].points
        assert (points[:, 33, 0] < points[:, 263, 0]).all()
        assert (points[:, 61, 0] < points[:, 291, 0]).all()


def test_flipped_pixels_and_points_agree(make, packed: PackedPhotos) -> None:
    sampler = make(replace(SMALL, scale_jitter=0, shift_jitter=0, roll_jitter=0, colour_jitter=0))
    plain = make(replace(SMALL, batch_size=12), augment=False)[0]
    seen = set()
    for step in range(3):
        batch = sampler[step]
        for image, points, row in zip(batch.clean, batch.points, batch.index.tolist(), strict=True):
            original, expected = plain.clean[row], plain.points[row]
            flipped = not torch.allclose(image, original, atol=1e-5)
            seen.add(flipped)
            if flipped:
                torch.testing.assert_close(image, original.flip(2), atol=1e-5, rtol=0)
                expected = expected[torch.as_tensor(sampler.mirror)] * torch.tensor([-1.0, 1.0])
                expected = expected + torch.tensor([64.0, 0.0])
            torch.testing.assert_close(points, expected, atol=1e-3, rtol=0)
    assert seen == {True, False}


def test_clean_batches_are_their_own_twins(make) -> None:
    batch = make()[0]
    assert torch.equal(batch.clean, batch.occluded)
    assert torch.equal(batch.face_mask, batch.visible)
    assert batch.family == ["clean"] * 4
    assert batch.coverage.tolist() == [0] * 4
    assert 0.1 < float(batch.face_mask.mean()) < 0.6
    assert 0 <= float(batch.clean.min()) <= float(batch.clean.max()) <= 1


def test_occluded_twins_differ_only_under_the_occluder(make) -> None:
    config = replace(SMALL, occlude=True, family="irrational", clean_share=0.0, coverage=(0.2, 0.5))
    batch = make(config)[1]
    assert (batch.visible <= batch.face_mask + 1e-6).all()
    hidden = 1 - batch.visible.sum((1, 2, 3)) / batch.face_mask.sum((1, 2, 3))
    torch.testing.assert_close(hidden, batch.coverage, atol=1e-4, rtol=0)
    assert ((batch.coverage > 0.14) & (batch.coverage < 0.56)).all()
    kept = (batch.visible > 0.999).expand_as(batch.clean)
    torch.testing.assert_close(batch.clean[kept], batch.occluded[kept], atol=2e-3, rtol=0)
    assert "clean" not in batch.family


def test_clean_share_leaves_that_share_unpainted(make) -> None:
    everything = make(replace(SMALL, occlude=True, family="noise_patch", clean_share=1.0))[0]
    assert torch.equal(everything.clean, everything.occluded)
    assert everything.family == ["clean"] * 4
    half = replace(SMALL, batch_size=12, occlude=True, family="noise_patch", clean_share=0.5)
    families = [f for step in range(4) for f in make(half)[step].family]
    assert 12 < families.count("clean") < 36
    assert set(families) == {"clean", "noise_patch"}


def test_duplicates_share_the_photo_and_differ_in_the_occluder(make) -> None:
    config = replace(SMALL, duplicates=2, occlude=True, family="noise_patch", clean_share=0.0)
    batch = make(config)[0]
    assert batch.index.tolist()[::2] == batch.index.tolist()[1::2]
    assert torch.equal(batch.clean[::2], batch.clean[1::2])
    assert torch.equal(batch.points[::2], batch.points[1::2])
    assert not torch.equal(batch.occluded[::2], batch.occluded[1::2])


def test_colour_jitter_is_off_at_zero_and_stays_in_range(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_allclose(colour_jitter(image, rng, 0.0), image / 255, atol=1e-6)
    changed = np.stack([colour_jitter(image, rng, 0.25) for _ in range(20)])
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert changed.std(0).max() > 0.02


def test_moving_a_batch_keeps_what_is_not_a_tensor(make) -> None:
    batch = make()[0]
    assert_equal(batch, batch.to("cpu"))


def test_landmarks_follow_the_face(make) -> None:
    """The box of the points covers the face mask, to a pixel."""
    batch = make()[2]
    for points, mask in zip(batch.points.numpy(), batch.face_mask, strict=True):
        rows, columns = torch.where(mask[0] > 0.5)
        x0, y0, x1, y1 = landmark_box(points)
        assert x0 - 1 <= float(columns.min())
        assert float(columns.max()) <= x1
        assert y0 - 1 <= float(rows.min())
        assert float(rows.max()) <= y1


def test_pairs_show_one_person_twice_and_the_rest_goes_through_all_photos(
    packed: PackedPhotos, mean_points: Tensor
) -> None:
    # Six people with two photos, but one of them nameless: those two are nobody's pair.
    names = ["" if name == "person 3" else name for name in packed.identities]
    mirror = mirror_pairs(mean_points.numpy())
    config = BatchConfig(batch_size=6, size=64, person_share=0.7)
    sampler = TwinSampler(
        replace(packed, identities=names), config, seed=1, mirror=mirror, mean_points=mean_points
    )
    paired, alone = [], []
    for step in range(10):
        rows = sampler.indices(step)
        assert np.array_equal(rows, sampler.indices(step))
        person = sampler[step].person if step == 0 else torch.from_numpy(sampler.draw.person[rows])
        assert person[0] == person[1]
        assert person[2] == person[3]
        assert rows[0] != rows[1]
        paired += [names[row] for row in rows[:4]]
        alone += rows[4:].tolist()
    assert sorted(set(paired)) == [f"person {i}" for i in (0, 1, 2, 4, 5)]
    assert sorted(set(alone)) == list(range(12))  # 20 places: one round and a part
    assert sorted(alone[:12]) == list(range(12))


@pytest.mark.parametrize("size", [1, 3, 4, 7])
def test_batches_of_pairs_are_no_larger_than_asked_for(make, size: int) -> None:
    sampler = make(BatchConfig(batch_size=size, size=64, person_share=1.0))
    for step in range(3):
        assert len(sampler.indices(step)) == size


def test_without_names_there_are_no_pairs(packed: PackedPhotos, make) -> None:
    plain = make().indices(2)
    nameless = make(replace(SMALL, person_share=1.0))
    nameless.draw.with_several = np.array([], dtype=int)
    assert np.array_equal(nameless.indices(2), plain)
    numbers, albums = number_people(["", "b", "", "b"])
    assert numbers[0] != numbers[2]
    assert numbers[1] == numbers[3]
    assert sorted(map(len, albums)) == [1, 1, 2]

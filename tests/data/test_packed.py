"""Packing: crops and landmarks agree, bad photos are skipped by name, packs survive on disk."""

import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from occface_core.data.crop import CROP_SCALE
from occface_core.data.landmarks import ibug68, landmark_box
from occface_core.data.packed import (
    PACK_SCALE,
    PackedPhotos,
    cached_pack,
    load_pack,
    pack,
    pack_photo,
    points_box68,
    save_pack,
)
from occface_core.data.photos import PhotoRecord, PhotoSet, load_photo_set
from occface_core.errors import ConfigError, DataError


def test_box68_takes_either_numbering(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 100, (478, 2)).astype(np.float32)
    np.testing.assert_array_equal(points_box68(points), landmark_box(ibug68(points)))
    np.testing.assert_array_equal(points_box68(ibug68(points)), landmark_box(ibug68(points)))


def test_a_bright_spot_stays_under_its_landmark(tmp_path: Path, rng: np.random.Generator) -> None:
    points = rng.uniform(60, 140, (68, 2)).astype(np.float32)
    points[30] = (101.5, 88.5)  # the centre of pixel (101, 88)
    image = np.zeros((200, 240, 3), np.uint8)
    image[87:90, 100:103] = 255
    Image.fromarray(image).save(tmp_path / "spot.png")
    record = PhotoRecord("spot.png", tmp_path / "spot.png", -1, 0, points)
    crop, moved = pack_photo(record, 176)
    light = crop.astype(float).sum(2)
    rows, columns = np.mgrid[:176, :176] + 0.5
    spot = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
    np.testing.assert_allclose(moved[30], spot, atol=0.1)
    # The 68-point box takes 1/PACK_SCALE of the crop, in the middle.
    x0, y0, x1, y1 = landmark_box(moved)
    assert ((x1 - x0) + (y1 - y0)) / 2 == pytest.approx(176 / PACK_SCALE, rel=1e-4)
    assert (x0 + x1) / 2 == pytest.approx(88, abs=0.01)
    assert PACK_SCALE > CROP_SCALE


def test_pack_keeps_names_people_and_order(photo_folder: Path) -> None:
    packed = pack(load_photo_set(photo_folder), size=64)
    assert packed.names == [f"{i:02d}.png" for i in range(12)]
    assert packed.identities[4] == "person 2"
    assert packed.images.shape == (12, 64, 64, 3)
    assert packed.points.shape == (12, 478, 2)
    assert packed.size == 64
    assert packed.skipped == []
    assert len(pack(load_photo_set(photo_folder), size=32, limit=5)) == 5


def test_corrupt_photos_are_skipped_counted_and_named(
    photo_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    (folder / "03.png").write_bytes(b"rubbish")
    (folder / "07.png").write_bytes((folder / "07.png").read_bytes()[:200])
    packed = pack(load_photo_set(folder), size=32)
    assert len(packed) == 10
    assert [name for name, _ in packed.skipped] == ["03.png", "07.png"]
    assert "03.png" not in packed.names
    assert "03.png" in caplog.text
    whole = pack(load_photo_set(photo_folder), size=32)
    np.testing.assert_array_equal(packed.images[3], whole.images[4])
    np.testing.assert_array_equal(packed.points[3], whole.points[4])


def test_degenerate_landmarks_are_skipped_too(photo_folder: Path) -> None:
    records = list(load_photo_set(photo_folder).records[:3])
    records[1] = replace(records[1], points=np.zeros((478, 2), np.float32))
    packed = pack(PhotoSet(records), size=32)
    assert packed.names == ["00.png", "02.png"]
    assert "empty" in packed.skipped[0][1]


def test_nothing_readable_is_an_error(photo_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    for path in folder.glob("*.png"):
        path.write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"none of 12 photos could be read; first: 00\.png"):
        pack(load_photo_set(folder), size=32)


def test_save_and_load(photo_folder: Path, tmp_path: Path) -> None:
    packed = pack(load_photo_set(photo_folder), size=32)
    save_pack(packed, tmp_path / "pack")
    loaded = load_pack(tmp_path / "pack")
    np.testing.assert_array_equal(loaded.images, packed.images)
    np.testing.assert_array_equal(loaded.points, packed.points)
    assert (loaded.names, loaded.identities, loaded.labels) == (
        packed.names,
        packed.identities,
        packed.labels,
    )


def test_worker_processes_reopen_the_pixels_instead_of_copying_them(
    photo_folder: Path, tmp_path: Path
) -> None:
    save_pack(pack(load_photo_set(photo_folder), size=64), tmp_path / "pack")
    loaded = load_pack(tmp_path / "pack")
    sent = pickle.dumps(loaded)
    assert len(sent) < loaded.images.nbytes / 2
    np.testing.assert_array_equal(pickle.loads(sent).images, loaded.images)


def test_a_new_pack_is_mapped_too(photo_folder: Path, tmp_path: Path) -> None:
    photos = load_photo_set(photo_folder)
    new = cached_pack(photos, tmp_path, size=64)
    assert isinstance(new.images, np.memmap)
    assert len(pickle.dumps(new)) < new.images.nbytes / 2
    before = np.array(new.images)
    (folder,) = tmp_path.iterdir()
    save_pack(replace(new.rows(np.arange(1)), skipped=[("x", "y")]), folder)
    np.testing.assert_array_equal(new.images, before)  # and stays whole when the file is written anew


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(photo_folder: Path, tmp_path: Path, limit: int) -> None:
    with pytest.raises(ConfigError, match=f"limit {limit} must be at least 1"):
        cached_pack(load_photo_set(photo_folder), tmp_path, limit=limit)


def test_incomplete_packs_are_refused(photo_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    save_pack(pack(load_photo_set(photo_folder), size=32), folder)
    np.save(folder / "points.npy", np.zeros((3, 478, 2), np.float32))
    with pytest.raises(DataError, match="12 images, 3 landmark sets"):
        load_pack(folder)
    (folder / "pack.json").write_text("{}")
    with pytest.raises(DataError, match="not a complete photo pack"):
        load_pack(folder)
    (folder / "pack.json").unlink()
    with pytest.raises(DataError, match="not a complete photo pack"):
        load_pack(folder)


def test_a_killed_pack_is_rebuilt_and_a_whole_one_is_reused(photo_folder: Path, tmp_path: Path) -> None:
    photos = load_photo_set(photo_folder)
    first = cached_pack(photos, tmp_path, size=32)
    (folder,) = tmp_path.iterdir()
    (folder / "pack.json").unlink()  # as after a kill: this file is written last
    np.testing.assert_array_equal(cached_pack(photos, tmp_path, size=32).images, first.images)
    stamp = (folder / "images.npy").stat().st_mtime_ns
    cached_pack(photos, tmp_path, size=32)
    assert (folder / "images.npy").stat().st_mtime_ns == stamp
    cached_pack(photos, tmp_path, size=32, limit=4)
    assert len(list(tmp_path.iterdir())) == 2


def test_runs_that_start_together_pack_once(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, started = load_photo_set(photo_folder), []

    def slow_pack(*args: Any, **options: Any) -> PackedPhotos:
        started.append(args)
        time.sleep(0.3)  # the others ask meanwhile
        return pack(*args, **options)

    monkeypatch.setattr("occface_core.data.packed.pack", slow_pack)
    with ThreadPoolExecutor(3) as pool:
        packs = list(pool.map(lambda _: cached_pack(photos, tmp_path, size=32), range(3)))
    assert len(started) == 1
    for one in packs:
        np.testing.assert_array_equal(one.images, pack(photos, size=32).images)


def test_a_corrected_label_needs_no_new_pack(photo_folder: Path, tmp_path: Path) -> None:
    photos = load_photo_set(photo_folder)
    cached_pack(photos, tmp_path, size=32, limit=3)
    relabelled = PhotoSet([replace(record, label="61_1_2", identity="x") for record in photos.records])
    again = cached_pack(relabelled, tmp_path, size=32, limit=3)
    assert again.labels == ["61_1_2"] * 3
    assert again.identities == ["x"] * 3
    assert len(list(tmp_path.iterdir())) == 1


def test_other_pixels_under_the_same_names_are_another_pack(photo_folder: Path, tmp_path: Path) -> None:
    folder, cache = tmp_path / "photos", tmp_path / "cache"
    shutil.copytree(photo_folder, folder)
    photos = load_photo_set(folder)
    first = cached_pack(photos, cache, size=32)
    Image.new("RGB", (96, 96), (200, 10, 10)).save(folder / "02.png")
    changed = cached_pack(photos, cache, size=32)
    assert first.names == changed.names
    assert (changed.images[2] == (200, 10, 10)).all()
    np.testing.assert_array_equal(first.images[3], changed.images[3])


def test_a_repaired_photo_is_taken(photo_folder: Path, tmp_path: Path) -> None:
    folder, cache = tmp_path / "photos", tmp_path / "cache"
    shutil.copytree(photo_folder, folder)
    (folder / "02.png").write_bytes(b"rubbish")
    assert len(cached_pack(load_photo_set(folder), cache, size=32).skipped) == 1
    shutil.copy(photo_folder / "02.png", folder / "02.png")
    assert cached_pack(load_photo_set(folder), cache, size=32).skipped == []

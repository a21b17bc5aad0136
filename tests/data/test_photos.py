"""Photo folders and tar shards with their landmarks, good and bad."""

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from occface_core.data.photos import PhotoRecord, PhotoSet, decode, load_photo_set
from occface_core.errors import DataError, ImageError


def shard(source: Path, target: Path, names: list[str], prefix: str = "") -> None:
    with tarfile.open(target, "w") as archive:
        for name in names:
            archive.add(source / name, arcname=prefix + name)


@pytest.fixture
def shards(photo_folder: Path, tmp_path: Path) -> Path:
    """Two training shards and one of dev, names inside the shards as in the landmark archives."""
    names = sorted(p.name for p in photo_folder.glob("*.png"))
    shard(photo_folder, tmp_path / "train-00.tar", names[:5], "train/")
    shard(photo_folder, tmp_path / "train-01.tar", names[5:9], "train/")
    shard(photo_folder, tmp_path / "dev-00.tar", names[9:], "dev/")
    with np.load(photo_folder / "landmarks.npz") as data:
        q = data["landmarks_q"]
    for split, rows in (("train", range(9)), ("dev", range(9, 12))):
        stored = np.array([f"{split}/{names[i]}" for i in rows])
        np.savez(tmp_path / f"{split}-landmarks.npz", name=stored, landmarks_q=q[list(rows)])
    return tmp_path


def write_csv(folder: Path, rows: list[list[object]], header: list[str] | None = None) -> None:
    columns = [f"{axis}{i}" for i in range(68) for axis in "xy"]
    lines = [",".join(header or ["image", "identity", *columns])]
    lines += [",".join(map(str, row)) for row in rows]
    (folder / "points.csv").write_text("\n".join(lines) + "\n")


def test_folder_with_archive(photo_folder: Path) -> None:
    photos = load_photo_set(photo_folder)
    assert len(photos) == 12
    assert photos.missing == []
    first = photos.records[0]
    assert (first.name, first.identity, first.label) == ("00.png", "person 0", "30_0_0")
    assert first.points.shape == (478, 2)
    with np.load(photo_folder / "landmarks.npz") as data:
        np.testing.assert_allclose(first.points, data["landmarks_q"][0] / 64 - 64, atol=1e-3)
    assert decode(first).shape == (96, 96, 3)


def test_shards_are_read_in_place_by_split(shards: Path, photo_folder: Path) -> None:
    train, dev = load_photo_set(shards, split="train"), load_photo_set(shards, split="dev")
    assert (len(train), len(dev)) == (9, 3)
    for record in (*train.records, *dev.records):
        assert record.read_bytes() == (photo_folder / Path(record.name).name).read_bytes()


def test_csv_of_68_points(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copy(photo_folder / "00.png", tmp_path)
    write_csv(tmp_path, [["00.png", "somebody", *range(136)]])
    (record,) = load_photo_set(tmp_path).records
    assert record.identity == "somebody"
    np.testing.assert_array_equal(record.points, np.arange(136, dtype=np.float32).reshape(68, 2))


def test_photos_without_landmarks_are_named_not_fatal(photo_folder: Path, tmp_path: Path) -> None:
    for name in ("00.png", "01.png"):
        shutil.copy(photo_folder / name, tmp_path)
    write_csv(tmp_path, [["01.png", "", *range(136)]])
    photos = load_photo_set(tmp_path)
    assert [r.name for r in photos.records] == ["01.png"]
    assert photos.missing == ["00.png"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_photo_set(tmp_path / "nowhere")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        load_photo_set(tmp_path)


def test_images_without_any_annotation_file(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copy(photo_folder / "00.png", tmp_path)
    with pytest.raises(DataError, match=r"no landmarks found.*docs/data\.md"):
        load_photo_set(tmp_path)


def test_names_that_never_match(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copy(photo_folder / "00.png", tmp_path)
    write_csv(tmp_path, [["other.png", "", *range(136)]])
    with pytest.raises(DataError, match="none of its 1 images has landmarks"):
        load_photo_set(tmp_path)


def test_a_split_that_is_not_there_takes_all_photos_and_says_so(
    photo_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load_photo_set(photo_folder)
    assert not caplog.records
    assert len(load_photo_set(photo_folder, split="dev")) == len(whole)
    assert "no sub-folder and no shards called 'dev'" in caplog.text


def test_landmarks_of_large_photos(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copy(photo_folder / "00.png", tmp_path)
    points = np.linspace(-20, 5000, 468 * 2).reshape(1, 468, 2)
    np.savez(
        tmp_path / "landmarks.npz",
        name=np.array(["00.png"]),
        landmarks_q=np.round((points + 64) * 64).astype(np.int32),
    )
    read = load_photo_set(tmp_path).records[0].points
    np.testing.assert_allclose(read, points[0], atol=0.01)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def wrong_keys(path: Path) -> None:
    np.savez(path, faces=np.zeros(3))


def wrong_shape(path: Path) -> None:
    np.savez(path, name=np.array(["a", "b"]), landmarks_q=np.zeros((3, 478, 2), np.uint16))


def pickled(path: Path) -> None:
    np.savez(path, name=np.array([{"a": 1}], dtype=object), landmarks_q=np.zeros((1, 478, 2), np.uint16))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncated, emptied, wrong_keys, wrong_shape, pickled])
def test_damaged_archives(photo_folder: Path, tmp_path: Path, damage) -> None:
    shutil.copytree(photo_folder, tmp_path / "photos")
    damage(tmp_path / "photos" / "landmarks.npz")
    with pytest.raises(DataError, match=r"landmarks\.npz"):
        load_photo_set(tmp_path / "photos")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmarks_q": np.zeros((12, 70, 2), np.uint16)}, r"shape \(12, 70, 2\), expected \(12, 468"),
        ({"landmarks_q": np.zeros((12, 0, 2), np.uint16)}, "468 or more"),
        ({"landmarks_q": np.zeros((12, 478, 2), np.float32)}, "holds float32, expected integers"),
        ({"identity": np.array(["one"])}, "for each of the 12 names"),
    ],
)
def test_archives_of_another_layout(photo_folder: Path, tmp_path: Path, changes: dict, message: str) -> None:
    shutil.copy(photo_folder / "00.png", tmp_path)
    with np.load(photo_folder / "landmarks.npz") as stored:
        np.savez(tmp_path / "landmarks.npz", **{**stored, **changes})
    with pytest.raises(DataError, match=rf"landmarks\.npz: .*{message}"):
        load_photo_set(tmp_path)


def test_landmarks_by_file_name_alone_are_not_given_to_two_photos(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copy(photo_folder / "landmarks.npz", tmp_path)
    for name in ("a/00.png", "b/00.png", "b/01.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photo_folder / Path(name).name, tmp_path / name)
    photos = load_photo_set(tmp_path)
    assert [record.name for record in photos.records] == ["b/01.png"]
    assert photos.missing == ["a/00.png", "b/00.png"]


def test_csv_as_spreadsheets_write_it(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copy(photo_folder / "00.png", tmp_path)
    write_csv(tmp_path, [["00.png", "anna", *range(136)]])
    text = (tmp_path / "points.csv").read_text()
    (tmp_path / "points.csv").write_text(text, encoding="utf-8-sig")
    assert load_photo_set(tmp_path).records[0].identity == "anna"


@pytest.mark.parametrize("content", [b"image,\xff\xfe", b"PNG\0\r\n" * 9])
def test_files_that_are_no_csv(photo_folder: Path, tmp_path: Path, content: bytes) -> None:
    shutil.copy(photo_folder / "00.png", tmp_path)
    (tmp_path / "points.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"points\.csv"):
        load_photo_set(tmp_path)


def test_csv_without_columns(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copy(photo_folder / "00.png", tmp_path)
    write_csv(tmp_path, [["00.png", 1, 2]], header=["image", "x0", "y0"])
    with pytest.raises(DataError, match=r"points\.csv: lacks columns"):
        load_photo_set(tmp_path)


def test_csv_with_words_for_numbers(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copy(photo_folder / "00.png", tmp_path)
    write_csv(tmp_path, [["00.png", "", *range(135), "left"]])
    with pytest.raises(DataError, match=r"00\.png: a landmark is not a number"):
        load_photo_set(tmp_path)


def test_file_that_is_no_tar(shards: Path) -> None:
    (shards / "train-00.tar").write_bytes(b"not a tar archive" * 64)
    with pytest.raises(DataError, match=r"train-00\.tar: not a readable tar shard"):
        load_photo_set(shards, split="train")


def test_compressed_shards_are_refused(shards: Path) -> None:
    plain = (shards / "train-00.tar").read_bytes()
    (shards / "train-00.tar").write_bytes(gzip.compress(plain))
    with pytest.raises(DataError, match=r"train-00\.tar: not a readable tar shard without compression"):
        load_photo_set(shards, split="train")


def test_unreadable_image_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no pixels here")
    record = PhotoRecord("broken.jpg", path, -1, 0, np.zeros((68, 2), np.float32))
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        decode(record)
    assert len(PhotoSet([record])) == 1


def test_decoding_needs_no_file_on_disk_for_shards(shards: Path) -> None:
    record = load_photo_set(shards, split="dev").records[-1]
    assert decode(record).shape == (96, 96, 3)
    assert io.BytesIO(record.read_bytes()).read(8) == b"\x89PNG\r\n\x1a\n"

"""Exported renders: what is written is what was rendered, read back as a photo set and for training."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from occface_core.data import synthetic_export
from occface_core.data.images import read_image
from occface_core.data.packed import pack
from occface_core.data.photos import load_photo_set
from occface_core.data.synthetic_export import (
    ExportConfig,
    decode_depth,
    encode_depth,
    export_synthetic,
    read_truth,
)
from occface_core.errors import ConfigError, DataError
from occface_core.morphable.parameters import FaceParameters
from occface_core.rendering.cameras import to_pixels, weak_perspective

SMALL = ExportConfig(count=3, views=2, size=64, seed=5, vertices=True)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_export, "CHUNK", 2)


@pytest.fixture
def folder(open_head, small_albedo, tmp_path: Path) -> Path:
    result = export_synthetic(open_head, small_albedo, tmp_path / "out", SMALL)
    assert (result.rendered, result.kept) == (6, 0)
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


def test_layout(folder: Path) -> None:
    names = [f"00000{i}-{v}.png" for i in range(3) for v in range(2)]
    for part in ("photos", "masks", "depth"):
        assert sorted(p.name for p in (folder / part).glob("*.png")) == names
    truth = read_truth(folder)
    assert truth["name"].tolist() == names
    shapes = {key: truth[key].shape for key in ("code", "camera", "landmarks468", "landmarks68", "vertices")}
    assert shapes == {
        "code": (6, 236),
        "camera": (6, 3),
        "landmarks468": (6, 468, 3),
        "landmarks68": (6, 68, 3),
        "vertices": (6, 5181, 3),
    }
    assert json.loads((folder / "synthesis.json").read_text())["seed"] == 5


def test_the_code_draws_the_picture(folder: Path, open_head) -> None:
    truth = read_truth(folder)
    params = FaceParameters.from_code(torch.from_numpy(truth["code"]))
    verts = open_head(params.betas, params.expression, params.pose).verts
    torch.testing.assert_close(verts, torch.from_numpy(truth["vertices"]))
    points = to_pixels(weak_perspective(open_head.landmarks(verts, "468"), params.camera), 64)
    torch.testing.assert_close(points, torch.from_numpy(truth["landmarks468"]), atol=1e-3, rtol=0)
    first, second = truth["code"][0], truth["code"][1]
    np.testing.assert_array_equal(first[:150], second[:150])  # one person, one albedo, two views
    assert not np.array_equal(first[150:], second[150:])


def test_depth_and_masks_fit_the_geometry(folder: Path) -> None:
    truth = read_truth(folder)
    for row, name in enumerate(truth["name"]):
        stored = cv2.imread(str(folder / "depth" / name), cv2.IMREAD_UNCHANGED)
        assert stored.dtype == np.uint16
        depth = decode_depth(stored)
        skin = cv2.imread(str(folder / "masks" / name), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(skin)) == {0, 255}
        assert np.isfinite(depth[skin > 0]).all()  # skin lies on the head
        # The nose tip, seen at its own pixel: its depth is its camera-space distance.
        x, y, z = truth["landmarks468"][row, 4]
        millimetres = z * 2000 / (64 * truth["camera"][row, 0])
        # A pixel spans about 5 mm at this size, and beside a turned nose lies the cheek.
        around = depth[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2]
        assert np.nanmin(np.abs(around - millimetres)) < 4


def test_depth_survives_storage() -> None:
    depth = np.array([[-120.0, 0.0], [37.126, 90.0]], np.float32)
    mask = np.array([[True, True], [True, False]])
    back = decode_depth(encode_depth(depth, mask))
    assert np.isnan(back[1, 1])
    np.testing.assert_allclose(back[mask], depth[mask], atol=0.0051)


def test_read_back_as_photos_for_training(folder: Path) -> None:
    photos = load_photo_set(folder / "photos", split="train")
    assert len(photos) == 6
    assert photos.missing == []
    assert [r.identity for r in photos.records[:3]] == ["000000", "000000", "000001"]
    np.testing.assert_allclose(
        photos.records[0].points, read_truth(folder)["landmarks468"][0, :, :2], atol=1 / 64
    )
    packed = pack(photos, size=64)
    assert packed.skipped == []
    assert packed.images.shape == (6, 64, 64, 3)
    assert (packed.points > 0).all()
    assert (packed.points < 64).all()


def test_an_interrupted_export_goes_on_and_a_longer_one_extends_it(
    folder: Path, open_head, small_albedo, tmp_path: Path
) -> None:
    whole = contents(folder)
    (folder / "truth" / "00001.npz").unlink()  # as if killed inside the second chunk
    (folder / "photos" / "landmarks.npz").unlink()
    result = export_synthetic(open_head, small_albedo, folder, SMALL)
    assert (result.rendered, result.kept) == (2, 4)
    assert contents(folder) == whole
    longer = replace(SMALL, count=4)
    result = export_synthetic(open_head, small_albedo, folder, longer)
    assert (result.rendered, result.kept) == (4, 4)
    assert contents(folder).items() > whole.items()
    assert len(load_photo_set(folder / "photos")) == 8
    other = export_synthetic(open_head, small_albedo, tmp_path / "again", longer)
    assert other.rendered == 8
    assert contents(tmp_path / "again") == contents(folder)


def test_an_export_killed_at_its_very_start_goes_on(
    open_head, small_albedo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace_killed(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    def mkdir_killed(path: Path, make=Path.mkdir, **options: bool) -> None:
        make(path, **options)
        if path.name == "photos":
            raise KeyboardInterrupt

    for part, fails in (("mkdir", mkdir_killed), ("replace", replace_killed)):
        with monkeypatch.context() as patch:
            patch.setattr(Path, part, fails)
            with pytest.raises(KeyboardInterrupt):
                export_synthetic(open_head, small_albedo, tmp_path / part, SMALL)
        assert export_synthetic(open_head, small_albedo, tmp_path / part, SMALL).rendered == 6


def test_damage_is_named(folder: Path, open_head, small_albedo) -> None:
    chunk = folder / "truth" / "00001.npz"
    chunk.write_bytes(chunk.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"00001\.npz.*delete it and export again"):
        export_synthetic(open_head, small_albedo, folder, SMALL)
    with pytest.raises(DataError, match=r"00001\.npz.*delete it and export again"):
        read_truth(folder)
    (folder / "synthesis.json").write_text("[]")
    with pytest.raises(DataError, match=r"synthesis\.json: not the settings"):
        export_synthetic(open_head, small_albedo, folder, SMALL)


def test_other_folders_are_left_alone(folder: Path, open_head, small_albedo, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds an export with seed 5, this one has 6"):
        export_synthetic(open_head, small_albedo, folder, replace(SMALL, seed=6))
    with pytest.raises(DataError, match="already holds 3 people, more than 2"):
        export_synthetic(open_head, small_albedo, folder, replace(SMALL, count=2))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="not empty and not an export"):
        export_synthetic(open_head, small_albedo, tmp_path / "mine", SMALL)
    with pytest.raises(DataError, match=r"no truth/\*\.npz"):
        read_truth(tmp_path / "mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "count 0"),
        ({"views": 0}, "views 0"),
        ({"size": 9}, "size 9"),
        ({"size": 2000}, "within 64..896"),
        ({"zoom": 0.0}, "zoom 0.0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_wrong_settings(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportConfig(**changes)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from occface_core.cli import main

    words = ["synthesize", str(tmp_path / "out"), "--count", "2", "--size", "64", "--device", "cpu"]
    assert main(words) == 0
    assert "2 pictures rendered" in capsys.readouterr().out
    assert main(words) == 0
    assert "0 pictures rendered, 2 were there" in capsys.readouterr().out
    assert read_image(tmp_path / "out" / "photos" / "000000-0.png").shape == (64, 64, 3)
    assert main([*words, "--views", "2"]) == 2
    assert "choose another folder" in capsys.readouterr().err

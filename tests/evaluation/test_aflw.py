"""AFLW2000-3D on files written here in its layout: reading, yaw bins, and what is wrong with bad files."""

import csv
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from occface_core.cli import main
from occface_core.data.synthetic import SyntheticFaces
from occface_core.errors import DataError
from occface_core.evaluation.aflw import by_yaw, read_annotation, read_folder, read_yaws, yaw_bin
from occface_core.networks.checkpoints import save_encoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.rendering.cameras import to_pixels, weak_perspective

COUNT = 4


def write_mat(path: Path, points: np.ndarray, yaw: float, **more: object) -> None:
    """One annotation as published: MATLAB's pixels, radians, single precision."""
    xyz = np.concatenate([points.T + 0.5, np.zeros((1, 68))])
    pose = np.array([[0.1, yaw, -0.2, 60, 70, 0, 0.001]], np.float32)
    savemat(path, {"pt3d_68": xyz.astype(np.float32), "Pose_Para": pose, **more})


@pytest.fixture(scope="module")
def folder(open_head, small_albedo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered faces with their exact points, turned by 10, -10, -45 and 80 degrees by annotation."""
    faces = SyntheticFaces(open_head, small_albedo, 96)
    batch = faces.sample(COUNT, generator=torch.Generator().manual_seed(1))
    verts = open_head(batch.params.betas, batch.params.expression, batch.params.pose).verts
    points = to_pixels(weak_perspective(open_head.landmarks(verts, "68_static"), batch.params.camera), 96)
    root = tmp_path_factory.mktemp("aflw")
    for i, yaw in enumerate((10, -10, -45, 80)):
        pixels = (batch.image[i].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(root / f"image{i:05d}.jpg")
        more = {"Color_Para": np.ones((1, 7)), "pt2d": np.zeros((2, 21))}
        write_mat(root / f"image{i:05d}.mat", points[i, :, :2].numpy(), math.radians(yaw), **more)
    return root


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = EncoderConfig(backbone="mobilenet_v3_small", input_size=64, mask_size=16)
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    save_encoder(FaceEncoder(config).eval(), path)
    return path


def test_a_folder_is_read_in_the_order_of_names(folder: Path) -> None:
    faces, bad = read_folder(folder)
    assert bad == []
    assert [face.name for face in faces] == [f"image{i:05d}.jpg" for i in range(COUNT)]
    assert [face.yaw for face in faces] == pytest.approx([10, -10, -45, 80], abs=1e-4)
    assert faces[0].points.shape == (68, 2)


def test_points_leave_matlabs_pixel_frame(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(10, 90, (68, 2))
    write_mat(tmp_path / "a.mat", points, -0.5)
    read, yaw = read_annotation(tmp_path / "a.mat")
    np.testing.assert_allclose(read, points, atol=1e-4)
    assert yaw == pytest.approx(math.degrees(-0.5))


def test_borders_belong_to_the_lower_bin() -> None:
    assert [yaw_bin(v) for v in (0, 30, -30, 30.1, 60, -60.1, 90, 91)] == [0, 0, 0, 1, 1, 2, 2, None]


def test_the_published_mean_weighs_the_bins_alike() -> None:
    values, yaw = np.array([0.01, 0.03, 0.04, 0.08]), np.array([0.0, -29, 45, -95])
    row = by_yaw(values, yaw)
    assert (row["0-30"], row["30-60"], row["60-90"]) == pytest.approx((0.02, 0.04, 0.08))
    assert [row[f"{b} count"] for b in ("0-30", "30-60", "60-90")] == [2, 1, 1]
    assert row["balanced"] == pytest.approx(0.14 / 3)
    assert row["plain"] == pytest.approx(0.04)
    assert math.isnan(by_yaw(values[:2], yaw[:2])["balanced"])  # not another figure under the same name


def test_bad_files_are_named_and_the_rest_is_read(folder: Path, tmp_path: Path) -> None:
    points = np.full((68, 2), 30.0)
    for stem in ("a", "b", "c", "d", "e", "f"):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{stem}.jpg")
    write_mat(tmp_path / "a.mat", points, 0.0)
    write_mat(tmp_path / "b.mat", points * np.nan, 0.0)
    (tmp_path / "c.mat").write_bytes(b"not a MATLAB file")
    savemat(tmp_path / "d.mat", {"pt3d_68": np.zeros((3, 21)), "Pose_Para": np.zeros((1, 7))})
    savemat(tmp_path / "e.mat", {"pt2d": np.zeros((2, 21))})
    write_mat(tmp_path / "z.mat", points, 0.0)
    faces, bad = read_folder(tmp_path)
    assert [face.name for face in faces] == ["a.jpg"]
    assert [name for name, _ in bad] == ["b.mat", "c.mat", "d.mat", "e.mat", "f.jpg", "z.mat"]
    parts = ("finite", "MATLAB", "(3, 21)", "lacks pt3d_68", "no f.mat", "no photo")
    for (_, reason), part in zip(bad, parts, strict=True):
        assert part in reason


def test_a_pickle_in_disguise_is_not_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "boom",)

    (tmp_path / "a.mat").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "yaws.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a readable MATLAB file"):
        read_annotation(tmp_path / "a.mat")
    with pytest.raises(DataError, match="not a plain array"):
        read_yaws(tmp_path / "yaws.npy", 1)
    assert not (tmp_path / "boom").exists()


def test_a_list_of_yaws_goes_by_all_names(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "pose.npy", np.array([1.0, 2, 3, 4]))
    faces, _ = read_folder(folder, tmp_path / "pose.npy")
    assert [face.yaw for face in faces] == [1, 2, 3, 4]
    np.save(tmp_path / "short.npy", np.array([1.0, 2, 3]))
    with pytest.raises(DataError, match="each of the 4"):
        read_folder(folder, tmp_path / "short.npy")
    with pytest.raises(DataError, match="no usable pair"):
        read_folder(tmp_path)


def test_the_command(folder: Path, network: Path, tmp_path: Path) -> None:
    arguments = ["benchmark", "aflw", "--images", str(folder), "--model", f"tiny={network}"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    report = json.loads((tmp_path / "run" / "aflw.json").read_text())
    assert report["count"] == COUNT
    row = report["summary"]["tiny"]
    assert [row[f"{b} count"] for b in ("0-30", "30-60", "60-90")] == [2, 1, 1]
    assert row["balanced"] == pytest.approx((row["0-30"] + row["30-60"] + row["60-90"]) / 3)
    # Exact points of a head of the model's own family: the mean head comes near them.
    assert report["summary"]["mean head fitted to the annotation"]["mean"] < 0.06
    with (tmp_path / "run" / "aflw.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [r["yaw"] for r in rows] == ["10.00", "-10.00", "-45.00", "80.00"]
    assert np.mean([float(r["tiny"]) for r in rows]) == pytest.approx(row["plain"], rel=1e-4)
    assert "| tiny | " in (tmp_path / "run" / "aflw.md").read_text()


def test_an_unreadable_photo_is_named_and_fails_the_run(
    folder: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "image00002.jpg").write_bytes(b"broken")
    arguments = ["benchmark", "aflw", "--images", str(tmp_path), "--model", f"tiny={network}"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 3
    report = json.loads((tmp_path / "run" / "aflw.json").read_text())
    assert report["count"] == COUNT - 1
    assert [name for name, _ in report["left_out"]] == ["image00002.jpg"]
    assert report["summary"]["tiny"]["balanced"] is None  # a bin is empty
    assert "image00002.jpg" in capsys.readouterr().out

"""The reconstruct command on folders of good and bad files: results, manifest, resume, exit codes."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from occface_core.cli import main
from occface_core.errors import NoFaceError
from occface_core.geometry.mesh_io import load_mesh
from occface_core.pipeline import reconstructor
from occface_core.pipeline.reconstructor import FaceReconstructor

Maker = Callable[..., FaceReconstructor]
BOX = [80.0, 50.0, 150.0, 130.0]



def rows(out: Path) -> dict[str, tuple[str, str]]:
    with (out / "manifest.csv").open(newline="") as stream:
        return {Path(row["image"]).name: (row["status"], row["message"]) for row in csv.DictReader(stream)}


def run(*words: object) -> int:
    return main(["reconstruct", *(str(word) for word in words)])


def test_a_folder_of_good_photos(built: list, folder: Path, tmp_path: Path, photo: np.ndarray) -> None:
    out = tmp_path / "out"
    assert run(folder, "--out", out, "--format", "obj,ply,glb") == 0
    assert {status for status, _ in rows(out).values()} == {"ok"}
    with np.load(out / "one.npz", allow_pickle=False) as data:
        count = len(data["verts"])
        assert data["verts_image"].shape == data["verts_neutral"].shape == (count, 3)
        assert data["face_mask"].shape == photo.shape[:2]
        assert str(data["code_layout"]) == "deca236"
        assert "vertex_sigma_mm" not in data  # this network claims none
        assert {"landmarks68_2d", "landmarks_now7", "vertex_visibility", "albedo"} <= set(data.files)
        assert data["texture"].shape[:2] == data["texture_visibility"].shape
        assert data["uv_faces"].max() == len(data["uv"]) - 1
    info = json.loads((out / "one.json").read_text())
    assert info["confidence"]["detection"] == pytest.approx(0.9)
    assert len(info["parameters"]["expression"]) == 50
    assert np.array(info["crop_to_original"]).shape == (3, 3)
    assert set(info["versions"]) >= {"occface", "torch"}
    for suffix in ("obj", "ply", "glb"):
        assert len(load_mesh(out / f"one.{suffix}").faces) > 0
    assert not list(out.glob(".partial*"))


def test_one_bad_file_never_stops_the_rest(built: list, folder: Path, tmp_path: Path) -> None:
    whole = (folder / "one.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.jpg").write_text("no photo")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    out = tmp_path / "out"
    assert run(folder, folder / "absent.png", "--out", out) == 3
    found = rows(out)
    assert {name: status for name, (status, _) in found.items()} == {
        "one.png": "ok",
        "two.jpg": "ok",
        "cut.png": "unreadable",
        "notes.jpg": "unreadable",
        "dot.png": "unreadable",
        "absent.png": "unreadable",
    }
    assert "truncated" in found["cut.png"][1]
    assert "absent.png' is not a file" in found["absent.png"][1]
    assert sorted(path.name for path in out.glob("*.npz")) == ["one.npz", "two.npz"]


def test_no_face_and_bad_boxes(built: list, folder: Path, tmp_path: Path) -> None:
    boxes, out = tmp_path / "boxes.csv", tmp_path / "out"
    boxes.write_text("image,x0,y0,x1,y1\none.png,900,900,950,990\ntwo.jpg,80,50,x,130\nother.jpg,1,2,3,4\n")
    assert run(folder, "--boxes", boxes, "--out", out) == 3
    found = rows(out)
    assert found["one.png"][0] == "error"
    assert "outside the 240x180 image" in found["one.png"][1]
    assert found["two.jpg"][0] == "error"
    assert "boxes.csv' line 3" in found["two.jpg"][1]

    def blind(image: np.ndarray) -> list:
        return []

    for name in ("one.png", "two.jpg"):
        assert name in found
    assert run(folder, "--out", out) == 0  # failures are tried again, now with a detected box
    built[-1].detector.detect = blind
    assert isinstance(built[-1].reconstruct_batch([np.zeros((64, 64, 3), np.uint8)])[0], NoFaceError)


def test_no_face_is_a_status_of_its_own(
    built: list, folder: Path, tmp_path: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconstructor, "FaceReconstructor", lambda *_, **__: make())
    assert run(folder, "--out", tmp_path / "out") == 3
    assert rows(tmp_path / "out")["one.png"][0] == "no_face"


def test_a_given_box_wins_and_is_matched_by_path(built: list, folder: Path, tmp_path: Path) -> None:
    boxes, out = tmp_path / "boxes.csv", tmp_path / "out"
    boxes.write_text("image,x0,y0,x1,y1\nphotos/one.png,60,40,130,120\n")
    assert run(folder, "--boxes", boxes, "--out", out) == 0
    info = json.loads((out / "one.json").read_text())
    assert info["box"] == [60, 40, 130, 120]
    assert info["confidence"]["detection"] is None
    assert "no box is listed" in rows(out)["two.jpg"][1]


def test_finished_work_is_not_done_again(built: list, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, "--out", out)
    before = (out / "one.npz").stat().st_mtime_ns
    (out / "two.json").unlink()  # as after a kill between the files
    assert run(folder, "--out", out) == 0
    assert built[1].encoder.calls == [1, 1]  # two.jpg alone, in two passes
    assert (out / "one.npz").stat().st_mtime_ns == before
    assert run(folder, "--out", out) == 0
    assert len(built) == 2  # nothing to do: no model was loaded
    assert run(folder, "--out", out, "--format", "ply") == 0  # a format more: made again
    assert (out / "one.ply").is_file()
    assert run(folder, "--out", out, "--overwrite") == 0
    assert (out / "one.npz").stat().st_mtime_ns > before


def test_results_of_another_model_are_kept_but_not_silently(
    built: list, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(folder, "--out", tmp_path / "out")
    assert run(folder, "--out", tmp_path / "out", "--model", "teacher") == 0
    assert "2 results were made with another model" in caplog.text


def test_same_names_in_two_folders_do_not_overwrite_each_other(
    built: list, folder: Path, tmp_path: Path, photo: np.ndarray
) -> None:
    second = tmp_path / "more"
    second.mkdir()
    Image.fromarray(255 - photo).save(second / "one.png")
    Image.fromarray(photo).save(second / "ONE.bmp")
    out = tmp_path / "out"
    assert run(folder, second, "--out", out) == 0
    assert len(list(out.glob("*.npz"))) == 4
    manifest = (out / "manifest.csv").read_text()
    assert manifest.count("the name was taken") == 2
    assert run(second, folder, "--out", out) == 0  # in another order: all found again
    assert len(list(out.glob("*.npz"))) == 4
    assert len(built) == 1


def test_results_inside_the_input_folder_are_no_input(built: list, folder: Path) -> None:
    for _ in range(2):
        assert run(folder, "--out", folder / "out", "--format", "obj") == 0
    assert len(rows(folder / "out")) == 2


def test_batches_are_filled(built: list, folder: Path, tmp_path: Path) -> None:
    for i in range(3):
        (folder / f"more{i}.png").write_bytes((folder / "one.png").read_bytes())
    assert run(folder, "--out", tmp_path / "out", "--batch-size", "3") == 0
    assert built[0].encoder.calls == [3, 3, 2, 2]


def test_an_unexpected_error_stays_with_its_picture(
    built: list, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FaceReconstructor.reconstruct_batch

    def fail_on_second(self: FaceReconstructor, images: list, **options: object) -> list:
        if any(image[0, 0, 0] == bad for image in images):
            raise MemoryError("too large")
        return original(self, images, **options)

    bad = np.asarray(Image.open(folder / "two.jpg").convert("RGB"))[0, 0, 0]
    assert np.asarray(Image.open(folder / "one.png"))[0, 0, 0] != bad
    monkeypatch.setattr(FaceReconstructor, "reconstruct_batch", fail_on_second)
    assert run(folder, "--out", tmp_path / "out") == 3
    found = rows(tmp_path / "out")
    assert found["one.png"][0] == "ok"
    assert found["two.jpg"] == ("error", "unexpected MemoryError: too large")


def test_video_frames_become_numbered_results(built: list, tmp_path: Path, photo: np.ndarray) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (240, 180))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write videos")
    for _ in range(3):
        writer.write(photo)
    writer.release()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    assert run(path, "--out", out) == 0
    assert sorted(p.name for p in out.glob("*.npz")) == [f"clip_{i:06d}.npz" for i in range(3)]
    (out / "clip_000001.json").unlink()
    assert run(path, tmp_path / "broken.mp4", "--out", out) == 3
    assert (out / "clip_000001.json").is_file()
    assert rows(out)["broken.mp4"][0] == "unreadable"


def test_a_box_that_was_corrected_makes_its_result_again(
    built: list, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boxes, out = tmp_path / "boxes.csv", tmp_path / "out"
    header, two = "image,x0,y0,x1,y1\n", "two.jpg,80,50,150,130\n"
    boxes.write_text(f"{header}one.png,60,40,130,120\n{two}")
    assert run(folder, "--boxes", boxes, "--out", out) == 0
    before = (out / "two.npz").stat().st_mtime_ns
    boxes.write_text(f"{header}one.png,70,40,140,120\n{two}")
    assert run(folder, "--boxes", boxes, "--out", out) == 0
    assert json.loads((out / "one.json").read_text())["box"] == [70, 40, 140, 120]
    assert (out / "two.npz").stat().st_mtime_ns == before
    assert "belong to no picture" not in caplog.text  # kept results use their boxes too
    boxes.write_text(f"{header}{two}three.jpg,1,2,3,4\n")
    assert run(folder, "--boxes", boxes, "--out", out) == 0
    assert "1 boxes belong to no picture that was given: three.jpg" in caplog.text


def test_results_of_one_person_are_not_taken_for_single_ones(
    built: list, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    assert run(folder, "--out", out, "--one-person") == 0
    assert not caplog.text
    assert run(folder, "--out", out) == 0
    assert "2 results were made with another model or head, or from several photos" in caplog.text


def test_photos_of_one_person_are_never_done_one_by_one(
    built: list, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FaceReconstructor.reconstruct_person

    def small(self: FaceReconstructor, images: list, **options: object) -> list:
        if len(images) > 1:
            raise MemoryError("too many")
        return original(self, images, **options)

    monkeypatch.setattr(FaceReconstructor, "reconstruct_person", small)
    assert run(folder, "--out", tmp_path / "out", "--one-person") == 3
    assert {status for status, _ in rows(tmp_path / "out").values()} == {"error"}


def test_textures_of_names_with_blanks_stay_apart(
    built: list, folder: Path, tmp_path: Path, photo: np.ndarray
) -> None:
    Image.fromarray(photo).save(folder / "a b.png")
    Image.fromarray(255 - photo).save(folder / "a_b.png")
    out = tmp_path / "out"
    assert run(folder, "--out", out, "--format", "obj") == 0
    for name in ("a b", "a_b"):
        with np.load(out / f"{name}.npz", allow_pickle=False) as data:
            texture = load_mesh(out / f"{name}.obj").texture
            assert texture is not None
            np.testing.assert_allclose(texture.numpy(), data["texture"], atol=1 / 255)


def test_results_never_land_on_the_photos(built: list, folder: Path, capsys: pytest.CaptureFixture) -> None:
    before = (folder / "one.png").read_bytes()
    assert run(folder, "--out", folder, "--format", "obj") == 2
    assert "choose another folder" in capsys.readouterr().err
    assert (folder / "one.png").read_bytes() == before

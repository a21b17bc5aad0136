"""`benchmark segmentation` with a network whose mask is known: it covers the right half of every crop."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occface_core.cli import main
from occface_core.pipeline import reconstructor
from occface_core.pipeline.reconstructor import FaceReconstructor
from occface_core.pipeline.segmentation_run import rendered_face

Maker = Callable[..., FaceReconstructor]
BOX = [80.0, 50.0, 150.0, 130.0]


@pytest.fixture
def model(make: Maker, monkeypatch: pytest.MonkeyPatch) -> FaceReconstructor:
    """The made-up reconstructor, also for the command line."""
    made = make(BOX)
    monkeypatch.setattr(reconstructor, "FaceReconstructor", lambda *_, **__: made)
    return made


@pytest.fixture
def sets(model: FaceReconstructor, tmp_path: Path, photo: np.ndarray) -> tuple[Path, Path]:
    """Two folders: true masks equal to the prediction, and masks of the whole rendered face."""
    result = model.reconstruct(photo)
    face = rendered_face(result, model.head, *photo.shape[:2])
    images, masks = tmp_path / "photos", tmp_path / "masks"
    for group, truth in (("agree", result.face_mask > 0), ("open", face)):
        (images / group).mkdir(parents=True)
        (masks / group).mkdir(parents=True)
        Image.fromarray(photo).save(images / group / "one.png")
        Image.fromarray(truth.astype(np.uint8) * 255).save(masks / group / "one.png")
    return images, masks


def run(images: Path, masks: Path, out: Path, *more: object) -> tuple[int, dict]:
    words = ["--images", images, "--masks", masks, "--out", out, *more]
    code = main(["benchmark", "segmentation", *(str(word) for word in words)])
    return code, json.loads((out / "segmentation.json").read_text())


def test_the_rendered_face_holds_the_mask_and_the_covered_half(
    model: FaceReconstructor, photo: np.ndarray
) -> None:
    result = model.reconstruct(photo)
    face = rendered_face(result, model.head, *photo.shape[:2])
    mask = result.face_mask > 0
    assert (mask & ~face).sum() < 0.02 * mask.sum()
    middle = int(result.crop.centre_x)
    assert mask[:, middle + 2 :].sum() == 0
    assert face[:, middle + 2 :].sum() > 0.4 * face.sum()


def test_scores_by_folder(sets: tuple[Path, Path], tmp_path: Path) -> None:
    code, report = run(*sets, tmp_path / "run")
    assert code == 0
    groups = report["summary"]["student"]
    assert set(groups) == {"all", "agree", "open"}
    assert groups["agree"]["iou"]["mean"] > 0.99
    assert groups["open"]["precision"]["mean"] > 0.99
    assert groups["open"]["recall"]["mean"] == pytest.approx(0.5, abs=0.06)
    assert groups["open"]["accuracy"]["mean"] == pytest.approx(groups["open"]["recall"]["mean"], abs=1e-6)
    mean = (groups["agree"]["f1"]["mean"] + groups["open"]["f1"]["mean"]) / 2
    assert groups["all"]["f1"]["mean"] == pytest.approx(mean)


def test_bad_photos_are_named_and_fail_the_run(
    sets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = sets
    (images / "agree" / "broken.png").write_bytes(b"no image")
    Image.new("L", (5000, 40)).save(masks / "agree" / "broken.png")
    Image.new("RGB", (40, 40)).save(images / "open" / "small.png")
    Image.new("L", (20, 20), 255).save(masks / "open" / "small.png")
    Image.new("RGB", (40, 40)).save(images / "open" / "nothing.png")
    code, report = run(images, masks, tmp_path / "run")
    assert code == 3
    assert [name for name, _ in report["unpaired"]] == ["open/nothing.png"]
    assert {name for name, _ in report["failed"]} == {
        "agree/broken.png (student)",
        "open/small.png (student)",
    }
    assert report["summary"]["student"]["all"]["count"] == 2
    with (tmp_path / "run" / "segmentation.csv").open() as stream:
        status = {row["image"]: row["status"] for row in csv.DictReader(stream)}
    assert status["agree/one.png"] == "ok"
    assert status["open/small.png"] == "failed"
    assert "open/nothing.png: no mask" in capsys.readouterr().out


def test_a_given_box_wins_over_detection(
    sets: tuple[Path, Path], model: FaceReconstructor, tmp_path: Path
) -> None:
    seen = model.detector.seen
    box = ",".join(str(v) for v in BOX)
    (tmp_path / "boxes.csv").write_text(f"image,x0,y0,x1,y1\nagree/one.png,{box}\nopen/one.png,{box}\n")
    code, report = run(*sets, tmp_path / "run", "--boxes", tmp_path / "boxes.csv")
    assert (code, report["boxes"]) == (0, True)
    assert model.detector.seen == seen
    # Other than a detected box, a given one is not refined: the head lies a little elsewhere.
    assert 0.8 < report["summary"]["student"]["agree"]["iou"]["mean"] < 0.99

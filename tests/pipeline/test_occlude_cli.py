"""`occlude` on a real portrait: exact masks, seeded pixels, bad files named."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from occface_core.cli import main

BOX = "image,x0,y0,x1,y1\nportrait.png,177,85,268,190\n"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-image's public-domain portrait, its face box, and a file that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.astronaut()).save(folder / "portrait.png")
    (folder / "broken.jpg").write_bytes(b"not an image")
    (folder.parent / "boxes.csv").write_text(BOX)
    return folder


def _run(photos: Path, out: Path, *options: str) -> int:
    return main(
        ["occlude", str(photos), "--out", str(out), "--boxes", str(photos.parent / "boxes.csv"), *options]
    )


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), dtype=np.int16)


def test_covered_photo_has_an_exact_mask_and_repeats(photos: Path, tmp_path: Path) -> None:
    options = ("--family", "random_shape", "--coverage", "0.3", "0.4", "--seed", "4")
    assert _run(photos, tmp_path / "a", *options) == 3  # broken.jpg
    assert _run(photos, tmp_path / "b", *options) == 3
    covered = _pixels(tmp_path / "a" / "portrait.png")
    np.testing.assert_array_equal(covered, _pixels(tmp_path / "b" / "portrait.png"))
    occluder = _pixels(tmp_path / "a" / "portrait_occluder.png")
    visible = _pixels(tmp_path / "a" / "portrait_visible.png")
    changed = np.abs(covered - data.astronaut()).max(2) > 1
    assert changed.any()
    assert not changed[occluder == 0].any()
    assert int(visible[occluder > 250].max()) <= 5  # visible = face * (1 - occluder)
    with (tmp_path / "a" / "manifest.csv").open() as stream:
        rows = {Path(row["image"]).name: row for row in csv.DictReader(stream)}
    assert rows["broken.jpg"]["status"] == "unreadable"
    hidden = float(rows["portrait.png"]["message"].split("hides ")[1].rstrip("%"))
    assert 25 <= hidden <= 45


def test_masks_and_covered_photos_never_share_a_name(photos: Path, tmp_path: Path) -> None:
    inputs, out, boxes = tmp_path / "in", tmp_path / "out", tmp_path / "boxes.csv"
    inputs.mkdir()
    for name in ("p.png", "p_visible.png"):
        (inputs / name).write_bytes((photos / "portrait.png").read_bytes())
    boxes.write_text(BOX.replace("portrait", "p") + BOX.split("\n")[1].replace("portrait", "p_visible"))
    assert main(["occlude", str(inputs), "--out", str(out), "--boxes", str(boxes)]) == 0
    assert len(list(out.glob("*.png"))) == 6
    assert _pixels(out / "p_visible.png").ndim == 2  # the mask of p.png, not the other photo


def test_an_unexpected_error_stays_with_its_picture(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr("occface_core.occlusion.occlude", fail)
    assert _run(photos, tmp_path) == 3
    assert "unexpected MemoryError: too large" in (tmp_path / "manifest.csv").read_text()


def test_an_object_and_wrong_usage(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert _run(photos, tmp_path / "a", "--family", "medical_mask") == 3
    assert (tmp_path / "a" / "portrait_occluder.png").is_file()
    assert _run(photos, tmp_path / "c", "--coverage", "0.9", "0.1") == 2
    assert _run(photos, tmp_path / "c", "--family", "top_hat") == 2
    assert "unknown occlusion family 'top_hat'" in capsys.readouterr().err
    assert _run(photos, photos / "portrait.png" / "out") == 2
    assert not (tmp_path / "c").exists()


def test_results_of_other_pictures_are_never_overwritten(photos: Path, tmp_path: Path) -> None:
    out, boxes = tmp_path / "out", tmp_path / "boxes.csv"
    boxes.write_text(BOX + BOX.split("\n")[1].replace("portrait", "nobody"))
    options = ("--out", str(out), "--boxes", str(boxes), "--family", "random_shape")
    seen = []
    for person in ("anna", "bert", "anna"):
        folder = tmp_path / person
        folder.mkdir(exist_ok=True)
        picture = data.astronaut() if person == "anna" else data.astronaut() // 2
        Image.fromarray(picture).save(folder / "portrait.png")
        assert main(["occlude", str(folder), *options]) == 0
        seen.append(_pixels(out / "portrait.png"))
    covered = {path.name for path in out.glob("*.png") if "_" not in path.name}
    assert covered == {"portrait.png", "portrait-2.png"}
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    rows = (out / "manifest.csv").read_text().splitlines()
    assert "portrait-2: random_shape hides" in next(row for row in rows if "bert" in row)


def test_the_cover_of_a_picture_depends_on_no_other(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both, boxes = tmp_path / "both", tmp_path / "boxes.csv"
    both.mkdir()
    for name in ("first", "portrait"):
        (both / f"{name}.png").write_bytes((photos / "portrait.png").read_bytes())
    box = BOX.split("\n")[1]
    boxes.write_text("\n".join((BOX.strip(), *(box.replace("portrait", n) for n in ("first", "gone")))))
    made = {}
    for out, given, seed in (("a", both, "3"), ("b", both / "portrait.png", "3"), ("c", both, "4")):
        words = ["occlude", str(given), "--out", str(tmp_path / out), "--boxes", str(boxes), "--seed", seed]
        assert main(words) == 0
        made[out] = _pixels(tmp_path / out / "portrait.png")
    np.testing.assert_array_equal(made["a"], made["b"])
    assert (made["a"] != made["c"]).any()
    assert (made["a"] != _pixels(tmp_path / "a" / "first.png")).any()
    assert "boxes belong to no picture that was given: gone.png" in caplog.text

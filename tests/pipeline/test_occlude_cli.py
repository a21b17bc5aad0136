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


def test_an_object_and_wrong_usage(photos: Path, tmp_path: Path) -> None:
    assert _run(photos, tmp_path / "a", "--family", "medical_mask") == 3
    assert (tmp_path / "a" / "portrait_occluder.png").is_file()
    assert _run(photos, tmp_path / "c", "--coverage", "0.9", "0.1") == 2

"""Masks beside photos: how they are paired, what is refused, and scores known by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occface_core.errors import DataError, ImageError
from occface_core.evaluation.segmentation_sets import (
    MaskedPhoto,
    SegmentationRow,
    markdown,
    pair_masks,
    read_mask,
    score,
    summarise,
)


def picture(path: Path, size: tuple[int, int] = (20, 16), white: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 255 if white else 1).save(path)


def test_masks_are_found_by_folder_and_name(tmp_path: Path) -> None:
    for name in ("a/one.jpg", "a/two.png", "b/one.jpg", "b/lonely.jpg"):
        picture(tmp_path / "photos" / name)
    for name in ("a/one.png", "a/two_mask.png", "b/one_visible_skin_mask.png", "b/orphan.png"):
        picture(tmp_path / "masks" / name)
    pairs, bad = pair_masks(tmp_path / "photos", tmp_path / "masks")
    assert [(p.name, p.mask.name, p.group) for p in pairs] == [
        ("a/one.jpg", "one.png", "a"),
        ("a/two.png", "two_mask.png", "a"),
        ("b/one.jpg", "one_visible_skin_mask.png", "b"),
    ]
    assert [name for name, _ in bad] == ["b/lonely.jpg", "b/orphan.png"]
    assert "no mask lonely.png" in bad[0][1]


@pytest.mark.parametrize("masks", ["", "masks"])
def test_masks_in_or_under_the_photos_folder_are_no_photos(tmp_path: Path, masks: str) -> None:
    picture(tmp_path / "one.jpg")
    picture(tmp_path / masks / "one_mask.png")
    picture(tmp_path / "two.png")  # as `occface occlude` leaves it
    picture(tmp_path / masks / "two_visible.png")
    picture(tmp_path / "two_occluder.png")
    pairs, bad = pair_masks(tmp_path, tmp_path / masks)
    assert [p.name for p in pairs] == ["one.jpg", "two.png"]
    assert bad == []


def test_nothing_to_measure_is_an_error(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "one.jpg")
    picture(tmp_path / "masks" / "two.png")
    with pytest.raises(DataError, match="no photo in"):
        pair_masks(tmp_path / "photos", tmp_path / "masks")
    with pytest.raises(DataError, match="not a folder"):
        pair_masks(tmp_path / "photos", tmp_path / "nowhere")


def test_unusable_masks_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "ok.png")
    picture(tmp_path / "dark.png", white=False)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    assert read_mask(tmp_path / "ok.png", 16, 20).all()
    with pytest.raises(DataError, match="20x16 px and its photo 16x20"):
        read_mask(tmp_path / "ok.png", 20, 16)
    with pytest.raises(DataError, match=r"no white pixel \(brightest 1 of 255\)"):
        read_mask(tmp_path / "dark.png", 16, 20)
    with pytest.raises(ImageError):
        read_mask(tmp_path / "broken.png", 16, 20)


def test_scores_count_inside_the_face_only() -> None:
    region = np.zeros((4, 8), bool)
    region[:, :4] = True  # 16 pixels of face
    truth, predicted = np.zeros_like(region), np.zeros_like(region)
    truth[:, 0:3] = truth[:, 6:] = True  # 12 inside, 8 outside
    predicted[:, 1:4] = True  # tp 8, fp 4, fn 4, tn 0
    scores = score(predicted, truth, region)
    assert scores["accuracy"] == pytest.approx(8 / 16)
    assert scores["precision"] == scores["recall"] == scores["f1"] == pytest.approx(2 / 3)
    assert scores["iou"] == pytest.approx(8 / 16)
    assert scores["photo_iou"] == pytest.approx(8 / 24)
    with pytest.raises(DataError, match="outside the photo"):
        score(predicted, truth, np.zeros_like(region))


def test_photos_weigh_alike_and_failures_are_counted() -> None:
    def row(name: str, value: float | None) -> SegmentationRow:
        photo = MaskedPhoto(name, Path(name), Path(name))
        names = ("iou", "f1", "precision", "recall", "accuracy", "photo_iou")
        if value is None:
            return SegmentationRow(photo, message="no face was found")
        return SegmentationRow(photo, dict.fromkeys(names, value))

    summary = summarise([row("a/1.png", 0.5), row("a/2.png", 1.0), row("b/3.png", None)])
    assert summary["all"]["iou"]["mean"] == pytest.approx(0.75)
    assert (summary["all"]["count"], summary["all"]["failed"]) == (2, 1)
    assert (summary["b"]["count"], summary["b"]["failed"]) == (0, 1)
    lines = markdown({"student": summary})
    assert "| student | a | 2 | 0 | 75.0 |" in "\n".join(lines)
    assert "| student | b | 0 | 1 | - |" in "\n".join(lines)

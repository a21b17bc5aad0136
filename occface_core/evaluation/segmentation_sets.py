"""Photos with masks of the visible face beside them: pairing, reading, scoring and averaging.

A mask has the photo's size (upright) and is white (128 or more of 255) where face skin is visible, black on
occluders, hair and background. Scores follow FOCUS (Li et al., CVPR 2023, `util/evaluation.py`): only pixels
of the rendered face count, face is the positive class, areas are at least one pixel, and every photo weighs
the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from occface_core.data.images import SUFFIXES, read_image
from occface_core.errors import DataError
from occface_core.evaluation.metrics import bootstrap_interval, segmentation_scores

SCORES = ("iou", "f1", "precision", "recall", "accuracy")
WHOLE = "photo_iou"  # over all pixels of the photo: a face drawn too small does not flatter it
WHITE = 128
# After the photo's stem: nothing, a common one, `occface occlude`'s, FOCUS's.
MASK_TAGS = ("", "_mask", "_visible", "_visible_skin_mask")
_NO_MASK = "_occluder"  # what `occface occlude` writes besides
Failure = tuple[str, str]


@dataclass(frozen=True)
class MaskedPhoto:
    """A photo and its mask. `name` is the photo's path in the set; its first folders are its group."""

    name: str
    image: Path
    mask: Path

    @property
    def group(self) -> str:
        """The folder the photo lies in, "." at the top."""
        return Path(self.name).parent.as_posix()


@dataclass
class SegmentationRow:
    """One photo's outcome: scores, or why there are none."""

    photo: MaskedPhoto
    scores: dict[str, float] = field(default_factory=dict)
    message: str = ""


def pair_masks(images: Path, masks: Path) -> tuple[list[MaskedPhoto], list[Failure]]:
    """Every photo with its mask, and (name, reason) of photos without one and masks without a photo.

    Masks lie in the same sub-folders and are called like their photo, or like it with `_mask`, `_visible`
    (`occface occlude`) or `_visible_skin_mask` (FOCUS) behind the stem; any image format. Both may lie in one
    folder.

    Raises:
        DataError: a folder is missing, or not one pair is in them.
    """
    for folder in (images, masks):
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder")
    mask_files = {p.relative_to(masks).with_suffix("").as_posix(): p for p in _pictures(masks)}
    together = images.resolve() == masks.resolve()
    inside = masks.resolve()
    photos = []
    for path in _pictures(images):
        belongs_to_masks = not together and inside in path.resolve().parents
        if not (belongs_to_masks or (together and path.stem.endswith(MASK_TAGS[1:]))):
            photos.append(path)
    pairs, bad, used = list[MaskedPhoto](), list[Failure](), set[str]()
    for path in photos:
        name = path.relative_to(images)
        keys = [name.with_suffix("").as_posix() + tag for tag in MASK_TAGS[1 if together else 0 :]]
        key = next((k for k in keys if k in mask_files), None)
        if key is None:
            bad.append((name.as_posix(), f"no mask {Path(keys[0]).name}.png for it in {masks}"))
            continue
        used.add(key)
        pairs.append(MaskedPhoto(name.as_posix(), path, mask_files[key]))
    tagged = {k for k in mask_files if not together or k.endswith(MASK_TAGS[1:])}
    bad += [
        (mask_files[k].relative_to(masks).as_posix(), "no photo for this mask") for k in sorted(tagged - used)
    ]
    if not pairs:
        raise DataError(
            f"no photo in {images} has a mask in {masks}; it is called like its photo, or with _mask behind"
        )
    return pairs, bad


def _pictures(folder: Path) -> list[Path]:
    found = (
        p
        for p in sorted(folder.rglob("*"))
        if p.suffix.lower() in SUFFIXES and not p.stem.endswith(_NO_MASK) and p.is_file()
    )
    return [p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def read_mask(path: Path, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """A mask as booleans.

    Raises:
        ImageError: it cannot be read.
        DataError: another size than the photo's, or nothing in it is white.
    """
    values = read_image(path).max(axis=2)
    if values.shape != (height, width):
        size = f"{values.shape[1]}x{values.shape[0]}"
        raise DataError(f"{path} is {size} px and its photo {width}x{height}; both must agree (upright)")
    mask = values >= WHITE
    if not mask.any():
        raise DataError(f"{path} has no white pixel (brightest {values.max()} of 255); white = visible face")
    return mask


def score(
    predicted: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"], region: Bool[np.ndarray, "H W"]
) -> dict[str, float]:
    """FOCUS's scores inside the rendered face `region`, and the IoU over the whole photo.

    Raises:
        DataError: the rendered face covers no pixel of the photo.
    """
    if not region.any():
        raise DataError("the fitted face lies outside the photo")
    p, t, r = (torch.from_numpy(np.ascontiguousarray(x))[None] for x in (predicted, truth, region))
    inside, whole = segmentation_scores(p, t, r), segmentation_scores(p, t, torch.ones_like(r))
    return {**{name: float(inside[name]) for name in SCORES}, WHOLE: float(whole["iou"])}


def summarise(rows: Sequence[SegmentationRow]) -> dict[str, dict]:
    """Means with 95 % bootstrap intervals over all photos ("all") and of each folder that holds some."""
    groups = {"all": list(rows)}
    names = sorted({row.photo.group for row in rows})
    groups |= {name: [r for r in rows if r.photo.group == name] for name in names} if len(names) > 1 else {}
    return {name: _means(members) for name, members in groups.items()}


def _means(rows: Sequence[SegmentationRow]) -> dict:
    measured = [row.scores for row in rows if row.scores]
    rng = np.random.default_rng(0)
    result: dict = {"count": len(measured), "failed": len(rows) - len(measured)}
    for name in (*SCORES, WHOLE):
        values: Float[np.ndarray, " N"] = np.array([scores[name] for scores in measured])
        mean = float(values.mean()) if len(values) else float("nan")
        result[name] = {"mean": mean, "ci95": bootstrap_interval(values, rng=rng)}
    return result


def markdown(summaries: Mapping[str, Mapping[str, dict]]) -> list[str]:
    """One table: model, folder, photos, scores in %."""
    titles = ["IoU", "F1", *SCORES[2:], "IoU, whole photo"]
    lines = [
        "| model | folder | photos | failed | " + " | ".join(titles) + " |",
        "|---|---|---|---|" + "---|" * len(titles),
    ]
    for model, groups in summaries.items():
        for group, row in groups.items():
            cells = [_cell(row[name]) for name in (*SCORES, WHOLE)]
            lines.append(
                f"| {model} | {group} | {row['count']} | {row['failed']} | " + " | ".join(cells) + " |"
            )
    return lines


def _cell(entry: Mapping) -> str:
    return "-" if np.isnan(entry["mean"]) else f"{100 * entry['mean']:.1f}"

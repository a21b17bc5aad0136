"""The photos a model does worst on: names and figures; pictures only when the photos are given for it."""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from occface_core.data.pixels import to_bytes
from occface_core.evaluation.report_page import Block, Heading, Picture, Table, Text
from occface_core.evaluation.report_runs import OcclusionRun
from occface_core.evaluation.twins import EvaluationTwins, TwinSettings

# Name of a photo -> its clean and its covered crop, or None when it is not there.
Crops = Callable[[str], tuple[UInt8[np.ndarray, "S S 3"], UInt8[np.ndarray, "S S 3"]] | None]
_SIDE, _GAP = 168, 6
_PER_ROW = 4


def worst_cases(run: OcclusionRun, count: int, crops: Crops | None) -> list[Block]:
    """Tables of the worst covered photos of each compared model, and their pictures when there are crops."""
    names = run.texts.get("name", [])
    blocks: list[Block] = []
    if not names:
        return blocks
    compared = [model for model in run.models if model != run.reference] or run.models
    for model in compared:
        metric = next((m for m in ("nme", "nme68", "shape_mm", "drift_mm")
                       if len(run.column(model, "occluded", m))), None)  # fmt: skip
        if metric is None:
            continue
        values = run.values[f"{model}/occluded/{metric}"]
        order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), kind="stable")
        order = order[: min(count, int(np.isfinite(values).sum()))]
        blocks.append(Heading(f"{model}, by {_title(metric)} on covered photos", 4))
        blocks.append(_table(run, model, order))
        if crops is not None:
            blocks += _pictures(run, model, order, crops)
    return blocks


def _table(run: OcclusionRun, model: str, order: Sequence[int] | np.ndarray) -> Table:
    columns = [("covered [%]", "coverage", 100.0, 0)]
    for name in dict.fromkeys((model, run.reference)):
        for metric, factor, digits in (("nme", 100.0, 2), ("nme68", 100.0, 2), ("shape_mm", 1.0, 2)):
            if metric == "nme68" and f"{name}/occluded/nme" in run.values:
                continue
            columns += [
                (f"{name}: {_title(metric)}, {word}", f"{name}/{kind}/{metric}", factor, digits)
                for kind, word in (("clean", "clean"), ("occluded", "covered"))
                if f"{name}/{kind}/{metric}" in run.values and not (name == run.reference and kind == "clean")
            ]
    rows = []
    for i in order:
        cells = [run.texts["name"][i], run.texts.get("family", [""] * (i + 1))[i]]
        for _, key, factor, digits in columns:
            value = factor * run.values[key][i] if key in run.values else math.nan
            cells.append("-" if math.isnan(value) else f"{value:.{digits}f}")
        rows.append(tuple(cells))
    return Table(("photo", "family", *(title for title, *_ in columns)), tuple(rows))


def _title(metric: str) -> str:
    return {"nme": "NME %", "nme68": "NME (68) %", "shape_mm": "shape mm", "drift_mm": "drift mm"}[metric]


def _pictures(run: OcclusionRun, model: str, order: Sequence[int] | np.ndarray, crops: Crops) -> list[Block]:
    pairs = [pair for i in order if (pair := crops(run.texts["name"][i])) is not None]
    if not pairs:
        return [Text("The photos given are not those of this run, so no pictures are shown.")]
    tiles = [np.concatenate([_tile(clean), _tile(covered)], axis=1) for clean, covered in pairs]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % min(_PER_ROW, len(tiles)))
    width = min(_PER_ROW, len(tiles))
    rows = [np.concatenate(tiles[k : k + width], axis=1) for k in range(0, len(tiles), width)]
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(stream, format="JPEG", quality=85)
    safe = "".join(c if c.isalnum() else "_" for c in f"{run.label}_{model}")
    caption = "The photos of the table in its order, row by row: clean and covered, as the networks see them."
    return [Picture(f"worst_{safe}.jpg", stream.getvalue(), caption)]


def _tile(crop: UInt8[np.ndarray, "S S 3"]) -> UInt8[np.ndarray, "T T 3"]:
    tile = np.full((_SIDE + _GAP, _SIDE + _GAP, 3), 255, np.uint8)
    tile[:_SIDE, :_SIDE] = np.asarray(Image.fromarray(crop).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
    return tile


def crops_of_run(run: OcclusionRun, images: Path, split: str, cache: Path) -> Crops:
    """Crops of the photos of a run, covered exactly as in it, from the photo set it was made from.

    The twins of another set, or of other settings, have another identifier and give no pictures.

    Raises:
        DataError: the photos cannot be read.
    """
    from occface_core.data.packed import cached_pack
    from occface_core.data.photos import load_photo_set
    from occface_core.morphable.head_model import HeadModel

    photos = load_photo_set(images, split=split)
    packed = cached_pack(photos, cache, limit=_limit(run, len(photos)))
    head = HeadModel.load()
    mean = head.landmarks(head.v_template[None], "468")[0]
    stored = dict(run.settings.get("settings", {}))
    stored["coverage"] = tuple(stored.get("coverage", (0.2, 0.5)))
    twins = EvaluationTwins(packed, TwinSettings(**stored), mean_points=mean, batch_size=1)
    return crops_of_twins(twins) if twins.identifier == run.settings.get("twins") else lambda name: None


def crops_of_twins(twins: EvaluationTwins) -> Crops:
    """Crops of photos by their name among these twins."""
    place = {name: i for i, name in enumerate(twins.packed.names)}

    def crops(name: str) -> tuple[np.ndarray, np.ndarray] | None:
        if name not in place:
            return None
        step, row = divmod(place[name], twins.batch_size)
        batch = twins[step]
        return to_bytes(batch.clean[row]), to_bytes(batch.occluded[row])

    return crops


def _limit(run: OcclusionRun, available: int) -> int | None:
    """What `--limit` must have been: unreadable photos counted against it, those without landmarks not."""
    skipped = [reason for _, reason in run.summary.get("left_out", []) if reason != "no landmarks"]
    asked = int(run.settings.get("photos", 0)) + len(skipped)
    return asked if 0 < asked < available else None

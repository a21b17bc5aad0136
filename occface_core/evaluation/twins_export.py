"""Write the twins of a benchmark out, for models that run elsewhere. Layout: docs/external_models.md."""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from occface_core.data.pixels import to_bytes
from occface_core.errors import ConfigError
from occface_core.evaluation.occlusion_rows import kind_of
from occface_core.evaluation.twins import EvaluationTwins, views_of

COLUMNS = ("name", "file", "family", "kind", "coverage", "size")


def export_twins(
    twins: EvaluationTwins, folder: Path, *, progress: Callable[[Iterable], Iterable] = iter
) -> None:
    """Pictures and masks as PNG, a folder per view; `twins.csv`, a line per photo; `twins.json`, what it is.

    `twins.json` is written last: where it is, the export is whole.

    Raises:
        ConfigError: the folder already holds other twins.
    """
    about = folder / "twins.json"
    if about.is_file() and json.loads(about.read_text()).get("twins") != twins.identifier:
        raise ConfigError(f"{folder} already holds other twins; choose another folder or delete it")
    for name in (*twins.settings.views, "mask_clean", "mask_occluded"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / "twins.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        for step in progress(range(len(twins))):
            batch = twins[step]
            pictures = {view: to_bytes(images) for view, images in views_of(batch).items()}
            masks = {"mask_clean": batch.face_mask, "mask_occluded": batch.visible}
            pictures |= {name: to_bytes(mask.expand(-1, 3, -1, -1))[..., 0] for name, mask in masks.items()}
            for i, row in enumerate(batch.index.tolist()):
                # Numbers, not names: a photo's name may hold folders.
                file = f"{row:06d}.png"
                for name, stack in pictures.items():
                    _write_png(folder / name / file, stack[i])
                family, share = batch.family[i], round(float(batch.coverage[i]), 6)
                table.writerow(
                    [twins.packed.names[row], file, family, kind_of(family), share, twins.settings.size]
                )
    content = {
        "twins": twins.identifier,
        "photos": len(twins.packed),
        "views": list(twins.settings.views),
        **asdict(twins.settings),
    }
    about.write_text(json.dumps(content, indent=2) + "\n")


def _write_png(path: Path, pixels: UInt8[np.ndarray, "S S *C"]) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path)

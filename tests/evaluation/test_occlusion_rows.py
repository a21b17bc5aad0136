"""Sums over photos, the table of photos, and unfinished runs."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.errors import ConfigError, DataError
from occface_core.evaluation.metrics import shape_spread_mm
from occface_core.evaluation.occlusion_rows import PartialRun, Rows, ShapeSums

SETTINGS = {"seed": 0, "models": {"student": "abc"}, "coverage": (0.2, 0.5)}


def test_running_sums_give_the_spread_of_all_photos(generator: torch.Generator) -> None:
    verts = 0.1 + 0.002 * torch.randn(9, 20, 3, generator=generator)
    errors = torch.rand(9, 30, generator=generator)
    sums = ShapeSums()
    for part in (slice(0, 4), slice(4, 4), slice(4, 9)):
        sums.add(verts[part], errors[part])
    assert sums.spread_mm == pytest.approx(shape_spread_mm(verts, torch.ones(20)), rel=1e-4)
    np.testing.assert_allclose(sums.errors, errors.sum(0).numpy(), rtol=1e-5)
    again = ShapeSums.from_arrays(sums.arrays())
    assert again.spread_mm == sums.spread_mm
    assert math.isnan(ShapeSums().spread_mm)


def test_a_run_goes_on_after_the_last_whole_batch(tmp_path: Path) -> None:
    first, sums = PartialRun(tmp_path, SETTINGS), {"student/clean": ShapeSums()}
    assert first.resume() == (Rows(), 0)
    for step in range(2):
        sums["student/clean"].add(torch.full((1, 3, 3), 0.1 * step), None)
        first.append(step, {"index": [step], "student/clean/nme": [0.1 / 3 + step]}, sums)
    # Killed between the line and the sums of batch 2, in the middle of the line of batch 3.
    with (tmp_path / "partial.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": 2, "columns": {"index": [2]}}) + '\n{"step": 3, "col')
    rows, done = PartialRun(tmp_path, SETTINGS).resume()
    assert done == 2
    assert rows.columns == {"index": [0, 1], "student/clean/nme": [0.1 / 3, 0.1 / 3 + 1]}
    assert rows.sums["student/clean"].spread_mm == sums["student/clean"].spread_mm
    assert len((tmp_path / "partial.jsonl").read_text().splitlines()) == 2


def test_other_settings_do_not_mix(tmp_path: Path) -> None:
    run = PartialRun(tmp_path, SETTINGS)
    run.resume()
    run.append(0, {"index": [0]}, {})
    with pytest.raises(ConfigError, match=r"unfinished run with other settings.*seed: 0 there, 1 now"):
        PartialRun(tmp_path, {**SETTINGS, "seed": 1}).resume()
    assert PartialRun(tmp_path, {**SETTINGS, "seed": 1}, restart=True).resume()[1] == 0
    run.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["settings.json"]


@pytest.mark.parametrize("file", ["partial.jsonl", "partial.npz", "settings.json"])
def test_damage_is_named(tmp_path: Path, file: str) -> None:
    run = PartialRun(tmp_path, SETTINGS)
    run.resume()
    run.append(0, {"index": [0]}, {})
    (tmp_path / file).write_text("{broken")
    with pytest.raises(DataError, match="--restart"):
        PartialRun(tmp_path, SETTINGS).resume()


def test_one_line_per_photo(tmp_path: Path) -> None:
    rows = Rows(labels=["26_1_2", "", "studio"])
    rows.add("index", [0, 2])
    rows.add("family", ["hand", "blur"])
    rows.add("coverage", torch.tensor([0.25, 0.5]))
    rows.add("student/occluded/nme", [0.02, math.nan])
    rows.write_csv(tmp_path / "rows.csv", ["a.jpg", "b.jpg", "c, d.jpg"])
    with (tmp_path / "rows.csv").open(newline="") as stream:
        first, second = csv.DictReader(stream)
    assert first == {
        "name": "a.jpg",
        "family": "hand",
        "kind": "empirical",
        "coverage": "0.25",
        "label": "26_1_2",
        "age": "18-29",
        "gender": "female",
        "ethnicity": "Asian",
        "student/occluded/nme": "0.02",
    }
    assert second["name"] == "c, d.jpg"
    assert (second["label"], second["age"], second["student/occluded/nme"]) == ("studio", "", "")

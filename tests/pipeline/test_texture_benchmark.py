"""Textures benchmark: right colours are right, wrong ones wrong, and the command writes what it measured."""

import json
from pathlib import Path

import numpy as np
import pytest

from occface_core.cli import main
from occface_core.pipeline.texels import SeenTexture
from occface_core.pipeline.texture_benchmark import MEASURES, WRONG, TextureErrors, compared, summarised

SIZE = 64


def test_errors_are_told_apart_by_what_is_seen() -> None:
    truth = SeenTexture(np.full((SIZE, SIZE, 3), 0.5, np.float32), np.ones((SIZE, SIZE), np.float32))
    seen = np.ones((SIZE, SIZE), np.float32)
    seen[32:] = 0
    made = truth.colour.copy()
    made[32:] += 0.2
    made[:, :16] += 5.0  # no skin: not asked for
    skin = np.ones((SIZE, SIZE), bool)
    skin[:, :24] = False
    found = compared(made, truth, seen, skin)
    assert found["hidden"] == pytest.approx(0.2, abs=0.02)
    assert found["seen"] < 0.02
    assert found["hidden_wrong"] > 0.9 > found["all_wrong"] > 0.4
    unseen = SeenTexture(truth.colour, np.zeros((SIZE, SIZE), np.float32))
    assert all(np.isnan(value) for value in compared(made, unseen, seen, skin).values())


def test_photos_without_a_measure_do_not_spoil_its_mean() -> None:
    whole, part = dict.fromkeys(MEASURES, 0.1), dict.fromkeys(MEASURES, 0.3) | {"hidden": float("nan")}
    table = summarised([TextureErrors("cup", {"prior": whole}), TextureErrors("hand", {"prior": part})])
    assert list(table) == ["all families", "cup", "hand"]
    assert table["all families"]["prior"]["hidden"] == pytest.approx(0.1)
    assert table["all families"]["prior"]["seen"] == pytest.approx(0.2)
    assert table["all families"]["prior"]["photos"] == 2


def test_the_command_writes_what_it_measured(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["benchmark", "textures", "--images", str(photo_folder), "--split", "", "--limit", "2"]
    words += ["--family", "medical_mask", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert main([*words, "--leak", "3"]) == 0
    report = json.loads((tmp_path / "out" / "textures.json").read_text())
    assert report["photos"] == 2
    rows = report["summary"]["medical_mask"]
    assert set(rows) == {"prior", "nearby", "prior+3", "nearby+3"}
    for row in rows.values():
        assert 0 < row["hidden"] < 0.5
        assert row["seen"] < row["hidden"]
    assert len({row["hidden"] for row in rows.values()}) == 4
    assert "| medical_mask | 2 | prior |" in (tmp_path / "out" / "textures.md").read_text()
    assert main([*words, "--leak", "0"]) == 2
    assert f"{WRONG}" in (tmp_path / "out" / "textures.md").read_text()

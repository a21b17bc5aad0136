"""The log, table and events of a run, also of one that was killed and goes on."""

import csv
import json
from pathlib import Path

import pytest

from occface_core.distillation import curves
from occface_core.distillation.curves import Curves, restore_rows


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "losses.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def row(step: int, **more: float) -> dict[str, float]:
    return {"step": step, "seconds": step / 2, "total": 1.0 / step, **more}


def test_rows_after_the_checkpoint_and_cut_rows_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "losses.jsonl"
    rows = [{"step": step, "total": 1.0 / step} for step in (1, 2, 3, 4)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 5, "to')
    assert restore_rows(log, 2) == rows[:2]
    assert [json.loads(line) for line in log.read_text().splitlines()] == rows[:2]


def test_a_run_without_a_log_starts_an_empty_one(tmp_path: Path) -> None:
    assert restore_rows(tmp_path / "losses.jsonl", 7) == []


def test_the_table_follows_the_log_and_grows_columns(tmp_path: Path) -> None:
    written = Curves(tmp_path)
    for item in (row(1, landmark=3.0), row(2, landmark=2.0), row(3, landmark=1.0, photometric=0.5)):
        written.add(item)
        assert len(table(tmp_path)) == len(logged(tmp_path)) == item["step"]
    written.close()
    assert list(table(tmp_path)[0]) == ["step", "seconds", "total", "landmark", "photometric"]
    assert [r["photometric"] for r in table(tmp_path)] == ["", "", "0.5"]
    assert logged(tmp_path) == written.rows


def test_resuming_cuts_log_and_table_to_the_checkpoint(tmp_path: Path) -> None:
    first = Curves(tmp_path)
    for step in (1, 2, 3, 4):
        first.add(row(step))
    second = Curves(tmp_path)
    second.resume(2)
    assert [int(r["step"]) for r in table(tmp_path)] == [r["step"] for r in logged(tmp_path)] == [1, 2]
    second.add(row(3, total=9.0))
    assert [float(r["total"]) for r in table(tmp_path)] == [1.0, 0.5, 9.0]


def test_other_processes_keep_rows_but_write_nothing(tmp_path: Path) -> None:
    quiet = Curves(tmp_path, active=False)
    quiet.add(row(1))
    quiet.resume(0)
    quiet.close()
    assert quiet.rows == [row(1)]
    assert list(tmp_path.iterdir()) == []


def test_without_tensorboard_there_are_no_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "_event_writer", lambda folder: None)
    written = Curves(tmp_path)
    written.add(row(1))
    written.close()
    assert not (tmp_path / "tensorboard").exists()
    assert len(table(tmp_path)) == 1


def events(folder: Path, tag: str) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    return {event.step: event.value for event in reader.Scalars(tag)}


def test_tensorboard_tells_the_same_story(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="optional: event files for TensorBoard")
    first = Curves(tmp_path)
    for step in (1, 2, 3, 4):
        first.add(row(step, landmark=float(step)))
    first.close()
    assert events(tmp_path, "loss/landmark") == {1: 1, 2: 2, 3: 3, 4: 4}
    second = Curves(tmp_path)
    second.resume(2)
    second.add(row(3, landmark=30.0))
    second.close()
    assert events(tmp_path, "loss/landmark") == {1: 1, 2: 2, 3: 30}
    assert set(events(tmp_path, "total")) == {1, 2, 3}

"""The log of a run that was killed and goes on."""

import json
from pathlib import Path

from occface_core.distillation.state import restore_history


def test_rows_after_the_checkpoint_and_cut_rows_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "losses.jsonl"
    rows = [{"step": step, "total": 1.0 / step} for step in (1, 2, 3, 4)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 5, "to')
    assert restore_history(log, 2) == rows[:2]
    assert [json.loads(line) for line in log.read_text().splitlines()] == rows[:2]


def test_a_run_without_a_log_starts_an_empty_one(tmp_path: Path) -> None:
    assert restore_history(tmp_path / "losses.jsonl", 7) == []

"""The curves of a run: losses.jsonl, losses.csv and, where TensorBoard is installed, its event files.

losses.jsonl is the record; the others are made from its rows. A resumed run cuts the record back to its
checkpoint and writes the others anew, so all three always tell the same story.
"""

import csv
import json
import shutil
import time
from pathlib import Path
from typing import Any

Row = dict[str, float]
JSON_LINES, TABLE, EVENTS = "losses.jsonl", "losses.csv", "tensorboard"
_FIRST = ("step", "seconds", "images_per_s", "total", "lr")


def restore_rows(path: Path, step: int) -> list[Row]:
    """Logged rows up to `step`, and the log cut back to them.

    A kill loses the steps since the last checkpoint; they are run and logged again, so their first rows must
    go. A row that the kill cut short goes too.
    """
    rows: list[Row] = []
    if not path.is_file():
        return rows
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["step"] <= step:
            rows.append(row)
    _write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))
    return rows


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _event_writer(folder: Path) -> Any | None:
    """TensorBoard's writer, or None without the package: it is a convenience, not a requirement."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


class Curves:
    """Writes the rows of one run; only the first process of a group has one that writes.

    Args:
        folder: run folder.
        active: False keeps rows in memory and writes nothing.
    """

    def __init__(self, folder: Path, *, active: bool = True) -> None:
        self.folder, self.active = folder, active
        self.rows: list[Row] = []
        self._columns: list[str] = []
        self._events: Any | None = None
        self._opened = False

    def resume(self, step: int) -> None:
        """Take over the rows up to `step`; whatever was logged later is dropped from every file."""
        if self.active:
            self.rows = restore_rows(self.folder / JSON_LINES, step)
            if self.rows:
                self._open()

    def add(self, row: Row) -> None:
        """Append one row."""
        if self.active:
            self._open()
            with (self.folder / JSON_LINES).open("a") as stream:
                stream.write(json.dumps(row) + "\n")
        self.rows.append(row)
        if self.active:
            self._add_to_table(row)
            self._add_event(row)

    def close(self) -> None:
        """Flush the event files."""
        if self._events is not None:
            self._events.close()
            self._events, self._opened = None, False

    def _open(self) -> None:
        if self._opened:
            return
        self._opened = True
        self._write_table()
        # Event files cannot be cut, but the rows they came from are few: write them again.
        shutil.rmtree(self.folder / EVENTS, ignore_errors=True)
        self._events = _event_writer(self.folder / EVENTS)
        for row in self.rows:
            self._add_event(row)

    def _write_table(self) -> None:
        names = dict.fromkeys(name for row in self.rows for name in row)
        self._columns = [*(n for n in _FIRST if n in names), *(n for n in names if n not in _FIRST)]
        temporary = self.folder / (TABLE + ".tmp")
        with temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self._columns)
            writer.writeheader()
            writer.writerows(self.rows)
        temporary.replace(self.folder / TABLE)

    def _add_to_table(self, row: Row) -> None:
        if not set(row) <= set(self._columns):  # a term that starts later (photometric, focus's two steps)
            self._write_table()
            return
        with (self.folder / TABLE).open("a", newline="") as stream:
            csv.DictWriter(stream, self._columns).writerow(row)

    def _add_event(self, row: Row) -> None:
        if self._events is None:
            return
        # Run time instead of the clock on the wall: a resumed run has no gap.
        moment = row.get("seconds", time.time())
        for name, value in row.items():
            if name not in ("step", "seconds"):
                tag = name if name in _FIRST else f"loss/{name}"
                self._events.add_scalar(tag, value, int(row["step"]), walltime=moment)

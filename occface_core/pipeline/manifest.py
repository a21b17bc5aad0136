"""`manifest.csv`: one line per picture, kept over several runs into the same folder."""

import csv
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from occface_core.errors import ConfigError, ImageError, NoFaceError

COLUMNS = ("image", "status", "message")
OK, NO_FACE, UNREADABLE, ERROR = STATUSES = ("ok", "no_face", "unreadable", "error")
# Often enough that a killed run loses little, seldom enough that a long list costs nothing.
_SECONDS_BETWEEN_WRITES = 5.0


@dataclass(frozen=True)
class Row:
    """One picture's outcome."""

    image: str
    status: str
    message: str = ""


def status_of(error: Exception) -> str:
    """The status word for what went wrong with a picture."""
    if isinstance(error, NoFaceError):
        return NO_FACE
    return UNREADABLE if isinstance(error, ImageError) else ERROR


def make_folder(out: Path) -> None:
    """Make the folder for results and see that files can be written there, before any work is done.

    Raises:
        ConfigError: They cannot.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise ConfigError(
            f"--out '{out}' is no folder that can be written to ({error.strerror}); choose another one"
        ) from error


class Manifest:
    """The table of all runs into one folder; rows of this run replace older ones of the same picture.

    Raises:
        ConfigError: The file exists and is not such a table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, Row] = {row.image: row for row in _read(path)}
        self._this_run: dict[str, str] = {}
        self._written = time.monotonic()

    def __iter__(self) -> Iterator[Row]:
        """All rows, of earlier runs too."""
        return iter(list(self._rows.values()))

    def earlier(self, image: str) -> Row | None:
        """What is on record for a picture."""
        return self._rows.get(image)

    def add(self, row: Row) -> None:
        """Record a picture's outcome; the file follows within seconds."""
        self._rows[row.image] = row
        self._this_run[row.image] = row.status
        if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
            self.write()

    def counts(self) -> dict[str, int]:
        """Pictures of this run by status."""
        counted = Counter(self._this_run.values())
        return {status: counted[status] for status in STATUSES}

    def write(self) -> None:
        """Write the whole table, in one step.

        Raises:
            ConfigError: The disk is full or the folder is gone.
        """
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            with partial.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerow(COLUMNS)
                writer.writerows((row.image, row.status, row.message) for row in self._rows.values())
            os.replace(partial, self.path)
        except OSError as error:
            raise ConfigError(f"'{self.path}' cannot be written ({error.strerror})") from error
        self._written = time.monotonic()


def _read(path: Path) -> Iterable[Row]:
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ConfigError(f"'{path}' is not a manifest of this program; choose another --out folder")
            return [Row(row["image"], row["status"], row["message"] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"'{path}' cannot be read ({error}); delete it or choose another --out folder"
        ) from error

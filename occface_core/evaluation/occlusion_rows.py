"""Results of the occlusion benchmark photo by photo, and how a run survives being killed.

A run appends one line per batch to `partial.jsonl` and then replaces `partial.npz` (sums over photos). The
sums say how many batches they hold, so that lines written after them are dropped on resuming: the rest of the
run then adds the same numbers in the same order, and the result is the same to the last bit.
"""

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from occface_core.data.archives import read_arrays
from occface_core.data.partial import refuse_other_settings
from occface_core.errors import DataError
from occface_core.evaluation.groups import appearance
from occface_core.evaluation.metrics import MM
from occface_core.occlusion.api import EMPIRICAL, IRRATIONAL

PHOTO_COLUMNS = ("index", "family", "coverage", "own_cover")


def kind_of(family: str) -> str:
    """Kind of a family: "irrational", "empirical"; nothing for a clean photo or one object of each.

    >>> kind_of("medical_mask+sunglasses"), kind_of("stripes+hand")
    ('empirical', '')
    """
    parts = set(family.split("+"))
    return "irrational" if parts <= set(IRRATIONAL) else "empirical" if parts <= set(EMPIRICAL) else ""


@dataclass
class ShapeSums:
    """Running sums over photos of one row of the table.

    Attributes:
        count: photos so far.
        total: (W,3) sum of neutral vertices inside the face, metres.
        squares: sum of their squared lengths, averaged over the W vertices.
        errors: (V,) sum of distances to the reference, metres; empty for another topology.
    """

    count: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    squares: float = 0.0
    errors: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def add(self, inside: Float[Tensor, "B W 3"], errors: Float[Tensor, "B V"] | None) -> None:
        """Count a batch in."""
        verts = inside.double().cpu().numpy()
        self.count += len(verts)
        self.total = verts.sum(0) + (self.total if self.total.size else 0.0)
        self.squares += float((verts**2).sum(-1).mean(-1).sum()) if verts.size else 0.0
        if errors is not None:
            self.errors = errors.double().cpu().numpy().sum(0) + (self.errors if self.errors.size else 0.0)

    @property
    def spread_mm(self) -> float:
        """Root mean square distance of the faces to their mean, mm (`metrics.shape_spread_mm`)."""
        if not self.count:
            return float("nan")
        mean = float(((self.total / self.count) ** 2).sum(-1).mean())
        return max(self.squares / self.count - mean, 0.0) ** 0.5 * MM

    def arrays(self) -> dict[str, np.ndarray]:
        """For storage."""
        return {k: np.asarray(v) for k, v in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ShapeSums":
        """Inverse of `arrays`."""
        return cls(int(arrays["count"]), arrays["total"], float(arrays["squares"]), arrays["errors"])


@dataclass
class Rows:
    """Per-photo results: column name -> one value per photo; and sums per row of the table."""

    columns: dict[str, list] = field(default_factory=dict)
    sums: dict[str, ShapeSums] = field(default_factory=dict)
    labels: Sequence[str] = ()  # of all photos of the set, by index

    def add(self, name: str, values: Iterable) -> None:
        """Append values to a column."""
        self.columns.setdefault(name, []).extend(values.tolist() if isinstance(values, Tensor) else values)

    def array(self, name: str) -> np.ndarray:
        """One column as an array."""
        return np.asarray(self.columns[name])

    @property
    def metrics(self) -> list[str]:
        """Names of the columns that hold figures."""
        return [name for name in self.columns if name not in PHOTO_COLUMNS]

    def write_csv(self, path: Path, names: Sequence[str]) -> None:
        """One line per photo; `names` of all photos by index. Layout: docs/metrics.md."""
        shares = [name for name in ("coverage", "own_cover") if name in self.columns]
        head = ["name", "family", "kind", *shares, "label", "age", "gender", "ethnicity"]
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow([*head, *self.metrics])
            for i, index in enumerate(self.columns["index"]):
                label = self.labels[index] if self.labels else ""
                seen, family = appearance(label), self.columns["family"][i]
                kind = kind_of(family)
                parts = [repr(round(self.columns[share][i], 6)) for share in shares]
                start = [names[index], family, kind, *parts, label]
                figures = (self.columns[metric][i] for metric in self.metrics)
                cells = ["" if np.isnan(value) else f"{value:.7g}" for value in figures]
                writer.writerow([*start, seen.age, seen.gender, seen.ethnicity, *cells])


class PartialRun:
    """The half-finished results in a run folder.

    Args:
        folder: the run folder; made if absent.
        settings: everything the figures depend on, as JSON values.
        restart: throw away what an earlier run left unfinished.
    """

    def __init__(self, folder: Path, settings: Mapping, *, restart: bool = False) -> None:
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))
        self._lines, self._sums = folder / "partial.jsonl", folder / "partial.npz"
        self._settings = folder / "settings.json"
        if restart:
            self.discard()

    def resume(self) -> tuple[Rows, int]:
        """Results so far and the first batch that is missing.

        Raises:
            ConfigError: an unfinished run with other settings is in the folder.
            DataError: it is damaged.
        """
        rows, done = Rows(), 0
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._sums.is_file():
            self._refuse_other_settings()
            done = self._read(rows)
        _replace(self._settings, json.dumps(self.settings, indent=2, sort_keys=True).encode() + b"\n")
        kept = self._lines.read_bytes().splitlines(keepends=True)[:done] if done else []
        _replace(self._lines, b"".join(kept))
        return rows, done

    def append(self, step: int, columns: Mapping[str, Sequence], sums: Mapping[str, ShapeSums]) -> None:
        """Store batch `step`: its values per column, and the sums up to and with it."""
        with self._lines.open("a") as stream:
            stream.write(json.dumps({"step": step, "columns": dict(columns)}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        arrays = {f"{key}|{k}": v for key, one in sums.items() for k, v in one.arrays().items()}
        temporary = self._sums.with_suffix(".tmp")
        with temporary.open("wb") as binary:
            np.savez(binary, **{"steps": np.asarray(step + 1), **arrays})  # type: ignore[arg-type]
        temporary.replace(self._sums)

    def discard(self) -> None:
        """Forget the unfinished run: it is finished, or not wanted."""
        for path in (self._sums, self._lines):
            path.unlink(missing_ok=True)

    def _read(self, rows: Rows) -> int:
        try:
            arrays = read_arrays(self._sums, "the sums of a run", "steps")
            done = int(arrays.pop("steps"))
            lines = [json.loads(line) for line in self._lines.read_text().splitlines()[:done]]
            if [line["step"] for line in lines] != list(range(done)):
                raise ValueError(f"{len(lines)} of {done} batches are there")
            for line in lines:
                for name, values in line["columns"].items():
                    rows.add(name, values)
            split: dict[str, dict[str, np.ndarray]] = {}
            for name, value in arrays.items():
                key, _, part = name.rpartition("|")
                split.setdefault(key, {})[part] = value
            rows.sums = {key: ShapeSums.from_arrays(parts) for key, parts in split.items()}
        except (DataError, OSError, ValueError, TypeError, LookupError) as error:
            raise DataError(
                f"{self.folder}: its unfinished run is damaged ({error}); start it anew with --restart"
            ) from error
        return done

    def _refuse_other_settings(self) -> None:
        try:
            old = dict(json.loads(self._settings.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{self._settings}: unreadable ({error}); start anew with --restart") from error
        refuse_other_settings(self.folder, "an unfinished run", old, self.settings)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)

"""What benchmarks left in their run folders, read for the report. Layouts: docs/metrics.md, docs/now.md."""

import csv
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from occface_core.errors import DataError
from occface_core.evaluation.now_results import read_distances

# Benchmarks that leave NAME.md and NAME.json.
TABLES = (
    *("landmarks", "aflw", "segmentation", "regions", "views"),
    *("people", "profiles", "openings", "sigma"),
)
TEXT_COLUMNS = ("name", "family", "kind", "label", "age", "gender", "ethnicity")


@dataclass(frozen=True)
class OcclusionRun:
    """A run of `benchmark occlusion`.

    Attributes:
        label: the folder's name.
        summary: `summary.json`, null read as NaN.
        texts: column -> text of each photo, of those `TEXT_COLUMNS` that are there.
        values: column -> number of each photo, NaN where there is none; empty without `rows.csv`.
        vertex_errors: `<model>/<input>` -> mean error of each vertex, mm; empty without the file.
        settings: `settings.json`, or empty.
    """

    label: str
    summary: dict[str, Any]
    texts: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, Float[np.ndarray, " N"]] = field(default_factory=dict)
    vertex_errors: dict[str, Float[np.ndarray, " V"]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """Whose clean prediction distances are measured to."""
        return str(self.summary.get("reference", ""))

    @property
    def models(self) -> list[str]:
        """Participants, the compared ones before the reference."""
        names = [str(name) for name in self.summary.get("models", [])]
        return [n for n in names if n != self.reference] + [n for n in names if n == self.reference]

    def column(self, model: str, kind: str, metric: str) -> Float[np.ndarray, " N"]:
        """Finite values of one figure; empty when it was not measured."""
        values = self.values.get(f"{model}/{kind}/{metric}", np.empty(0))
        return values[np.isfinite(values)]


@dataclass(frozen=True)
class NowRun:
    """Results of `benchmark now`: per challenge and over all, and the distances behind the curve."""

    label: str
    summary: dict[str, Any]
    distances: Float[np.ndarray, " N"]
    synthetic: bool

    @property
    def metrical(self) -> bool:
        """Whether scale was fixed."""
        return self.summary.get("unit") is not None


@dataclass(frozen=True)
class TableRun:
    """Results of a benchmark that leaves a table: its Markdown and its JSON."""

    label: str
    kind: str
    markdown: str
    report: dict[str, Any]


@dataclass(frozen=True)
class Runs:
    """Everything found in the folders given."""

    occlusion: tuple[OcclusionRun, ...] = ()
    now: tuple[NowRun, ...] = ()
    tables: tuple[TableRun, ...] = ()

    def of_kind(self, kind: str) -> list[TableRun]:
        """Tables of one benchmark."""
        return [table for table in self.tables if table.kind == kind]


def read_runs(folders: Sequence[Path], labels: Sequence[str] = ()) -> Runs:
    """Read run folders; one folder may hold results of several benchmarks.

    Args:
        folders: what benchmarks wrote with --out.
        labels: what to call each; empty texts, or none at all, stand for the folders' names.

    Raises:
        DataError: a folder is missing, holds no results, or a file in it is damaged.
    """
    occlusion, now, tables = list[OcclusionRun](), list[NowRun](), list[TableRun]()
    for folder, given in zip(folders, labels or [""] * len(folders), strict=True):
        label = _unused(given or _label(folder), {run.label for run in occlusion})
        if not folder.is_dir():
            raise DataError(f"{folder} is not a run folder; give what a benchmark wrote with --out")
        before = len(occlusion) + len(now) + len(tables)
        if (folder / "summary.json").is_file():
            occlusion.append(_occlusion(folder, label))
        now += [_now(path, label) for path in sorted(folder.glob("*_summary.json"))]
        tables += [_table(folder, kind, label) for kind in TABLES if (folder / f"{kind}.json").is_file()]
        if len(occlusion) + len(now) + len(tables) == before:
            hint = " (unfinished: run the same command again)" if (folder / "partial.npz").is_file() else ""
            files = ", ".join(f"{kind}.json" for kind in TABLES)
            raise DataError(
                f"{folder} holds no benchmark results{hint}; expected summary.json, *_summary.json, {files}"
            )
    return Runs(tuple(occlusion), tuple(now), tuple(tables))


def _unused(label: str, taken: set[str]) -> str:
    """The label, numbered when another run has it: figures are named by it."""
    numbered = (f"{label} ({n})" for n in range(2, len(taken) + 3))
    return label if label not in taken else next(one for one in numbered if one not in taken)


def _label(folder: Path) -> str:
    """The folder's name; `results` is called like the predictions it lies in."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "results" else folder.name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {type(content).__name__}, expected an object")
    return content


def _numbers(value: Any) -> Any:
    """JSON's null is what was not a number."""
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return math.nan if value is None else value


def _occlusion(folder: Path, label: str) -> OcclusionRun:
    summary = _numbers(_read_json(folder / "summary.json"))
    absent = {"groups", "reference", "models", "spread_mm"} - set(summary)
    if absent or "all" not in summary["groups"]:
        raise DataError(
            f"{folder / 'summary.json'} lacks {', '.join(sorted(absent)) or 'the group all'}; "
            "it was not written by this version of `benchmark occlusion`: run it again"
        )
    texts, values = _rows(folder / "rows.csv")
    settings = _read_json(folder / "settings.json") if (folder / "settings.json").is_file() else {}
    errors = _vertex_errors(folder / "vertex_errors.npz")
    return OcclusionRun(label, summary, texts, values, errors, settings)


def _rows(path: Path) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    if not path.is_file():
        return {}, {}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        names = list(rows[0]) if rows else []
        texts = {name: [row[name] or "" for row in rows] for name in names if name in TEXT_COLUMNS}
        values = {
            name: np.array([float(row[name]) if row[name] else math.nan for row in rows])
            for name in names
            if name not in TEXT_COLUMNS
        }
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    return texts, values


def _vertex_errors(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: np.asarray(data[name], np.float64) for name in data.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged: {error}") from error


def _now(path: Path, label: str) -> NowRun:
    summary = _numbers(_read_json(path))
    if summary.get("protocol") != "NoW" or "all" not in summary.get("errors_mm", {}):
        raise DataError(f"{path} is not a summary of `benchmark now`")
    base = path.name.removesuffix("_summary.json")
    data = path.with_name(f"{base}_computed_distances.npz")
    distances = read_distances(data)
    with np.load(data, allow_pickle=False) as stored:
        images = [str(line) for line in stored["images"]]
    # `benchmark now-synthetic` numbers its people SYN_0000 and on.
    synthetic = all(line.replace("\\", "/").split("/")[-3].startswith("SYN_") for line in images)
    name = base.removesuffix("_metrical")
    unit = summary.get("unit")
    summary["unit"] = unit if isinstance(unit, str) else None
    return NowRun(label if name == "RECON" else name, summary, distances, synthetic)


def _table(folder: Path, kind: str, label: str) -> TableRun:
    text = folder / f"{kind}.md"
    markdown = text.read_text(encoding="utf-8", errors="replace") if text.is_file() else ""
    return TableRun(label, kind, markdown, _numbers(_read_json(folder / f"{kind}.json")))

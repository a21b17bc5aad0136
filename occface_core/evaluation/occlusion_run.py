"""One occlusion benchmark from twins to a run folder. Files and their layout: docs/metrics.md."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from occface_core.evaluation.metrics import MM
from occface_core.evaluation.occlusion_participants import Participants
from occface_core.evaluation.occlusion_rows import PartialRun, Rows
from occface_core.evaluation.occlusion_summary import compare_all, summarise, to_json
from occface_core.evaluation.occlusion_tables import markdown
from occface_core.evaluation.robustness import RobustnessBenchmark
from occface_core.evaluation.twins import EvaluationTwins

Progress = Callable[[Iterable], Iterable]


def run_settings(twins: EvaluationTwins, participants: Participants, reference: str) -> dict:
    """Everything the figures of a run depend on."""
    return {
        "twins": twins.identifier,
        "hidden": twins.hidden_identifier,
        "settings": asdict(twins.settings),
        "photos": len(twins.packed),
        "batch_size": twins.batch_size,
        "reference": reference,
        "models": participants.digests,
    }


def run_occlusion(
    benchmark: RobustnessBenchmark,
    twins: EvaluationTwins,
    participants: Participants,
    out: Path,
    *,
    models: Sequence[str],
    against: Sequence[str],
    left_out: Sequence[tuple[str, str]] = (),
    restart: bool = False,
    workers: int = 0,
    progress: Progress = iter,
) -> dict:
    """Measure what is not measured yet, and write the run folder.

    Args:
        benchmark: with everybody in it.
        twins: the pictures.
        participants: where the benchmark's models come from.
        out: the run folder.
        models, against: names to compare: each of `models` with each of `against`.
        left_out: (photo, reason) of photos that are no twins, to be told.
        restart: throw away what an unfinished run left in `out`.
        workers: processes that make the covers.
        progress: wraps the batches left to do.

    Returns:
        The summary.

    Raises:
        ConfigError: `out` holds an unfinished run with other settings.
    """
    settings = run_settings(twins, participants, benchmark.reference)
    partial = PartialRun(out, settings, restart=restart)
    own_covers = twins.hidden_identifier is not None
    rows = benchmark.run(twins, progress=progress, partial=partial, workers=workers, own_covers=own_covers)
    rows.labels = twins.packed.labels
    seed, reference = twins.settings.seed, benchmark.reference
    summary = summarise(rows, seed=seed)
    summary["comparisons"] = compare_all(rows, models, against, reference=reference, seed=seed)
    summary |= _about(benchmark, twins, participants, left_out)
    write_results(rows, summary, out, twins.packed.names)
    partial.discard()
    return summary


def _about(
    benchmark: RobustnessBenchmark,
    twins: EvaluationTwins,
    participants: Participants,
    left_out: Sequence[tuple[str, str]],
) -> dict:
    """The part of a summary that says what was measured and what was not."""
    return {
        "reference": benchmark.reference,
        "models": list(benchmark.models),
        "photos": len(twins.packed),
        "covers": twins.settings.covers,
        "unlabelled": sum(not label for label in twins.packed.labels),
        "left_out": [list(one) for one in left_out],
        "problems": {name: [list(one) for one in found] for name, found in participants.problems.items()},
        "unusable": participants.unusable,
    }


def write_results(rows: Rows, summary: dict, out: Path, names: Sequence[str]) -> None:
    """`summary.json`, `summary.md`, `rows.csv`, `vertex_errors.npz`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(to_json(summary) + "\n")
    (out / "summary.md").write_text(markdown(summary))
    rows.write_csv(out / "rows.csv", names)
    errors = {
        key: (MM * sums.errors / sums.count).astype(np.float32)
        for key, sums in rows.sums.items()
        if sums.errors.size and sums.count
    }
    np.savez_compressed(out / "vertex_errors.npz", **errors)  # type: ignore[arg-type]

"""The run over folders: results, official files, bad input, resuming, the command line."""

import argparse
import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from occface_core.errors import ConfigError, DataError
from occface_core.evaluation import benchmark_cli, now_protocol
from occface_core.evaluation.now_files import NowDataset
from occface_core.evaluation.now_protocol import evaluate
from occface_core.evaluation.now_results import (
    cumulative_curve,
    pooled,
    read_distances,
    summarise,
    write_results,
    write_status,
)


def run(folders, **options) -> now_protocol.NowReport:
    dataset, cache = NowDataset.open(folders.dataset), folders.dataset.parent / "cache"
    return evaluate(dataset, folders.predictions, cache=cache, workers=1, **options)


def command(folders, *more: str) -> int:
    parser = argparse.ArgumentParser()
    benchmark_cli.add_arguments(parser)
    paths = ["--predictions", str(folders.predictions), "--dataset", str(folders.dataset)]
    return benchmark_cli.run(parser.parse_args(["now", *paths, "--workers", "1", *more]))


def test_perfect_predictions(now_folders) -> None:
    report = run(now_folders)
    assert report.counts == {"ok": 4, "missing": 0, "invalid": 0, "scan": 0, "vertex_count": 0}
    assert [outcome.image.key for outcome in report.outcomes] == list(now_folders.keys)
    summaries = summarise(report)
    assert list(summaries) == ["all", "multiview_neutral", "selfie"]
    assert summaries["all"].images == 4
    assert summaries["all"].vertices == 2 * summaries["selfie"].vertices
    assert summaries["all"].mean < 1e-4
    metric = run(now_folders, unit="m")
    assert summarise(metric)["all"].mean < 1e-3
    one = run(now_folders, challenges=["selfie"])
    assert [outcome.image.challenge for outcome in one.outcomes] == ["selfie"] * 2
    assert not one.unexpected  # files of other challenges belong to known images


@pytest.mark.slow
def test_several_processes_give_the_same(now_folders) -> None:
    dataset = NowDataset.open(now_folders.dataset)
    seen = []

    def progress(stream, total):
        for outcome in stream:
            seen.append((outcome.image.key, total))
            yield outcome

    report = evaluate(dataset, now_folders.predictions, cache=now_folders.dataset / "c", workers=2,
                      progress=progress)
    assert sorted(seen) == sorted((key, 4) for key in now_folders.keys)
    np.testing.assert_array_equal(pooled(report.measured()), pooled(run(now_folders).measured()))


def test_pools_vertices_not_images(now_folders, bump) -> None:
    """Median, mean and population std over all vertices, as published."""
    key = now_folders.keys[0]
    now_folders.write_obj(now_folders.predictions / f"{key}.obj", bump.verts / 1000 * [1, 1, 0.9], bump.faces)
    report = run(now_folders)
    values = np.concatenate([outcome.distances for outcome in report.outcomes]).astype(np.float64)
    summary = summarise(report)["all"]
    assert summary.median == np.median(values)
    assert summary.mean == pytest.approx(values.mean())
    assert summary.std == pytest.approx(values.std(ddof=0))


class _OnlyNumpy(pickle.Unpickler):
    """Opens the official file in this test alone, and nothing but numpy arrays in it."""

    def find_class(self, module: str, name: str):
        if module.split(".")[0] != "numpy":
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def test_official_files(now_folders, tmp_path: Path) -> None:
    (now_folders.predictions / f"{now_folders.keys[1]}.obj").unlink()
    report = run(now_folders)
    out = tmp_path / "out"
    summaries = write_results(report, out, "ours")
    names = ["ours_computed_distances", "ours_computed_distances_multiview_neutral",
             "ours_computed_distances_selfie"]
    for name in names:
        assert all((out / f"{name}{ending}").is_file() for ending in (".npy", ".npy.meanmedian", ".npz"))
    lines = (out / f"{names[0]}.npy.meanmedian").read_text().splitlines()
    assert [float(line) for line in lines] == [summaries["all"].median, summaries["all"].mean]
    with (out / f"{names[0]}.npy").open("rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        content = _OnlyNumpy(stream).load().item()
    assert (shape, dtype) == ((), np.dtype(object))
    assert list(content) == ["computed_distances", "num_missing_files", "input_files"]
    assert content["num_missing_files"] == 1
    assert list(content["input_files"]) == [f"{now_folders.keys[i]}.jpg" for i in (0, 2, 3)]
    stacked = np.hstack(content["computed_distances"])
    assert stacked.dtype == np.float64
    assert float(lines[0]) == np.median(stacked)
    np.testing.assert_allclose(read_distances(out / f"{names[0]}.npz"), stacked)
    with pytest.raises(DataError, match="is not a"):
        read_distances(out / f"{names[0]}.npy")
    summary = json.loads((out / "ours_summary.json").read_text())
    assert not summary["complete"]
    assert summary["errors_mm"]["all"]["failed"] == 1
    assert (out / "ours_cumulative.png").read_bytes().startswith(b"\x89PNG")


def test_cumulative_curve_counts_exactly() -> None:
    got = cumulative_curve(np.array([3.0, 1, 2, 4]), np.array([0.5, 1, 2.5, 8]))
    np.testing.assert_array_equal(got, [0, 25, 50, 100])


def _replace_mesh(change: Callable) -> Callable:
    def spoil(folders, bump, key: str) -> None:
        folders.write_obj(folders.predictions / f"{key}.obj", *change(bump.verts / 1000, bump.faces))
    return spoil


def _replace_landmarks(change: Callable) -> Callable:
    def spoil(folders, bump, key: str) -> None:
        np.save(folders.predictions / f"{key}.npy", change(bump.landmarks / 1000))
    return spoil


def _nan(verts: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(np.arange(len(verts))[:, None] == 300, np.nan, verts), faces


def _unlink(ending: str) -> Callable:
    return lambda folders, bump, key: (folders.predictions / f"{key}{ending}").unlink()


BAD = {
    "no mesh": (_unlink(".obj"), "missing", "mesh"),
    "no landmarks": (_unlink(".npy"), "missing", "landmarks"),
    "other vertex count": (_replace_mesh(lambda v, f: (np.vstack([v, v[:1]]), f)), "vertex_count", "626"),
    "NaN": (_replace_mesh(_nan), "invalid", "NaN"),
    "no triangles": (_replace_mesh(lambda v, f: (v, f[:0])), "invalid", "triangles"),
    "empty file": (lambda s, b, key: (s.predictions / f"{key}.obj").write_text(""), "invalid", "IMG_1"),
    "mirrored mesh": (_replace_landmarks(lambda m: m * [-1, 1, 1]), "invalid", "mirrored"),
    "left and right swapped": (_replace_landmarks(lambda m: m[[3, 2, 1, 0, 4, 6, 5]]), "invalid", "mirrored"),
    "all one point": (_replace_landmarks(lambda m: m * 0), "invalid", "degenerate"),
    "NaN landmark": (_replace_landmarks(lambda m: m + np.nan), "invalid", "NaN"),
    "68 landmarks": (_replace_landmarks(lambda m: np.zeros((68, 3))), "invalid", "shape"),
    "landmarks in mm": (_replace_landmarks(lambda m: m * 1000), "invalid", "own mesh"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_predictions_are_named_and_counted(now_folders, bump, name: str, tmp_path: Path) -> None:
    spoil, status, word = BAD[name]
    spoil(now_folders, bump, now_folders.keys[2])
    report = run(now_folders)
    assert report.counts == {**dict.fromkeys(now_protocol.STATUSES, 0), "ok": 3, status: 1}
    bad = report.failed[0]
    assert bad.image.key == now_folders.keys[2]
    assert word in bad.message
    assert summarise(report)["all"].failed == 1
    write_status(report, tmp_path / "status.csv")
    rows = list(csv.DictReader((tmp_path / "status.csv").open()))
    assert [row["status"] for row in rows] == ["ok", "ok", status, "ok"]
    assert word in rows[2]["message"]


def test_bad_scans_fail_their_subject_only(now_folders, bump) -> None:
    scan = now_folders.dataset / "scans" / "anna" / "scan.obj"
    scan.write_text("# nothing\n")
    report = run(now_folders)
    assert report.counts["scan"] == 2
    assert "no vertices" in report.failed[0].message
    assert str(scan) in report.failed[0].message
    scan.unlink()
    assert run(now_folders).counts["scan"] == 2
    now_folders.write_obj(scan, bump.verts, bump.faces[:0])
    assert run(now_folders).counts["ok"] == 4  # the scan's triangles are not needed


def test_mixed_topology_can_be_allowed(now_folders, bump) -> None:
    BAD["other vertex count"][0](now_folders, bump, now_folders.keys[0])
    assert run(now_folders, mixed_topology=True).counts["ok"] == 4


def test_resumes_and_notices_changes(now_folders, bump, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(now_folders)
    measured = []
    real = now_protocol.scan_errors

    def counting(*args):
        measured.append(args)
        return real(*args)

    monkeypatch.setattr(now_protocol, "scan_errors", counting)
    again = run(now_folders)
    assert not measured
    np.testing.assert_array_equal(pooled(first.measured()), pooled(again.measured()))
    changed = now_folders.predictions / f"{now_folders.keys[0]}.obj"
    now_folders.write_obj(changed, bump.verts / 1000 * [1, 1, 0.8], bump.faces)
    assert run(now_folders).outcomes[0].distances.mean() > 0.1
    assert len(measured) == 1
    cached = sorted((now_folders.dataset.parent / "cache").rglob("*.npz"))
    cached[1].write_bytes(b"broken")
    run(now_folders)
    assert len(measured) == 2


def test_wrong_settings(now_folders, tmp_path: Path) -> None:
    dataset = NowDataset.open(now_folders.dataset)
    with pytest.raises(DataError, match="nowhere"):
        evaluate(dataset, tmp_path / "nowhere", cache=tmp_path)
    with pytest.raises(ConfigError, match="unit"):
        evaluate(dataset, now_folders.predictions, cache=tmp_path, unit="feet")
    with pytest.raises(ConfigError, match="selfie"):
        evaluate(dataset, now_folders.predictions, cache=tmp_path, challenges=["selfies"])


def test_command_line(now_folders, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture) -> None:
    results = now_folders.predictions / "results"
    assert command(now_folders) == 0
    assert "multiview_neutral" in capsys.readouterr().out
    assert (results / "RECON_computed_distances.npy").is_file()
    assert command(now_folders, "--metrical", "m", "--name", "other", "--compare",
                   f"first={results / 'RECON_computed_distances.npz'}") == 0
    assert (results / "other_metrical_computed_distances.npy.meanmedian").is_file()
    assert (results / "other_metrical_comparison.png").is_file()
    with pytest.raises(ConfigError, match="NAME=FILE"):
        command(now_folders, "--compare", "file.npz")


def test_command_line_fails_on_missing_unless_allowed(now_folders, tmp_path: Path, caplog) -> None:
    lost = now_folders.predictions / f"{now_folders.keys[3]}.obj"
    lost.rename(lost.with_name("IMG_77.obj"))
    out = tmp_path / "out"
    assert command(now_folders, "--out", str(out)) == 3
    assert "bert/selfie/IMG_1" in caplog.text
    assert "IMG_77.obj belongs to no image" in caplog.text
    assert not list(out.glob("*.npy"))
    rows = list(csv.DictReader((out / "RECON_status.csv").open()))
    assert [row["status"] for row in rows] == ["ok"] * 3 + ["missing", "unexpected"]
    assert command(now_folders, "--out", str(out), "--allow-missing") == 0
    assert (out / "RECON_computed_distances.npy").is_file()


def test_command_line_never_excuses_broken_files(now_folders, bump) -> None:
    BAD["NaN"][0](now_folders, bump, now_folders.keys[0])
    assert command(now_folders, "--allow-missing") == 3
    summary = json.loads((now_folders.predictions / "results" / "RECON_summary.json").read_text())
    assert summary["counts"]["invalid"] == 1

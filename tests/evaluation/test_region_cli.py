"""`benchmark regions` on folders: both layouts, keypoints of three kinds, resume, and what is named."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from occface_core.cli import main
from occface_core.errors import DataError
from occface_core.evaluation.now_synthetic_scan import keep_vertices
from occface_core.evaluation.region_errors import BENDING_KEYPOINTS, REGIONS
from occface_core.evaluation.region_files import (
    RegionDataset,
    barycentric_keypoints,
    find_predictions,
    head_keypoints,
    read_keypoints,
)

NO_FACES = np.zeros((0, 3), np.int64)


def write_obj(path: Path, verts: np.ndarray, faces: np.ndarray = NO_FACES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {a:.9g} {b:.9g} {c:.9g}" for a, b, c in verts]
    path.write_text("\n".join([*lines, *(f"f {a} {b} {c}" for a, b, c in faces + 1)]) + "\n")


@pytest.fixture
def truth(bump, tmp_path: Path) -> Path:
    """Two subjects in REALY's own folders, in units of 8 mm; the second face is a little longer."""
    root = tmp_path / "realy"
    for number, stretch in (("1", 1.0), ("2", 1.1)):
        verts = bump.verts * [1, stretch, 1] / 8
        for name, keep in zip(REGIONS, quadrants(bump.verts), strict=True):
            write_obj(
                root / "REALY_scan_region" / number / f"{name}.obj", *keep_vertices(verts, bump.faces, keep)
            )
        write_obj(root / "REALY_HIFI3D_keypoints" / f"{number}.obj", verts[corners(bump)])
    (root / "metrical_scale.txt").write_text("8.0\n8.0\n")
    return root


def corners(bump) -> np.ndarray:
    """85 vertices that serve as keypoints; those of a region lie in it."""
    ids = np.random.default_rng(4).choice(len(bump.verts), 85, replace=False)
    for name, keep in zip(REGIONS, quadrants(bump.verts), strict=True):
        wanted = list(BENDING_KEYPOINTS[name])
        ids[wanted] = np.random.default_rng(2).choice(np.flatnonzero(keep), len(wanted), replace=False)
    return ids


def quadrants(verts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Which vertices belong to each region of this made-up face."""
    right, upper = verts[:, 0] < 0, verts[:, 1] > 0
    return right & upper, right & ~upper, ~right & upper, ~right & ~upper


@pytest.fixture
def keypoints(bump, tmp_path: Path) -> Path:
    """REALY's barycentric list of this topology: each keypoint is the first corner of some triangle."""
    rows = []
    for vertex in corners(bump):
        triangle, corner = np.argwhere(bump.faces == vertex)[0]
        rows.append([int(triangle), float(corner == 0), float(corner == 1)])
    path = tmp_path / "TOPOLOGY.txt"
    path.write_text(json.dumps(rows))
    return path


def run(*words: object) -> int:
    return main(["benchmark", "regions", *(str(word) for word in words), "--workers", "1"])


def test_realys_layout(truth: Path, keypoints: Path, bump, tmp_path: Path) -> None:
    predictions, out = tmp_path / "pred", tmp_path / "out"
    write_obj(predictions / "1.obj", bump.verts, bump.faces)
    write_obj(predictions / "2_0.obj", bump.verts, bump.faces)  # the first face for the second subject
    assert run("--dataset", truth, "--predictions", predictions, "--keypoints", keypoints, "--out", out) == 0
    with (out / "regions.csv").open() as stream:
        rows = {row["prediction"]: row for row in csv.DictReader(stream)}
    assert {name: row["subject"] for name, row in rows.items()} == {"1": "1", "2_0": "2"}
    assert all(float(rows["1"][f"{name}/mean_mm"]) < 1e-3 for name in REGIONS)
    assert all(0.3 < float(rows["2_0"][f"{name}/mean_mm"]) < 15 for name in REGIONS)
    summary = json.loads((out / "regions.json").read_text())["summary"]["all"]
    assert summary["count"] == 2
    mean = np.mean([summary[f"{name}/mean_mm"]["mean"] for name in REGIONS])
    assert summary["all/mean_mm"]["mean"] == pytest.approx(mean)


def test_results_are_kept_until_a_file_changes(truth: Path, keypoints: Path, bump, tmp_path: Path) -> None:
    predictions, out = tmp_path / "pred", tmp_path / "out"
    for name in ("1", "2"):
        write_obj(predictions / f"{name}.obj", bump.verts, bump.faces)
    words = ("--dataset", truth, "--predictions", predictions, "--keypoints", keypoints, "--out", out)
    assert run(*words) == 0
    first = (out / "regions.csv").read_text()
    stamps = {p: p.stat().st_mtime_ns for p in (out / "cache").rglob("*.json")}
    assert len(stamps) == 2
    assert run(*words) == 0
    assert {p: p.stat().st_mtime_ns for p in (out / "cache").rglob("*.json")} == stamps
    assert (out / "regions.csv").read_text() == first
    write_obj(predictions / "1.obj", bump.verts * [1.2, 1, 1], bump.faces)
    assert run(*words) == 0
    assert (out / "regions.csv").read_text() != first


def test_bad_and_missing_predictions_hold_back_the_figures(
    truth: Path, keypoints: Path, bump, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = tmp_path / "pred"
    write_obj(predictions / "1.obj", bump.verts * np.nan, bump.faces)
    write_obj(predictions / "stranger.obj", bump.verts, bump.faces)
    words = ("--dataset", truth, "--predictions", predictions, "--keypoints", keypoints)
    assert run(*words) == 3
    said = capsys.readouterr().out
    for part in (
        "left out: 1: ",
        "stranger.obj: belongs to no subject",
        "2: no prediction",
        "1 predictions failed",
    ):
        assert part in said
    assert not (predictions / "results" / "regions.json").exists()
    assert "failed" in (predictions / "results" / "regions.csv").read_text()
    write_obj(predictions / "2.obj", bump.verts, bump.faces)
    assert run(*words, "--allow-missing") == 3  # figures, but something did fail
    summary = json.loads((predictions / "results" / "regions.json").read_text())["summary"]
    assert (summary["all"]["count"], summary["all"]["failed"]) == (1, 1)


def test_keypoints_beside_a_mesh_win(truth: Path, bump, tmp_path: Path) -> None:
    predictions = tmp_path / "pred"
    for name in ("1", "2"):
        write_obj(predictions / name / "neutral" / "a.obj", bump.verts, bump.faces)
        np.save(predictions / name / "neutral" / "a.npy", bump.verts[corners(bump)[:68]])
    assert run("--dataset", truth, "--predictions", predictions, "--out", tmp_path / "out") == 0
    with (tmp_path / "out" / "regions.csv").open() as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["ok", "ok"]


def test_other_heads_need_their_keypoints(open_head, bump) -> None:
    own = head_keypoints(open_head)(open_head.v_template.double().numpy(), open_head.faces.numpy())
    assert own.shape == (68, 3)
    with pytest.raises(DataError, match="625 vertices where head"):
        head_keypoints(open_head)(bump.verts, bump.faces)


def test_unusable_files_are_refused(truth: Path, tmp_path: Path, bump) -> None:
    dataset = RegionDataset.open(truth)
    assert dataset.subjects == ("1", "2")
    assert dataset.read("2").unit_mm == 8
    (truth / "REALY_scan_region" / "2" / "nose.obj").unlink()
    with pytest.raises(DataError, match=r"no nose\.obj"):
        dataset.read("2")
    with pytest.raises(DataError, match="lacks regions/"):
        RegionDataset.open(tmp_path / "nowhere")
    (truth / "metrical_scale.txt").write_text("8.0\n-1\n")
    with pytest.raises(DataError, match="positive numbers"):
        RegionDataset.open(truth)
    np.save(tmp_path / "seven.npy", np.zeros((7, 3)))
    with pytest.raises(DataError, match=r"shape \(7, 3\)"):
        read_keypoints(tmp_path / "seven.npy")
    (tmp_path / "list.txt").write_text("[[1, 2], [3]]")
    with pytest.raises(DataError, match="JSON list"):
        barycentric_keypoints(tmp_path / "list.txt")
    with pytest.raises(DataError, match="is called like one of the 2 subjects"):
        find_predictions(tmp_path / "realy", ("a", "b"))

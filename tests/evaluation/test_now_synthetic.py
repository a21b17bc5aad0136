"""Synthetic NoW: the layout, what scans are, and the whole path from photos to figures."""

import argparse
import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from occface_core.errors import ConfigError
from occface_core.evaluation import benchmark_cli
from occface_core.evaluation.now_alignment import crop_scan
from occface_core.evaluation.now_files import CHALLENGES, NowDataset, read_geometry, read_picked_points
from occface_core.evaluation.now_protocol import evaluate
from occface_core.evaluation.now_results import summarise
from occface_core.evaluation.now_synthetic import SyntheticNowConfig, write_synthetic_now
from occface_core.evaluation.now_synthetic_scan import ScanConfig, keep_vertices, make_scan, subdivide
from occface_core.evaluation.region_files import RegionDataset
from occface_core.evaluation.region_parts import face_parts

SIZE = 96


@pytest.fixture(scope="module")
def synthetic(open_head, small_albedo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from occface_core.data.synthetic import SyntheticFaces

    root = tmp_path_factory.mktemp("synthetic")
    faces = SyntheticFaces(open_head, small_albedo, SIZE)
    with torch.no_grad():
        names = list(write_synthetic_now(faces, root, SyntheticNowConfig(subjects=2, photos=1)))
    assert names == ["SYN_0000", "SYN_0001"]
    return root


def test_layout_is_that_of_now(synthetic: Path) -> None:
    dataset = NowDataset.open(synthetic)
    assert len(dataset.images) == 2 * len(CHALLENGES)
    for image in dataset.images:
        photo = Image.open(synthetic / "iphone_pictures" / image.line)
        assert photo.size == (SIZE, SIZE)
        assert (synthetic / "detected_face" / f"{image.key}.npy").is_file()
        scan, points = dataset.scan_files(image.subject)
        cropped = crop_scan(read_geometry(scan)[0], read_picked_points(points))
        assert 5_000 < len(cropped.points) < 20_000
    with (synthetic / "boxes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [image.line for image in dataset.images]
    assert all(0 < float(row["x0"]) < float(row["x1"]) < SIZE for row in rows)


def test_scans_are_cut_into_regions(synthetic: Path, open_head) -> None:
    scan = read_geometry(synthetic / "scans" / "SYN_0001" / "SYN_0001.obj")[0]
    places = {tuple(row) for row in scan.round(3).tolist()}
    count = 0
    truth = RegionDataset.open(synthetic).read("SYN_0001")
    for region in truth.regions.values():
        rows = [tuple(row) for row in region.verts.round(3).tolist()]
        count += len(rows)
        assert places.issuperset(rows)
        places -= set(rows)  # each scan point lies in one region at most
    assert 6_000 < count < 9_000
    names = list(truth.regions)
    for name, point in (("nose", 30), ("mouth", 51), ("forehead", 21), ("cheek", 8)):
        place = truth.keypoints[point]
        gaps = [np.linalg.norm(r.verts - place, axis=1).min() for r in truth.regions.values()]
        assert names[int(np.argmin(gaps))] == name
    assert np.bincount(face_parts(open_head) + 1).min() > 300


def test_truth_beats_the_mean_head(synthetic: Path, open_head, tmp_path: Path) -> None:
    from occface_core.pipeline.now_predict import predict_mean_head, write_prediction

    dataset = NowDataset.open(synthetic)
    list(predict_mean_head(dataset, tmp_path / "mean", open_head))
    for image in dataset.images:
        with np.load(synthetic / "truth" / f"{image.subject}.npz", allow_pickle=False) as truth:
            exact = truth["verts_neutral"], truth["landmarks_now7"]
        write_prediction(*exact, open_head, tmp_path / "truth", image)
    errors = {}
    for name in ("mean", "truth"):
        report = evaluate(dataset, tmp_path / name, cache=tmp_path / f"{name}_cache", unit="m", workers=1)
        assert report.counts["ok"] == len(dataset.images)
        errors[name] = summarise(report)["all"].mean
    assert errors["truth"] < 0.4  # detail and noise alone
    assert errors["mean"] > 2 * errors["truth"]


def test_photos_are_predicted_in_order_and_failures_named(synthetic: Path, open_head, tmp_path: Path) -> None:
    from occface_core.errors import NoFaceError
    from occface_core.pipeline.inputs import BoxTable
    from occface_core.pipeline.now_predict import predict

    seen = []

    class Flat:
        """Answers with the mean head, scaled by the order of the photo, and fails on the third."""

        def reconstruct_batch(self, images, *, boxes):
            results = []
            for image, box in zip(images, boxes, strict=True):
                seen.append((image.shape, box))
                if len(seen) == 3:
                    results.append(NoFaceError("no face was found"))
                    continue
                results.append(Answer(open_head.v_template.numpy() * len(seen)))
            return results

    class Answer:
        def __init__(self, verts: np.ndarray) -> None:
            self.verts_neutral, self.landmarks_now7 = verts, verts[:7]

    dataset, table = NowDataset.open(synthetic), BoxTable.read(synthetic / "boxes.csv")
    outcomes = list(predict(dataset, tmp_path, open_head, Flat(), boxes=table, batch_size=3))
    assert [outcome.error is None for outcome in outcomes] == [True, True, False] + [True] * 5
    assert all(shape == (SIZE, SIZE, 3) and len(box) == 4 for shape, box in seen)
    verts = read_geometry(tmp_path / f"{dataset.images[4].key}.obj")[0]
    np.testing.assert_allclose(verts, open_head.v_template.numpy() * 5, atol=1e-6)
    (synthetic / "iphone_pictures" / dataset.images[2].line).rename(tmp_path / "photo.jpg")
    again = list(predict(dataset, tmp_path, open_head, Flat(), boxes=table))
    (tmp_path / "photo.jpg").rename(synthetic / "iphone_pictures" / dataset.images[2].line)
    assert [outcome.image for outcome in again] == [dataset.images[2]]  # the others are already there
    assert "no photo" in str(again[0].error)


def test_identities_depend_on_the_seed_only(synthetic: Path, open_head, small_albedo, tmp_path: Path) -> None:
    from occface_core.data.synthetic import SyntheticFaces

    faces = SyntheticFaces(open_head, small_albedo, 32)
    for seed in (770_001, 5):
        config = SyntheticNowConfig(subjects=1, photos=2, seed=seed)
        with torch.no_grad():
            list(write_synthetic_now(faces, tmp_path / str(seed), config))
    first, same, other = (
        np.load(root / "truth" / "SYN_0000.npz")["betas"]
        for root in (synthetic, tmp_path / "770001", tmp_path / "5")
    )
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0.5


def test_subdivision_shares_midpoints() -> None:
    verts = np.array([[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]])
    points, faces = subdivide(verts, np.array([[0, 1, 2], [0, 2, 3]]))
    assert (len(points), len(faces)) == (4 + 5, 8)
    a, b, c = (points[faces[:, k]] for k in range(3))
    areas = np.cross(b - a, c - a)[:, 2] / 2
    np.testing.assert_allclose(areas, 0.5)  # equal, and none turned over


def test_keeping_vertices_renumbers() -> None:
    verts = np.arange(15.0).reshape(5, 3)
    kept, faces = keep_vertices(verts, np.array([[0, 1, 2], [2, 3, 4]]), np.array([0, 1, 1, 1, 1], bool))
    np.testing.assert_array_equal(kept, verts[2:])
    np.testing.assert_array_equal(faces, [[0, 1, 2]])


def test_detail_has_the_size_asked_for(bump, rng: np.random.Generator) -> None:
    plain = ScanConfig(detail=0, noise=0, holes=(0, 1.0, 1.0), turn=0, shift=0)
    rough = ScanConfig(detail=0.5, noise=0, holes=(0, 1.0, 1.0), turn=0, shift=0)
    everywhere = np.ones(len(bump.verts), bool)

    def scan(config: ScanConfig):
        parts = (bump.verts[:, 0] > 0).astype(np.int64)
        points = bump.landmarks, bump.landmarks[:2]
        return make_scan(bump.verts, bump.faces, everywhere, parts, lambda v: points, config, rng)

    flat, bumpy = scan(plain), scan(rough)
    lengths = np.linalg.norm(flat.verts - bumpy.verts, axis=1)
    assert np.sqrt((lengths**2).mean()) == pytest.approx(0.5, rel=0.3)
    np.testing.assert_array_equal(flat.landmarks, bump.landmarks)
    np.testing.assert_array_equal(flat.keypoints, bump.landmarks[:2])
    assert set(flat.parts.tolist()) == {-1, 0, 1}  # -1 where an edge joins both parts
    assert flat.verts[flat.parts == 1, 0].min() > 0 >= flat.verts[flat.parts == 0, 0].max()


def test_impossible_settings_are_refused() -> None:
    for options in ({"subjects": 0}, {"photos": 0}, {"zoom": 2.0}):
        with pytest.raises(ConfigError):
            SyntheticNowConfig(**options)


@pytest.mark.parametrize("name", sorted(benchmark_cli._ELSEWHERE))
def test_every_benchmark_has_options(name: str, capsys: pytest.CaptureFixture) -> None:
    parser = argparse.ArgumentParser()
    benchmark_cli.add_arguments(parser)
    with pytest.raises(SystemExit, match="0"):
        parser.parse_args([name, "--help"])
    assert "--out" in capsys.readouterr().out


def test_predictions_of_two_models_are_not_mixed(
    synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from occface_core.cli import main

    words = [
        "benchmark",
        "now-predict",
        "--dataset",
        str(synthetic),
        "--out",
        str(tmp_path),
        "--model",
        "mean",
    ]
    assert main(words) == 0
    assert main(words) == 0
    assert main([*words[:-1], "student"]) == 2
    told = capsys.readouterr().err
    assert "model: 'mean' there, 'student' now" in told
    assert "--overwrite" in told

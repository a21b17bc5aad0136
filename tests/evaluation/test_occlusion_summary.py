"""Groups, intervals and comparisons of known rows, and the tables made of them."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from occface_core.evaluation.occlusion_rows import Rows
from occface_core.evaluation.occlusion_summary import compare, compare_all, photo_groups, summarise, to_json
from occface_core.evaluation.occlusion_tables import markdown
from occface_core.evaluation.robustness import RobustnessBenchmark


@pytest.fixture(scope="module")
def rows(make_twins: Callable, made_up_network: Callable, open_head, small_albedo) -> Rows:
    networks = {
        "teacher": made_up_network(),
        "robust": made_up_network(0.5),
        "shrunk": made_up_network(1.0, 0.2),
    }
    twins = make_twins(5, covers=2, family="random")
    result = RobustnessBenchmark(open_head, small_albedo, networks, reference="teacher").run(twins)
    result.labels = twins.packed.labels
    return result


@pytest.fixture(scope="module")
def summary(rows: Rows) -> dict:
    comparisons = compare_all(rows, ["robust", "shrunk"], ["teacher"], reference="teacher")
    return summarise(rows) | {"reference": "teacher", "covers": 2, "comparisons": comparisons}


def test_groups_divide_the_photos(rows: Rows) -> None:
    groups = photo_groups(rows)
    assert groups["all"].sum() == 10
    for kind in ("coverage ", "family ", "kind "):
        members = sum(pick.astype(int) for name, pick in groups.items() if name.startswith(kind))
        assert (members == 1).all()
    for what in ("age", "gender", "ethnicity"):
        members = sum(
            pick.astype(int) for name, pick in groups.items() if name.startswith(f"apparent {what}")
        )
        assert members.tolist() == [1, 1, 0, 1, 1, 1, 1, 0, 1, 1]


def test_means_have_intervals_and_counts(summary: dict, rows: Rows) -> None:
    entry = summary["groups"]["all"]["teacher/occluded/shape_mm"]
    assert entry["ci95"][0] < entry["mean"] < entry["ci95"][1]
    assert entry["mean"] == pytest.approx(rows.array("teacher/occluded/shape_mm").mean())
    female = summary["groups"]["apparent gender female"]
    assert female["count"] == 4
    assert female["robust/occluded/nme68"]["mean"] == pytest.approx(
        rows.array("robust/occluded/nme68")[[1, 3, 6, 8]].mean()
    )
    assert set(summary["small_groups"]) == set(summary["groups"])  # ten photos are few


def test_reductions_and_ratios_are_of_the_same_photos(rows: Rows) -> None:
    result = compare(rows, "robust", "teacher")
    means = {name: rows.array(f"{name}/occluded/shape_mm").mean() for name in ("teacher", "robust")}
    entry = result["shape_mm_reduction"]
    assert entry["value"] == pytest.approx(1 - means["robust"] / means["teacher"])
    assert entry["ci95"][0] < entry["value"] < entry["ci95"][1]
    ratio = rows.array("robust/occluded/nme68").mean() / rows.array("robust/clean/nme68").mean()
    assert result["nme68_ratio"]["value"] == pytest.approx(ratio)
    assert {"identity_mm_reduction", "drift_nme68_reduction", "nme_ratio_against"} <= set(result)


def test_comparing_with_oneself_reduces_nothing(rows: Rows) -> None:
    entry = compare(rows, "teacher", "teacher")["shape_mm_reduction"]
    assert entry["value"] == 0
    assert entry["ci95"] == (0, 0)


def test_photos_without_a_prediction_are_left_out_on_both_sides(rows: Rows) -> None:
    column = list(rows.columns["robust/occluded/shape_mm"])
    column[2] = math.nan
    holed = Rows({**rows.columns, "robust/occluded/shape_mm": column}, rows.sums, rows.labels)
    entry = compare(holed, "robust", "teacher")["shape_mm_reduction"]
    rest = np.delete(np.arange(10), 2)
    means = [rows.array(f"{name}/occluded/shape_mm")[rest].mean() for name in ("robust", "teacher")]
    assert entry["count"] == 9
    assert entry["value"] == pytest.approx(1 - means[0] / means[1])
    assert summarise(holed)["groups"]["all"]["robust/occluded/shape_mm"]["count"] == 9


def test_nothing_to_compare_with_is_not_a_number(rows: Rows) -> None:
    nothing = Rows({**rows.columns, "teacher/occluded/texture": [0.0] * 10}, rows.sums, rows.labels)
    entry = compare(nothing, "robust", "teacher")["texture_reduction"]
    assert math.isnan(entry["value"])
    assert json.loads(to_json({"x": entry}))["x"]["value"] is None


def test_shrinking_towards_the_mean_shows_in_the_spread(summary: dict, rows: Rows) -> None:
    spread = summary["spread_mm"]
    assert spread["shrunk/clean"] == pytest.approx(0.2 * spread["teacher/clean"], rel=1e-3)
    shrunk = compare(rows, "shrunk", "teacher")
    assert shrunk["spread_ratio"]["value"] < 0.5
    assert shrunk["spread_kept"]["value"] == pytest.approx(
        spread["teacher/occluded"] / spread["teacher/clean"], rel=1e-3
    )
    assert spread["mean head/clean"] == pytest.approx(0.0, abs=1e-4)


def test_masks_are_scored_inside_the_face(summary: dict) -> None:
    every = summary["groups"]["all"]
    assert every["teacher/clean/mask_iou"]["mean"] == pytest.approx(1.0)
    # It calls everything visible: on covered faces precision is what the occluder leaves, recall is full.
    assert every["teacher/occluded/mask_recall"]["mean"] == pytest.approx(1.0)
    assert 0.45 < every["teacher/occluded/mask_precision"]["mean"] < 0.9


def test_everybody_against_everybody_by_kind(summary: dict, rows: Rows) -> None:
    found = [(c["model"], c["group"]) for c in summary["comparisons"]]
    kinds = [name for name in photo_groups(rows) if name.startswith("kind")]
    assert found == [(name, group) for name in ("robust", "shrunk") for group in ("all", *kinds)]


def test_tables_and_json(summary: dict) -> None:
    told = {"outsider": [("a.jpg", "no prediction")]}
    text = markdown({**summary, "problems": told, "left_out": [("b.jpg", "no landmarks")]})
    for expected in (
        "| mean head/clean |",
        "### robust against teacher, same photos and covers",
        "### Identity consistency, 2 covers",
        "| apparent ethnicity Indian (*) | 1 |",
        "**outsider: 1 problems**, e.g. a.jpg: no prediction",
        "b.jpg: no landmarks",
    ):
        assert expected in text
    assert "nan" not in text
    assert json.loads(to_json(summary))["reference"] == "teacher"

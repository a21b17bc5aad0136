"""The robustness benchmark with networks whose answers are known beforehand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.data.synthetic_pack import synthetic_pack
from occface_core.errors import ConfigError
from occface_core.evaluation.metrics import identity_spread_mm
from occface_core.evaluation.occlusion_rows import PartialRun, Rows
from occface_core.evaluation.predictions import Network, ibug68_of
from occface_core.evaluation.robustness import RobustnessBenchmark
from occface_core.evaluation.twins import EvaluationTwins
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel


@pytest.fixture(scope="module")
def twins(make_twins: Callable) -> EvaluationTwins:
    return make_twins(4, covers=3)


@pytest.fixture(scope="module")
def benchmark(
    open_head: HeadModel, small_albedo: AlbedoModel, made_up_network: Callable
) -> RobustnessBenchmark:
    networks = {"teacher": made_up_network(), "robust": made_up_network(0.5)}
    return RobustnessBenchmark(open_head, small_albedo, networks, reference="teacher", threads=2)


@pytest.fixture(scope="module")
def rows(benchmark: RobustnessBenchmark, twins: EvaluationTwins) -> Rows:
    return benchmark.run(twins)


def test_rendered_packs_are_repeatable_and_framed(
    open_head: HeadModel, small_albedo: AlbedoModel, twins: EvaluationTwins
) -> None:
    again = synthetic_pack(open_head, small_albedo, 10, generator=torch.Generator().manual_seed(0), size=80)
    np.testing.assert_array_equal(again.images, twins.packed.images)
    assert len(set(again.identities)) == 10
    assert float(again.points.min()) > 0
    assert float(again.points.max()) < 80


def test_every_photo_is_measured_once(rows: Rows) -> None:
    assert rows.array("index").tolist() == list(range(10))
    assert all(len(values) == 10 for values in rows.columns.values())
    assert all(np.isfinite(rows.array(metric)).all() for metric in rows.metrics)
    assert rows.sums["robust/occluded"].count == 10


def test_the_reference_agrees_with_itself(rows: Rows) -> None:
    for metric in ("shape_mm", "texture"):
        assert rows.array(f"teacher/clean/{metric}").max() == 0
    assert rows.array("teacher/clean/posed_mm").max() < 1e-2
    assert rows.array("teacher/occluded/shape_mm").min() > 0
    # Its drift from itself is its distance to the reference, which it is.
    np.testing.assert_array_equal(
        rows.array("teacher/occluded/drift_mm"), rows.array("teacher/occluded/shape_mm")
    )


def test_errors_are_those_of_the_made_up_codes(
    rows: Rows, twins: EvaluationTwins, open_head: HeadModel, made_up_network: Callable
) -> None:
    batch = twins[0]
    face = open_head.regions["face"]
    per_unit = 1000 * float((open_head.shapedirs[..., 0].norm(dim=-1) * face).sum() / face.sum())
    for name, strength in (("teacher", 1.0), ("robust", 0.5)):
        predict = made_up_network(strength)
        change = predict(batch.occluded).code[:, 0] - predict(batch.clean).code[:, 0]
        np.testing.assert_allclose(
            rows.array(f"{name}/occluded/drift_mm")[:4], change.abs().numpy() * per_unit, rtol=1e-3
        )


def test_68_points_are_the_same_ones_on_both_sides(
    rows: Rows, twins: EvaluationTwins, benchmark: RobustnessBenchmark
) -> None:
    batch = twins[0]
    told = {view: benchmark.models["teacher"].predict(batch, view) for view in ("clean", "occluded")}
    goal = ibug68_of(batch.points)
    side = (goal.amax(1) - goal.amin(1)).prod(-1).sqrt()
    error = (ibug68_of(told["clean"].landmarks468) - goal).norm(dim=-1).mean(-1) / side
    np.testing.assert_allclose(rows.array("teacher/clean/nme68")[:4], error.numpy(), rtol=1e-4)
    moved = (told["occluded"].landmarks68 - told["clean"].landmarks68).norm(dim=-1).mean(-1) / side
    np.testing.assert_allclose(
        rows.array("teacher/occluded/drift_nme68")[:4], moved.numpy(), rtol=1e-3, atol=1e-6
    )


def test_consistency_is_over_all_covers_and_not_the_clean_photo(
    rows: Rows, twins: EvaluationTwins, open_head: HeadModel, made_up_network: Callable
) -> None:
    batch, predict = twins[0], made_up_network()
    pictures = (batch.occluded, *batch.covers)
    shapes = torch.stack([open_head.neutral(predict(image).params.betas) for image in pictures])
    expected = identity_spread_mm(shapes, open_head.regions["face"])
    np.testing.assert_allclose(rows.array("teacher/covers/identity_mm")[:4], expected.numpy(), rtol=1e-3)
    assert (rows.array("robust/covers/identity_mm") < rows.array("teacher/covers/identity_mm")).mean() > 0.7
    assert rows.array("teacher/covers/identity_texture").min() > 0


def test_vertex_errors_add_up_to_the_shape_error(rows: Rows, open_head: HeadModel) -> None:
    sums, face = rows.sums["robust/occluded"], open_head.regions["face"].numpy()
    mean = 1000 * (sums.errors / sums.count * face).sum() / face.sum()
    assert mean == pytest.approx(rows.array("robust/occluded/shape_mm").mean(), rel=1e-4)


def test_a_killed_run_ends_like_one_that_was_not(
    rows: Rows, twins: EvaluationTwins, open_head: HeadModel, small_albedo: AlbedoModel,
    made_up_network: Callable, tmp_path: Path,
) -> None:  # fmt: skip
    calls = []

    def failing(image: torch.Tensor):
        calls.append(len(image))
        if len(calls) > 10:  # in the third batch of five views
            raise KeyboardInterrupt
        return made_up_network(0.5)(image)

    settings = {"twins": twins.identifier}
    broken = RobustnessBenchmark(
        open_head, small_albedo, {"teacher": made_up_network(), "robust": failing}, reference="teacher"
    )
    with pytest.raises(KeyboardInterrupt):
        broken.run(twins, partial=PartialRun(tmp_path, settings))
    seen: list[int] = []

    def watched(steps):
        seen.extend(steps)
        return steps

    whole = RobustnessBenchmark(
        open_head,
        small_albedo,
        {"teacher": made_up_network(), "robust": made_up_network(0.5)},
        reference="teacher",
    )
    again = whole.run(twins, partial=PartialRun(tmp_path, settings), progress=watched)
    assert seen == [2]
    assert again.columns == rows.columns
    for key, sums in rows.sums.items():
        assert again.sums[key].spread_mm == sums.spread_mm
        np.testing.assert_array_equal(again.sums[key].errors, sums.errors)


def test_worker_processes_change_nothing(benchmark: RobustnessBenchmark, twins, rows: Rows) -> None:
    assert benchmark.run(twins, workers=1).columns == rows.columns


def test_who_cannot_be_the_reference_or_a_name(
    open_head: HeadModel, small_albedo: AlbedoModel, made_up_network: Callable
) -> None:
    with pytest.raises(ConfigError, match="reference 'oracle'"):
        RobustnessBenchmark(open_head, small_albedo, {"a": made_up_network()}, reference="oracle")
    for name in ("runs/student", "mean head"):
        networks = {"teacher": made_up_network(), name: made_up_network()}
        with pytest.raises(ConfigError, match=name):
            RobustnessBenchmark(open_head, small_albedo, networks, reference="teacher")


def test_networks_may_lack_masks(
    open_head: HeadModel, small_albedo: AlbedoModel, made_up_network: Callable, twins: EvaluationTwins
) -> None:
    def blind(image: torch.Tensor):
        out = made_up_network()(image)
        return type(out)(out.params, out.code, out.features)

    answer = Network(blind, open_head, small_albedo).predict(twins[0], "clean")
    assert answer.mask is None
    single = RobustnessBenchmark(
        open_head, small_albedo, {"blind": blind}, reference="blind", include_mean=False
    )
    columns = single.measure(twins[2], {})
    assert not any("mask" in name or name.startswith("mean head") for name in columns)

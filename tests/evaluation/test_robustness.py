"""The robustness benchmark with networks whose answers are known beforehand."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from occface_core.data.batches import BatchConfig, TwinSampler
from occface_core.data.landmarks import mirror_pairs
from occface_core.data.synthetic_pack import synthetic_pack
from occface_core.evaluation.occlusion_cli import markdown
from occface_core.evaluation.robustness import RobustnessBenchmark, Rows, reductions, summarise, to_json
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderOutput, default_code_statistics

SIZE = 64


def predictor(strength: float, spread: float = 1.0):
    """A made-up network: shape from the picture's mean brightness, so covering the face changes it.

    Args:
        strength: how much of the change that an occluder makes is let through.
        spread: factor on all shapes; below 1 it shrinks them towards the mean.
    """

    def predict(image: Tensor) -> EncoderOutput:
        code = default_code_statistics()[0].repeat(len(image), 1)
        centre = image[:, :, 24:40, 24:40].mean((1, 2, 3))  # an occluder changes this
        rim = image[:, :, :6].mean((1, 2, 3))  # and hardly this
        code[:, 0] = code[:, 100] = spread * 10 * (strength * centre + (1 - strength) * rim)
        logits = torch.full((len(image), 1, 8, 8), 5.0)
        return EncoderOutput(FaceParameters.from_code(code), code, code, logits)

    return predict


@pytest.fixture(scope="module")
def sampler(open_head: HeadModel, small_albedo: AlbedoModel) -> TwinSampler:
    packed = synthetic_pack(open_head, small_albedo, 10, generator=torch.Generator().manual_seed(0), size=80)
    config = BatchConfig(
        batch_size=4, size=SIZE, occlude=True, family="irrational", clean_share=0.0, coverage=(0.2, 0.5)
    )
    mean = open_head.landmarks(open_head.v_template[None], "468")[0]
    return TwinSampler(
        packed, config, seed=0, mirror=mirror_pairs(mean.numpy()), mean_points=mean, augment=False
    )


@pytest.fixture(scope="module")
def rows(sampler: TwinSampler, open_head: HeadModel, small_albedo: AlbedoModel) -> Rows:
    networks = {"teacher": predictor(1.0), "robust": predictor(0.5), "shrunk": predictor(1.0, 0.2)}
    return RobustnessBenchmark(open_head, small_albedo, networks, reference="teacher").run(sampler)


@pytest.fixture(scope="module")
def summary(rows: Rows) -> dict:
    return summarise(rows)


def test_rendered_packs_are_repeatable_and_framed(
    open_head: HeadModel, small_albedo: AlbedoModel, sampler: TwinSampler
) -> None:
    again = synthetic_pack(open_head, small_albedo, 10, generator=torch.Generator().manual_seed(0), size=80)
    np.testing.assert_array_equal(again.images, sampler.packed.images)
    assert len(set(again.identities)) == 10
    assert float(again.points.min()) > 0
    assert float(again.points.max()) < 80


def test_every_photo_is_measured_once(rows: Rows) -> None:
    assert rows.array("index").tolist() == list(range(10))
    assert all(len(values) == 10 for values in rows.columns.values())
    assert np.isfinite(rows.array("robust/occluded/shape_mm")).all()


def test_the_reference_agrees_with_itself(rows: Rows) -> None:
    for metric in ("shape_mm", "texture"):
        assert rows.array(f"teacher/clean/{metric}").max() == 0
    assert rows.array("teacher/clean/posed_mm").max() < 1e-2
    assert rows.array("teacher/occluded/shape_mm").min() > 0


def test_errors_are_those_of_the_made_up_codes(
    rows: Rows, sampler: TwinSampler, open_head: HeadModel
) -> None:
    batch = sampler[0]
    predict = predictor(1.0)
    change = predict(batch.occluded).code[:, 0] - predict(batch.clean).code[:, 0]
    face = open_head.regions["face"]
    per_unit = 1000 * float((open_head.shapedirs[..., 0].norm(dim=-1) * face).sum() / face.sum())
    np.testing.assert_allclose(
        rows.array("teacher/occluded/shape_mm")[:4], change.abs().numpy() * per_unit, rtol=1e-3
    )


def test_bins_and_families_add_up(summary: dict, rows: Rows) -> None:
    groups = summary["groups"]
    assert groups["all"]["count"] == 10
    for kind in ("coverage", "family"):
        assert sum(v["count"] for k, v in groups.items() if k.startswith(kind)) == 10
    entry = groups["all"]["teacher/occluded/shape_mm"]
    assert entry["ci95"][0] <= entry["mean"] <= entry["ci95"][1]
    assert entry["mean"] == pytest.approx(rows.array("teacher/occluded/shape_mm").mean())


def test_reductions(summary: dict) -> None:
    robust = reductions(summary, "teacher", "robust")
    means = {k: summary["groups"]["all"][f"{k}/occluded/shape_mm"]["mean"] for k in ("teacher", "robust")}
    assert robust["shape_mm_reduction"] == pytest.approx(1 - means["robust"] / means["teacher"])
    assert set(robust) >= {"texture_reduction", "nme_ratio/robust", "nme_ratio/teacher", "spread_ratio"}


def test_nothing_to_compare_with_is_not_a_number(summary: dict) -> None:
    flat = json.loads(json.dumps(summary))
    flat["groups"]["all"]["teacher/occluded/texture"]["mean"] = 0.0
    assert math.isnan(reductions(flat, "teacher", "robust")["texture_reduction"])


def test_shrinking_towards_the_mean_shows_in_the_spread(summary: dict) -> None:
    assert summary["spread_mm"]["shrunk/clean"] == pytest.approx(
        0.2 * summary["spread_mm"]["teacher/clean"], rel=1e-3
    )
    assert reductions(summary, "teacher", "shrunk")["spread_ratio"] < 0.5
    assert summary["spread_mm"]["mean head/clean"] == pytest.approx(0.0, abs=1e-4)


def test_masks_are_scored_inside_the_face(summary: dict) -> None:
    every = summary["groups"]["all"]
    assert every["teacher/clean/mask_iou"]["mean"] == pytest.approx(1.0)
    # It calls everything visible: on covered faces precision is what the occluder leaves, recall is full.
    assert every["teacher/occluded/mask_recall"]["mean"] == pytest.approx(1.0)
    assert 0.45 < every["teacher/occluded/mask_precision"]["mean"] < 0.85


def test_tables_and_json(summary: dict) -> None:
    full = {
        **summary,
        "against": "teacher",
        "reductions": {"robust": reductions(summary, "teacher", "robust")},
    }
    text = markdown(full)
    assert "| mean head/clean |" in text
    assert "robust against teacher" in text
    assert json.loads(to_json(full))["against"] == "teacher"

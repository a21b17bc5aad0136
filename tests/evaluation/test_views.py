"""Views benchmark: zero at the truth, and each figure sees what it should see."""

import json

import pytest
import torch

from occface_core.cli import main
from occface_core.data.synthetic import SyntheticFaces
from occface_core.evaluation.views import HELD_OUT_SEED, depth_error_mm, evaluate_views
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.encoder import EncoderOutput
from occface_core.rendering.cameras import to_pixels, weak_perspective


@pytest.fixture(scope="module")
def faces() -> SyntheticFaces:
    return SyntheticFaces(HeadModel.load(), AlbedoModel.load(), 64)


def test_the_truth_scores_zero_and_a_network_that_turns_by_view_spreads(faces: SyntheticFaces) -> None:
    batch = faces.sample_views(6, 3, generator=torch.Generator().manual_seed(HELD_OUT_SEED))

    def exact(image: torch.Tensor) -> EncoderOutput:
        return EncoderOutput(batch.params, torch.zeros(6, 1), torch.zeros(6, 1))

    def wavering(image: torch.Tensor) -> EncoderOutput:
        betas = batch.params.betas + torch.tensor([-1.0, 0, 1]).repeat(2)[:, None]
        return EncoderOutput(batch.params.replace(betas=betas), torch.zeros(6, 1), torch.zeros(6, 1))

    result = evaluate_views({"exact": exact, "wavering": wavering}, faces, groups=2, batch_groups=2)
    for values in result["exact"].values():
        assert float(values.abs().max()) < 1e-2
    assert result["mean head"]["depth_mm"].shape == (6,)
    assert float(result["mean head"]["spread_mm"].max()) < 1e-2
    assert float(result["mean head"]["form_mm"].min()) > 0.3
    assert float(result["wavering"]["spread_mm"].min()) > 0.3


def test_depth_error_is_in_millimetres_and_ignores_the_offset(faces: SyntheticFaces) -> None:
    head = faces.head
    camera = torch.tensor([[9.0, 0.0, 0.0]])
    truth = to_pixels(weak_perspective(head.v_template[None], camera), 64)
    moved = truth + torch.tensor([0.0, 0.0, 5.0])
    mask = torch.ones(1, 1, 64, 64)
    assert float(depth_error_mm(moved, truth, head, mask, camera[:, 0])) < 1e-3
    # Depth scaled by 1.5: the error is half of the true relief's mean distance to its median.
    deep = truth * torch.tensor([1.0, 1.0, 1.5])
    error = float(depth_error_mm(deep, truth, head, mask, camera[:, 0]))
    flat = truth * torch.tensor([1.0, 1.0, 1e-6])
    assert error == pytest.approx(float(depth_error_mm(flat, truth, head, mask, camera[:, 0])) / 2, rel=0.2)
    assert torch.isnan(depth_error_mm(truth, truth, head, mask * 0, camera[:, 0])).all()


def test_command_writes_a_table(tmp_path) -> None:
    code = main(["benchmark", "views", "--model", "teacher", "--limit", "2", "--out", str(tmp_path)])
    assert code == 0
    summary = json.loads((tmp_path / "views.json").read_text())["summary"]
    assert summary["teacher"]["depth_mm"]["mean"] > 0
    assert "mean head" in (tmp_path / "views.md").read_text()

"""Profiles benchmark: turns do what they say, a known network gets known figures, batches change nothing."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from occface_core.cli import main
from occface_core.data.batches import BatchConfig, TwinSampler
from occface_core.data.landmarks import mirror_pairs
from occface_core.data.packed import pack
from occface_core.data.photos import load_photo_set
from occface_core.data.profiling import yaw_of
from occface_core.errors import ConfigError
from occface_core.evaluation.profiles import (
    MEAN_HEAD,
    ProfileSettings,
    measure_profiles,
    profile_rows,
    turns_to,
)
from occface_core.geometry.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderConfig, EncoderOutput, FaceEncoder

SIZE = 64


@pytest.fixture(scope="module")
def network() -> FaceEncoder:
    torch.manual_seed(1)
    made = FaceEncoder(EncoderConfig("resnet18", input_size=SIZE, mask_size=16))
    torch.nn.init.normal_(made.layers[2].weight, std=0.05)  # untrained, but not blind
    return made.eval()


class Stubborn(torch.nn.Module):
    """Says the same of every picture."""

    def __init__(self, code: Tensor) -> None:
        super().__init__()
        self.code = code

    def forward(self, image: Tensor) -> EncoderOutput:
        code = self.code.expand(len(image), -1)
        return EncoderOutput(FaceParameters.from_code(code), code, code)


@pytest.fixture(scope="module")
def photos(photo_folder: Path, open_head: HeadModel):
    packed = pack(load_photo_set(photo_folder), size=96, limit=5)
    mean_points = open_head.landmarks(open_head.v_template[None], "468")[0]

    def sampler(batch_size: int) -> TwinSampler:
        return TwinSampler(
            packed,
            BatchConfig(batch_size=batch_size, size=SIZE),
            seed=0,
            mirror=mirror_pairs(mean_points.numpy()),
            mean_points=mean_points,
            augment=False,
        )

    return sampler


@pytest.mark.parametrize("degrees", [0.0, 45.0, 80.0])
def test_heads_turn_to_the_yaw_asked_for(degrees: float) -> None:
    pose = torch.zeros(6, 6)
    pose[:, 1] = torch.tensor([-1.0, -0.5, 0.02, 0.0, 0.3, 1.2])
    turned = axis_angle_to_matrix(pose[:, :3]) @ turns_to(pose, degrees, torch.arange(6))
    after = yaw_of(matrix_to_axis_angle(turned))
    before = pose[:, 1].abs()
    goal = before.clamp(min=math.radians(degrees)) if degrees else before
    torch.testing.assert_close(after.abs(), goal, atol=1e-5, rtol=0)
    sideways = before > 0.2
    assert torch.equal(after.sign()[sideways], pose[:, 1].sign()[sideways])
    if degrees:
        assert after[2] > 0 > after[3]  # frontal ones take turns


def test_figures_of_a_network_that_never_moves(photos, network: FaceEncoder, open_head: HeadModel) -> None:
    with torch.no_grad():
        code = network(photos(5)[0].clean[:1]).code
    still = Stubborn(code)
    found = measure_profiles(
        {"still": still}, still, photos(5), open_head, ProfileSettings(yaws=(0.0, 40.0))
    )
    yaw = yaw_of(FaceParameters.from_code(code).pose)
    assert found["still, clean", 0.0]["shape_mm"].max() < 1e-3
    assert found["still, clean", 40.0]["shape_mm"].max() < 1e-3
    np.testing.assert_allclose(found["still, clean", 0.0]["yaw_deg"], 0, atol=1e-2)
    expected = 40 - math.degrees(float(yaw.abs()))
    # Pitch and roll bend it a little.
    np.testing.assert_allclose(found["still, clean", 40.0]["yaw_deg"], expected, atol=1.0)
    assert found["still, clean", 40.0]["nme"].min() > found["still, clean", 0.0]["nme"].max()
    assert found[MEAN_HEAD, 0.0]["shape_mm"].min() > 0
    assert "mask_iou" not in found["still, clean", 0.0]


def test_batches_change_nothing(photos, network: FaceEncoder, open_head: HeadModel) -> None:
    settings = ProfileSettings(yaws=(50.0,), family="irrational")
    whole, parts = (
        measure_profiles({"net": network}, network, photos(size), open_head, settings) for size in (5, 2)
    )
    assert set(whole) == {("net, clean", 50.0), ("net, covered", 50.0), (MEAN_HEAD, 50.0)}
    for key, row in whole.items():
        for name, values in row.items():
            np.testing.assert_allclose(values, parts[key][name], rtol=1e-3, atol=1e-4)
    covered, clean = whole["net, covered", 50.0], whole["net, clean", 50.0]
    assert not np.allclose(covered["shape_mm"], clean["shape_mm"])
    rows = profile_rows(whole, settings.yaws)
    assert len(rows) == 5
    assert rows[0] == "| network, input | 50° |"
    assert f"{clean['shape_mm'].mean():.2f} / {100 * clean['nme'].mean():.2f} / " in rows[2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"yaws": (0.0, 90.0)}, "yaw 90.0 is outside 0..85"),
        ({"coverage": (0.6, 0.2)}, "coverage"),
        ({"seed": -1}, "seed -1"),
        ({"yaws": (30.0, 30.0)}, "yaws 30, 30: each only once"),
    ],
)
def test_wrong_settings(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProfileSettings(**wrong)


def test_the_command_writes_what_it_measured(photo_folder: Path, tmp_path: Path) -> None:
    command = ["benchmark", "profiles", "--images", str(photo_folder), "--split", "", "--limit", "3"]
    command += ["--yaw", "0", "60", "--model", "teacher", "--occlude", "irrational"]
    assert main([*command, "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "profiles.json").read_text())
    assert report["photos"] == 3
    assert set(report["summary"]) == {"teacher, clean", "teacher, covered", MEAN_HEAD}
    near, far = (report["summary"]["teacher, clean"][yaw]["nme"]["mean"] for yaw in ("0", "60"))
    assert 0 < near < far
    assert "3 photos" in (tmp_path / "out" / "profiles.md").read_text()

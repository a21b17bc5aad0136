"""Sigma calibration on made errors with a known answer."""

import json
from pathlib import Path

import pytest
import torch

from occface_core.cli import main
from occface_core.evaluation.calibration import ONE_SIGMA, correlation, sigma_scale, within_one_sigma
from occface_core.networks.checkpoints import load_encoder, save_encoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder


def test_scale_recovers_a_known_factor(generator: torch.Generator) -> None:
    error = torch.randn(20000, 2, generator=generator).abs() * torch.tensor([0.5, 3.0])
    sigma = torch.ones_like(error)
    scale = sigma_scale(error, sigma)
    assert scale.tolist() == pytest.approx([0.5, 3.0], rel=0.03)
    assert within_one_sigma(error, sigma * scale).tolist() == pytest.approx([ONE_SIGMA] * 2, abs=2e-3)


def test_scale_needs_no_normal_errors(generator: torch.Generator) -> None:
    error = torch.rand(5000, 1, generator=generator) ** 3
    sigma = 0.2 + torch.rand(5000, 1, generator=generator)
    share = within_one_sigma(error, sigma * sigma_scale(error, sigma))
    assert float(share) == pytest.approx(ONE_SIGMA, abs=2e-3)


def test_correlation() -> None:
    error = torch.tensor([[1.0, 1.0], [2.0, 3.0], [3.0, 2.0]])
    assert correlation(error, 2 * error + 1).tolist() == pytest.approx([1.0, 1.0])
    assert correlation(error, -error).tolist() == pytest.approx([-1.0, -1.0])
    assert correlation(error, torch.ones_like(error)).tolist() == [0.0, 0.0]


def test_the_command_measures_and_sets_right(photo_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = EncoderConfig(backbone="mobilenet_v3_small", input_size=64, sigma_regions=("nose", "jaw"))
    network = FaceEncoder(made)
    torch.nn.init.normal_(network.layers[-1].weight, std=0.1)
    save_encoder(network, tmp_path / "net.safetensors", half=False, metadata={"recipe": "damior"})
    options = ["benchmark", "sigma", "--images", str(photo_folder), "--split", "", "--cache", str(tmp_path)]
    options += ["--teacher", str(tmp_path / "net.safetensors"), "--out", str(tmp_path), "--batch-size", "4"]
    right = tmp_path / "right.safetensors"
    command = [*options, "--model", str(tmp_path / "net.safetensors"), "--write", str(right)]
    assert main(command) == 0
    report = json.loads((tmp_path / "sigma.json").read_text())
    assert report["regions"] == ["nose", "jaw"]
    assert report["count"] == 6
    assert load_encoder(right).sigma_scale.tolist() == pytest.approx(report["factor"], rel=1e-5)
    # Measured again, the network that was set right starts where the first measurement ended, but for a photo
    # whose error is its sigma to the last digit: untrained networks say nearly the same of all.
    assert main([*options, "--model", str(right)]) == 0
    again = json.loads((tmp_path / "sigma.json").read_text())
    assert again["before"] == pytest.approx(report["after"], abs=1.01 / report["count"])
    assert again["factor"] == pytest.approx([1.0, 1.0], rel=1e-4)


def test_a_network_without_uncertainty_is_refused(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    save_encoder(FaceEncoder(EncoderConfig(backbone="mobilenet_v3_small")), tmp_path / "net.safetensors")
    model = ["--model", str(tmp_path / "net.safetensors")]
    assert main(["benchmark", "sigma", "--images", str(photo_folder), "--split", "", *model]) == 2
    assert "predicts no uncertainty" in capsys.readouterr().err

"""Networks averaged: the mean of their weights, one file for all, and a refusal of what does not fit."""

from pathlib import Path

import pytest
import torch

from occface_core.cli import main
from occface_core.errors import CheckpointError, ConfigError
from occface_core.networks.averaging import average_encoders
from occface_core.networks.checkpoints import checkpoint_metadata, load_encoder, save_encoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder


def network(seed: int, **changes: object) -> FaceEncoder:
    torch.manual_seed(seed)
    settings = {"backbone": "mobilenet_v3_small", "input_size": 64, "mask_size": 32} | changes
    return FaceEncoder(EncoderConfig(**settings))  # type: ignore[arg-type]


def test_every_weight_is_the_mean(tmp_path: Path) -> None:
    one, two, three = (network(seed) for seed in range(3))
    mean = average_encoders({"one": one, "two": two, "three": three})
    assert mean.config == one.config
    assert not mean.training
    for name, value in mean.state_dict().items():
        parts = [other.state_dict()[name] for other in (one, two, three)]
        goal = sum(parts) / 3 if value.is_floating_point() else parts[0]
        torch.testing.assert_close(value, goal, rtol=0, atol=1e-6)
    assert (one.layers[0].weight != mean.layers[0].weight).any()  # nobody was changed on the way
    torch.testing.assert_close(one.layers[0].weight, network(0).layers[0].weight)


def test_networks_built_differently_are_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match=r"small.*large.*mask_size is 32 in one and 64"):
        average_encoders({"small": network(0), "large": network(1, mask_size=64)})
    with pytest.raises(ConfigError, match="at least two"):
        average_encoders({"one": network(0)})


def test_the_command_writes_a_network(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for seed, file in enumerate(files):
        save_encoder(network(seed, sigma_regions=("nose",)), file, half=False)
    out = tmp_path / "mean.safetensors"
    assert main(["assets", "average", *map(str, files), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert str(out) in said
    assert "benchmark sigma --write" in said
    expected = average_encoders({file.name: load_encoder(file) for file in files})
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(load_encoder(out)(image).code, expected(image).code)
    assert "a.safetensors" in checkpoint_metadata(out)["mean_of"]


@pytest.mark.parametrize("out", ["mean.pt", "mean"])
def test_other_file_types_are_refused(tmp_path: Path, out: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["assets", "average", "student", "teacher", "--out", str(tmp_path / out)]) == 2
    assert ".safetensors" in capsys.readouterr().err

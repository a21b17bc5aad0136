"""What tests of several kinds of networks share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from occface_core.networks.checkpoints import load_encoder, save_encoder
from occface_core.networks.encoder import FaceEncoder


@pytest.fixture
def stored() -> Callable[[FaceEncoder, Tensor, Path], FaceEncoder]:
    """Stores a network in a folder and loads it, which must give its kind, configuration and answers."""

    def again(network: FaceEncoder, crops: Tensor, folder: Path) -> FaceEncoder:
        save_encoder(network, folder / "network.safetensors", half=False)
        loaded = load_encoder(folder / "network.safetensors")
        assert isinstance(loaded, type(network))
        assert loaded.config == network.config
        with torch.no_grad():
            torch.testing.assert_close(loaded(crops).code, network(crops).code)
        return loaded

    return again

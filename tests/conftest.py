"""Shared fixtures: the development folder, seeded generators."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Development data beside the repository; the product and its tests work without it."""
    path = Path(os.environ.get("OCCFACE_SHARED", REPOSITORY.parent / "shared"))
    if not (path / "refs").is_dir():
        pytest.skip("development reference data is not beside this checkout")
    return path


@pytest.fixture()
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture()
def rng() -> np.random.Generator:
    return np.random.default_rng(7)

"""Shared fixtures, and run-time checks of every annotated shape.

Modules of the package are imported through jaxtyping's hook, so a call with a wrong shape or type fails the test
that makes it. Modules that hold compiled kernels stay as they are: compilers cannot see through the wrapper.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

REPOSITORY = Path(__file__).resolve().parent.parent
KERNELS = re.compile(r"^\s*(import|from) (numba|triton)\b", re.MULTILINE)


def checked_modules() -> list[str]:
    """Dotted names of the package's modules without kernels, the ones the hook wraps."""
    names = []
    for path in sorted((REPOSITORY / "occface_core").rglob("*.py")):
        # A package's name would stand for everything in it.
        if path.stem == "__init__" or KERNELS.search(path.read_text(encoding="utf-8")):
            continue
        names.append(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
    return names


# As static checkers do, take an int where a float is asked for.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook(checked_modules(), CHECKER)


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

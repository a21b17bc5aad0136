"""Heads to test on: a small made-up one, and the reference head when it is beside the checkout."""

from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch
from torch import Tensor

from occface_core.morphable.head_model import HeadModel


def tiny_head_arrays(seed: int = 0) -> dict[str, Tensor]:
    """A 20-vertex head in this package's format with seeded values, 4 shapes and 3 expressions."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    weights, regressor = random(20, 5), random(5, 20)
    bary = {
        name: random(*shape, 3)
        for name, shape in {"now7": (7,), "lmk68": (68,), "lmk68_dynamic": (79, 17)}.items()
    }
    arrays = {
        "v_template": random(20, 3) * 0.2,
        "faces": torch.randperm(20 * 3, generator=generator).reshape(20, 3) % 20,
        "shapedirs": (random(20, 3, 4) - 0.5) * 0.01,
        "expressiondirs": (random(20, 3, 3) - 0.5) * 0.01,
        "posedirs": (random(20, 3, 36) - 0.5) * 0.001,
        "joint_regressor": regressor / regressor.sum(1, keepdim=True),
        "skin_weights": weights / weights.sum(1, keepdim=True),
        "parents": torch.tensor([-1, 0, 1, 1, 1]),
    }
    for name, value in bary.items():
        arrays[f"{name}_bary"] = value / value.sum(-1, keepdim=True)
        arrays[f"{name}_faces"] = torch.randint(0, 20, value.shape[:-1], generator=generator)
    return arrays


@pytest.fixture
def tiny_head() -> HeadModel:
    return HeadModel.from_arrays(tiny_head_arrays(), {"name": "tiny"})


@pytest.fixture(scope="session")
def flame_format_arrays(shared_dir: Path) -> dict[str, np.ndarray]:
    """The reference head, with the keys of FLAME's own file."""
    with np.load(shared_dir / "refs" / "flame_format_open.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="session")
def reference_head(flame_format_arrays: dict[str, np.ndarray]) -> HeadModel:
    raw = flame_format_arrays
    names = {
        "v_template": "v_template",
        "f": "faces",
        "J_regressor": "joint_regressor",
        "weights": "skin_weights",
    }
    arrays = {new: torch.from_numpy(raw[old]) for old, new in names.items()}
    arrays["shapedirs"] = torch.from_numpy(raw["shapedirs"][..., :100])
    arrays["expressiondirs"] = torch.from_numpy(raw["shapedirs"][..., 100:])
    arrays["posedirs"] = torch.from_numpy(raw["posedirs"])
    arrays["component"] = torch.from_numpy(raw["component"])
    arrays["parents"] = torch.tensor([-1, 0, 1, 1, 1])
    return HeadModel.from_arrays(arrays)


class Posed(Protocol):
    def __call__(
        self, *, jaw: float = 0.0, yaw: float = 0.0, betas: Tensor | None = None, **actions: float
    ) -> Tensor: ...


@pytest.fixture(scope="session")
def posed(open_head: HeadModel) -> Posed:
    """Makes vertices (B,V,3) of the open head: shapes, default the mean; degrees; named expressions."""

    def make(*, jaw: float = 0.0, yaw: float = 0.0, betas: Tensor | None = None, **actions: float) -> Tensor:
        betas = torch.zeros(1, open_head.n_shape) if betas is None else betas
        angles, expression = torch.zeros(len(betas), 6), torch.zeros(len(betas), open_head.n_expression)
        angles[:, 3], angles[:, 1] = np.radians(jaw), np.radians(yaw)
        for name, value in actions.items():
            expression[:, open_head.expression_names.index(name)] = value
        return open_head(betas, expression, angles).verts

    return make

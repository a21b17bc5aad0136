"""Shared fixtures, and run-time checks of every annotated shape.

Modules of the package are imported through jaxtyping's hook, so a call with a wrong shape or type fails the
test that makes it. Modules that hold compiled kernels stay as they are: compilers cannot see through the
wrapper.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

# Threads of several processes on the same cores would wait for each other after every operation.
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
torch.set_num_threads(max(1, torch.get_num_threads() // PROCESSES))

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


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def open_head():
    """The shipped head."""
    from occface_core.morphable.head_model import HeadModel

    return HeadModel.load()


@pytest.fixture(scope="session")
def small_albedo():
    """A made-up albedo of the shipped one's kind, 50 components on a 16 x 16 texture."""
    from occface_core.morphable.albedo import AlbedoModel

    made = torch.Generator().manual_seed(0)
    mean = torch.tensor([0.75, 0.55, 0.45])[:, None, None].expand(3, 16, 16).contiguous()
    return AlbedoModel(mean, 0.03 * torch.randn(50, 3, 16, 16, generator=made))


@pytest.fixture(scope="session")
def small_bank():
    """Six designs of each family of occluders."""
    from occface_core.occlusion import OccluderBank

    return OccluderBank.build(6, seed=1)


@pytest.fixture(scope="session")
def photo_folder(open_head, small_albedo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rendered faces as PNG files with `landmarks.npz`, in the layout docs/data.md describes."""
    from PIL import Image

    from occface_core.data.synthetic import SyntheticFaces

    faces = SyntheticFaces(open_head, small_albedo, 96)
    batch = faces.sample(12, generator=torch.Generator().manual_seed(3))
    folder = tmp_path_factory.mktemp("photos")
    points = np.zeros((12, 478, 2), np.float32)
    points[:, :468] = batch.points[..., :2].numpy()
    names = [f"{i:02d}.png" for i in range(12)]
    for name, image in zip(names, batch.image, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / name)
    np.savez(
        folder / "landmarks.npz",
        name=np.array(names),
        identity=np.array([f"person {i // 2}" for i in range(12)]),
        label=np.array(["30_0_0"] * 12),
        landmarks_q=((points + 64) * 64).round().astype(np.uint16),
    )
    return folder

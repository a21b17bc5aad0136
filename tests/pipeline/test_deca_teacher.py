"""A DECA archive drives the pipeline on a FLAME-format head, on DECA's own crop."""

from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.errors import CheckpointError
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.deca import DECA_CROP_SCALE, DecaTeacher
from occface_core.pipeline.reconstructor import FaceReconstructor

BOX = (60.0, 60.0, 140.0, 150.0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with DECA's entries; a freshly initialised network, answering near its bias."""
    torch.manual_seed(0)
    teacher = DecaTeacher()
    torch.nn.init.zeros_(teacher.E_flame.layers[2].weight)
    with torch.no_grad():
        teacher.E_flame.layers[2].bias.zero_()
        teacher.E_flame.layers[2].bias[206] = 9.0  # camera scale
    path = tmp_path_factory.mktemp("deca") / "deca_model.tar"
    torch.save({n: getattr(teacher, n).state_dict() for n in ("E_flame", "E_detail", "D_detail")}, path)
    return path


def test_deca_reconstructs_on_its_own_crop(archive: Path) -> None:
    head = HeadModel.load()
    head.name = "somebody's flame"
    photo = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    result = FaceReconstructor(archive, head).reconstruct(photo, box=BOX)
    assert result.crop.side == pytest.approx(DECA_CROP_SCALE * 85.0)
    np.testing.assert_allclose(result.verts_neutral, head.v_template.numpy(), atol=1e-6)
    assert result.vertex_sigma_mm is None


def test_deca_is_refused_on_the_open_head(archive: Path) -> None:
    with pytest.raises(CheckpointError, match="flame"):
        FaceReconstructor(archive, "open")

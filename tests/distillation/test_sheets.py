"""Sample sheets: the same faces every time, readable pictures, and no trace in the training."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from occface_core.data.hidden import hidden_file, write_hidden
from occface_core.data.packed import PACK_SIZE
from occface_core.data.photos import load_photo_set
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.run import run_training
from occface_core.distillation.scene import Scene
from occface_core.distillation.sheets import GAP, HEADER, PANEL, SampleSheet, sheet_faces
from occface_core.networks.encoder import EncoderConfig, FaceEncoder


@pytest.fixture(scope="module")
def network() -> FaceEncoder:
    torch.manual_seed(0)
    return FaceEncoder(EncoderConfig("mobilenet_v3_small", input_size=64, mask_size=16)).train()


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    return config.replace(batch_size=2, sheet_faces=2, occluder_family="irrational")


def test_renders_stand_in_where_there_are_no_photos(config: TrainConfig, scene: Scene) -> None:
    faces, again = sheet_faces(config, scene), sheet_faces(config.replace(seed=9), scene)
    assert (len(faces.clean), faces.photos) == (2, 0)
    assert torch.equal(faces.occluded, again.occluded)
    assert (faces.clean != faces.occluded).flatten(1).any(1).all()


def test_photos_are_spread_over_the_split_and_always_the_same(
    config: TrainConfig, scene: Scene, photo_folder: Path
) -> None:
    config = config.replace(photos=photo_folder, split="", sheet_faces=3)
    faces, again = sheet_faces(config, scene), sheet_faces(config.replace(seed=9, batch_size=8), scene)
    assert (len(faces.clean), faces.photos) == (3, 3)
    assert torch.equal(faces.clean, again.clean)
    assert torch.equal(faces.occluded, again.occluded)
    assert (faces.visible <= faces.face + 1e-6).all()


def test_fewer_photos_than_rows(config: TrainConfig, scene: Scene, photo_folder: Path) -> None:
    faces = sheet_faces(config.replace(photos=photo_folder, split="", sheet_faces=50), scene)
    assert len(faces.clean) == 12


def test_sheets_outline_what_the_photos_themselves_leave_bare(
    config: TrainConfig, scene: Scene, photo_folder: Path, tmp_path: Path
) -> None:
    config = config.replace(photos=photo_folder, split="train", dev_split="", sheet_faces=3)
    names = load_photo_set(photo_folder, split="").records
    masks = np.zeros((len(names), PACK_SIZE, PACK_SIZE), bool)
    masks[:, : PACK_SIZE // 2] = True
    write_hidden(hidden_file(tmp_path, ""), [record.name for record in names], masks)
    bare, whole = sheet_faces(config.replace(hidden=tmp_path), scene), sheet_faces(config, scene)
    assert torch.equal(bare.occluded, whole.occluded)
    assert 0.2 < bare.face.sum() / whole.face.sum() < 0.8


def test_a_sheet_has_a_panel_for_everything(
    config: TrainConfig, scene: Scene, network: FaceEncoder, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    sheet = SampleSheet(sheet_faces(config, scene), scene)
    assert sheet.save(network, tmp_path / "sheets" / "one.png", "teacher, step 1")
    picture = cv2.imread(str(tmp_path / "sheets" / "one.png"))
    assert picture.shape == (2 * HEADER + 2 * (PANEL + GAP), 5 * (PANEL + GAP) + GAP, 3)
    for column in range(5):
        left = GAP + column * (PANEL + GAP)
        panel = picture[2 * HEADER : 2 * HEADER + PANEL, left : left + PANEL]
        assert panel.std() > 5, column
    assert [p.name for p in (tmp_path / "sheets").iterdir()] == ["one.png"]
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    np.testing.assert_array_equal(sheet.draw(network, "a"), sheet.draw(network, "a"))


def test_a_network_without_a_mask_has_no_mask_column(config: TrainConfig, scene: Scene) -> None:
    network = FaceEncoder(EncoderConfig("mobilenet_v3_small", input_size=64, mask_size=0))
    picture = SampleSheet(sheet_faces(config, scene), scene).draw(network, "")
    assert picture.shape[1] == 4 * (PANEL + GAP) + GAP


def test_a_run_leaves_sheets_and_trains_as_without_them(config: TrainConfig) -> None:
    often = run_training(config.replace(sheet_minutes=1e-9, sheet_faces=1))
    never = run_training(config.replace(sheet_minutes=0.0, out=config.out / "other"))
    assert [p.name for p in sorted((config.out / "sheets").iterdir())] == [
        "step-000001.png",
        "step-000002.png",
    ]
    assert not (config.out / "other" / "sheets").exists()
    assert often["final"]["total"] == pytest.approx(never["final"]["total"], rel=1e-4)

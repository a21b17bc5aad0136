"""TensorFlow.js graphs run as TensorFlow would run them; what a face parser says becomes covers."""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.data.packed import PackedPhotos
from occface_core.data.parsing import CLASSES, FaceParser, cover_from_classes, hidden_parts
from occface_core.data.tfjs import GraphModel
from occface_core.errors import DataError

from .graphs import SAME, ints, node, write_graph, write_red_is_hair


def image(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([[list(rows)]], dtype=torch.float32)


def test_convolution_pads_behind_and_fuses_bias_and_relu(tmp_path: Path) -> None:
    ops = [base64.b64encode(o).decode() for o in (b"BiasAdd", b"Relu")]
    attr = {"padding": SAME, "strides": ints(1, 2, 2, 1), "fused_ops": {"list": {"s": ops}}}
    weights = {"k": np.ones((3, 3, 1, 2), np.float32), "b": np.array([0.5, -20.0], np.float32)}
    folder = write_graph(tmp_path, [node("_FusedConv2D", "y", "image", "k", "b", **attr)], weights)
    x = torch.arange(16, dtype=torch.float32).view(1, 1, 4, 4)
    # An even side and stride 2 need one row more, which TensorFlow adds below and on the right.
    expected = torch.tensor([[45.5, 39.5], [66.5, 50.5]])
    y = GraphModel(folder, "y")(x)
    torch.testing.assert_close(y[0, 0], expected)
    torch.testing.assert_close(y[0, 1], (expected - 20.5).clamp(min=0))


def test_depthwise_convolution_keeps_channels_apart(tmp_path: Path) -> None:
    kernel = np.array([1.0, 2.0, 3.0, 4.0], np.float32).reshape(1, 1, 2, 2)
    attr = {"padding": SAME, "strides": ints(1, 1, 1, 1)}
    bias = np.zeros(4, np.float32)
    nodes = [node("FusedDepthwiseConv2dNative", "y", "image", "k", "b", **attr)]
    y = GraphModel(write_graph(tmp_path, nodes, {"k": kernel, "b": bias}), "y")(
        torch.tensor([10.0, 100.0]).view(1, 2, 1, 1)
    )
    assert y.flatten().tolist() == [10.0, 20.0, 300.0, 400.0]


def test_pools_leave_padding_out(tmp_path: Path) -> None:
    attr = {"padding": SAME, "strides": ints(1, 2, 2, 1), "ksize": ints(1, 3, 3, 1)}
    nodes = [node("AvgPool", "mean", "image", **attr), node("MaxPool", "most", "image", **attr)]
    folder = write_graph(tmp_path, nodes, {"unused": np.zeros(1, np.float32)})
    x = -image([1, 2], [3, 4])
    assert GraphModel(folder, "mean")(x).item() == -2.5
    assert GraphModel(folder, "most")(x).item() == -1


def test_resize_starts_at_the_corner_and_sizes_come_from_images(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "s", "image"),
        node("StridedSlice", "hw", "s", "b", "b", "b"),
        node("Mean", "m", "image", "b"),
        node("ConcatV2", "two", "small", "small", "b"),
        node("ResizeBilinear", "y", "two", "hw"),
        node("MaxPool", "small", "image", padding=SAME, strides=ints(1, 2, 2, 1), ksize=ints(1, 1, 1, 1)),
        node("Add", "shifted", "m", "c"),
        node("Mul", "scaled", "shifted", "c"),
        node("Sigmoid", "half", "zero"),
        node("Mul", "zero", "m", "none"),
    ]
    weights = {"b": np.zeros(1, np.int32), "c": np.array([2.0], np.float32), "none": np.zeros(1, np.float32)}
    folder = write_graph(tmp_path, nodes, weights)
    x = image([0, 9, 4, 9], [9, 9, 9, 9], [8, 9, 12, 9], [9, 9, 9, 9])
    y = GraphModel(folder, "y")(x)
    assert y.shape == (1, 2, 4, 4)
    assert y[0, 1, 0].tolist() == [0, 2, 4, 4]
    assert y[0, 0, :, 0].tolist() == [0, 4, 8, 8]
    assert GraphModel(folder, "scaled")(x).item() == pytest.approx((x.mean().item() + 2) * 2)
    assert GraphModel(folder, "half")(x).item() == 0.5


def test_graphs_that_cannot_be_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.json"):
        GraphModel(tmp_path, "y")
    nodes = [node("PyFunc", "y", "image"), node("Relu", "z", "gone"), node("Relu", "w", "k")]
    folder = write_graph(tmp_path, nodes, {"k": np.zeros(8, np.float32)})
    for output, message in [("y", "PyFunc"), ("z", "'gone'"), ("other", "no node 'other'")]:
        with pytest.raises(DataError, match=message):
            GraphModel(folder, output)
    for manifest in ([{"weights": []}], [{"paths": ["weights.bin"], "weights": [{"name": "k"}]}]):
        described = json.loads((folder / "model.json").read_text()) | {"weightsManifest": manifest}
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / "bad" / "model.json").write_text(json.dumps(described))
        shutil.copy(folder / "weights.bin", tmp_path / "bad")
        with pytest.raises(DataError, match=r"bad: its weights are not described"):
            GraphModel(tmp_path / "bad", "w")
    (folder / "weights.bin").write_bytes(b"1234")
    with pytest.raises(DataError, match="cut short at 'k'"):
        GraphModel(folder, "w")
    (folder / "weights.bin").unlink()
    with pytest.raises(DataError, match=r"weights\.bin"):
        GraphModel(folder, "w")


def classes(*rows: str) -> np.ndarray:
    """A label map from words, each ten by ten pixels."""
    blocks = [[np.full((10, 10), CLASSES.index(w), np.uint8) for w in row.split(",")] for row in rows]
    return np.block(blocks)


def test_hair_hats_and_sure_background_hide_the_face_ears_and_neck_do_not() -> None:
    label = classes(
        "hair,hat,skin,cloth", "background,background,left ear,neck", "nose,mouth,upper lip,left eye"
    )
    sure = np.full(label.shape, 0.5, np.float32)
    sure[10:20, :10] = sure[:10, 30:] = 0.99
    image = np.full((*label.shape, 3), 150, np.uint8)
    hidden = cover_from_classes(image, label, sure, np.ones(label.shape, bool))
    shown = hidden[5::10, 5::10]
    assert shown.tolist() == [[True, True, False, True], [True, False, False, False], [False] * 4]


@pytest.mark.parametrize(
    ("lens", "covers"), [((30, 30, 35), True), ((40, 90, 220), True), ((190, 150, 130), False)]
)
def test_dark_and_coloured_lenses_hide_clear_ones_do_not(lens: tuple, covers: bool) -> None:
    label = classes("skin,skin", "glasses,skin")
    image = np.full((20, 20, 3), (210, 165, 140), np.uint8)
    image[10:, :10] = lens
    hidden = cover_from_classes(image, label, np.ones((20, 20), np.float32), np.ones((20, 20), bool))
    assert hidden[10:, :10].all() == covers
    assert not hidden[:10].any()


@pytest.fixture
def red_is_hair(tmp_path: Path) -> Path:
    return write_red_is_hair(tmp_path / "parser")


@pytest.mark.parametrize("half", [False, True])
def test_the_parser_answers_at_the_images_own_size(red_is_hair: Path, half: bool) -> None:
    images = np.full((2, 40, 40, 3), 128, np.uint8)
    images[1, :20] = (255, 0, 0)
    label, sure = FaceParser(red_is_hair, half=half).parse(images)
    assert label.shape == sure.shape == (2, 40, 40)
    assert (label[0] == CLASSES.index("skin")).all()
    assert (label[1, :18] == CLASSES.index("hair")).all()
    assert (label[1, 22:] == CLASSES.index("skin")).all()
    assert sure.min() > 0.3
    assert sure[0].min() > 0.99


def test_photos_without_a_face_mesh_are_refused(red_is_hair: Path) -> None:
    points = np.full((1, 68, 2), 20, np.float32)
    packed = PackedPhotos(np.zeros((1, 40, 40, 3), np.uint8), points, ["a.png"], [""], [""], [])
    with pytest.raises(DataError, match="468 MediaPipe landmarks per photo, got 68"):
        next(hidden_parts(packed, FaceParser(red_is_hair)))

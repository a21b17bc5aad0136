import base64
import json

import numpy as np
import plotly.graph_objects as go
import pytest

from demo import figures

VERTS = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def decode(packed: dict[str, str]) -> np.ndarray:
    kinds = {"f4": "<f4", "u2": "<u2", "u4": "<u4"}
    return np.frombuffer(base64.b64decode(packed["bdata"]), kinds[packed["dtype"]])


def test_coordinates_travel_as_float32_millimetres_and_triangles_as_uint16() -> None:
    trace = figures.mesh_trace(VERTS, FACES)
    assert trace["x"]["dtype"] == "f4"
    np.testing.assert_allclose(decode(trace["y"]), [0, 0, 100, 0])
    assert trace["i"]["dtype"] == "u2"
    np.testing.assert_array_equal(decode(trace["k"]), FACES[:, 2])


def test_indices_beyond_uint16_widen() -> None:
    packed = figures.typed_array(np.array([0, 70_000]))
    assert packed["dtype"] == "u4"
    np.testing.assert_array_equal(decode(packed), [0, 70_000])


def test_plotly_accepts_the_trace_and_the_layout() -> None:
    trace = figures.mesh_trace(VERTS, FACES, np.full((4, 3), 0.5))
    figure = go.Figure(go.Mesh3d(**trace), figures.scene_layout([VERTS]))
    assert figure.data[0].lighting.ambient == pytest.approx(0.35)
    assert list(figure.data[0].vertexcolor) == ["#808080"] * 4


def test_colours_round_clip_and_survive_nan() -> None:
    assert figures.hex_colours(np.array([[0.0, 1.0, 2.0], [np.nan, 0.5, -1.0]])) == ["#00ffff", "#008000"]


def test_difference_scale_ends_at_its_first_and_last_colour() -> None:
    colours = figures.hex_colours(figures.difference_colours(np.array([0.0, 5.0, 50.0]), 5.0))
    assert colours == [
        figures.DIFFERENCE_SCALE[0],
        figures.DIFFERENCE_SCALE[-1],
        figures.DIFFERENCE_SCALE[-1],
    ]


def test_lightness_falls_along_the_difference_scale() -> None:
    ramp = figures.colour_ramp(np.linspace(0, 1, 50), figures.DIFFERENCE_SCALE)
    assert (np.diff(ramp @ [0.2126, 0.7152, 0.0722]) < 0).all()


@pytest.mark.parametrize(("largest", "top"), [(0.0, 2.0), (2.5, 3.0), (7.0, 8.0), (500.0, 40.0)])
def test_scale_top_is_a_round_number_that_holds_the_distances(largest: float, top: float) -> None:
    assert figures.scale_top([np.zeros(3), np.full(3, largest)]) == top


def test_one_box_holds_all_heads() -> None:
    scene = figures.scene_layout([VERTS, VERTS + 0.1])["scene"]
    assert scene["xaxis"]["range"][0] < 0
    assert scene["xaxis"]["range"][1] > 200


def test_message_is_plain_json_with_every_view_and_colour() -> None:
    colours = {"skin": np.ones((4, 3)), "difference": {"photo": np.zeros((4, 3)), "neutral": np.ones((4, 3))}}
    panel = figures.Panel({"photo": VERTS, "neutral": VERTS}, colours, "1.0 mm")
    message = json.loads(
        json.dumps(figures.viewer_message(FACES, [panel] * 3, {"photo": 5.0, "neutral": 3.0}))
    )
    assert message["kind"] == "meshes"
    first = message["panels"][0]
    assert set(first["verts"]) == {"photo", "neutral"}
    assert first["colours"]["skin"] == "ffffff" * 4
    assert first["colours"]["difference"]["photo"] == "000000" * 4


def test_animation_message_moves_one_head() -> None:
    message = figures.animation_message(VERTS, 2)
    assert message["panel"] == 2
    np.testing.assert_allclose(decode(message["verts"]["z"])[-1], 100)

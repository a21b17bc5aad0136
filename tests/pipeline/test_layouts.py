"""The open head's texture is symmetric where the face is, and the program finds that out by itself."""

import numpy as np

from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.layouts import TextureLayouts


def test_the_face_is_symmetric_in_the_texture_and_the_eyes_are_not(open_head: HeadModel) -> None:
    layouts = TextureLayouts(open_head)
    lookup, chart = layouts.lookup(128), layouts.chart(128)
    assert lookup is not None
    assert chart is not None
    assert layouts.chart(128) is chart  # made once
    symmetric = chart.symmetric
    np.testing.assert_array_equal(symmetric, symmetric[:, ::-1])

    def share(region: str) -> float:
        weight = lookup.from_vertices(open_head.regions[region][None, :, None], open_head.faces)[0, 0].numpy()
        return float(symmetric[weight > 0.5].mean())

    assert share("face") > 0.97
    assert share("ears") > 0.97
    assert share("eyes") < 0.05

    def parts(region: str) -> set[int]:
        weight = lookup.from_vertices(open_head.regions[region][None, :, None], open_head.faces)[0, 0].numpy()
        return set(np.unique(chart.part[weight > 0.5]).tolist())

    assert chart.prior is None
    assert chart.surface is not None
    assert 0.5 < chart.surface.mean() < 1  # the holes of eyes and mouth are not part of the head
    assert parts("eyes") == {1}
    assert parts("mouth_interior") == {2, 3}
    assert parts("teeth") == {3}
    assert parts("nose") == {0}


def test_a_head_without_a_texture_has_no_layout(open_head: HeadModel) -> None:
    class Bare:
        uv = uv_faces = None

    layouts = TextureLayouts.__new__(TextureLayouts)
    layouts._head, layouts._lookups, layouts._charts = Bare(), {}, {}  # type: ignore[assignment]
    assert layouts.lookup(64) is None
    assert layouts.chart(64) is None

"""The open head's texture is symmetric where the face is, and the program finds that out by itself."""

import numpy as np

from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.layouts import TextureLayouts


def test_the_face_is_symmetric_in_the_texture_and_the_eyes_are_not(open_head: HeadModel) -> None:
    layouts = TextureLayouts(open_head)
    lookup, symmetric = layouts.lookup(128), layouts.symmetric(128)
    assert lookup is not None
    assert symmetric is not None
    assert layouts.symmetric(128) is symmetric  # made once
    np.testing.assert_array_equal(symmetric, symmetric[:, ::-1])

    def share(region: str) -> float:
        weight = lookup.from_vertices(open_head.regions[region][None, :, None], open_head.faces)[0, 0].numpy()
        return float(symmetric[weight > 0.5].mean())

    assert share("face") > 0.97
    assert share("ears") > 0.97
    assert share("eyes") < 0.05


def test_a_head_without_a_texture_has_no_layout(open_head: HeadModel) -> None:
    class Bare:
        uv = uv_faces = None

    layouts = TextureLayouts.__new__(TextureLayouts)
    layouts._head, layouts._lookups, layouts._mirrors = Bare(), {}, {}  # type: ignore[assignment]
    assert layouts.lookup(64) is None
    assert layouts.symmetric(64) is None

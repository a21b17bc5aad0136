"""Index sets among MediaPipe's points: sizes, sides and mirror images."""

import numpy as np
import pytest

from occface_core.data.landmarks import (
    EYE_PAIRS,
    IBUG68_FROM_MEDIAPIPE,
    LIP_PAIRS,
    ibug68,
    landmark_box,
    mirror_pairs,
)
from occface_core.morphable.head_model import HeadModel
from occface_core.occlusion.face_points import FACE_OVAL

# MediaPipe's mesh: subject's right and left outer eye corners, mouth corners.
KNOWN_MIRRORS = ((33, 263), (61, 291), (133, 362), (234, 454), (1, 1), (152, 152))


def test_sets_have_their_sizes_and_no_repeats() -> None:
    assert len(IBUG68_FROM_MEDIAPIPE) == len(set(IBUG68_FROM_MEDIAPIPE)) == 68
    assert len(FACE_OVAL) == len(set(FACE_OVAL)) == 36
    everything = [*IBUG68_FROM_MEDIAPIPE, *FACE_OVAL, *(i for pair in (*EYE_PAIRS, *LIP_PAIRS) for i in pair)]
    assert min(everything) >= 0
    assert max(everything) < 468


def test_ibug68_picks_by_index_whatever_stands_before() -> None:
    points = np.arange(2 * 478 * 2, dtype=np.float32).reshape(2, 478, 2)
    picked = ibug68(points)
    assert picked.shape == (2, 68, 2)
    np.testing.assert_array_equal(picked[1, 30], points[1, IBUG68_FROM_MEDIAPIPE[30]])


def test_landmark_box_is_tight() -> None:
    points = np.array([[3.0, 9.0], [-1.0, 4.0], [2.0, 5.0]])
    np.testing.assert_array_equal(landmark_box(points), [-1, 4, 3, 9])


def test_mirror_pairs_on_the_head(open_head: HeadModel) -> None:
    points = open_head.landmarks(open_head.v_template[None], "468")[0].numpy()
    pairs = mirror_pairs(points)
    np.testing.assert_array_equal(pairs[pairs], np.arange(468))
    assert all(pairs[a] == b and pairs[b] == a for a, b in KNOWN_MIRRORS)
    np.testing.assert_allclose(points[pairs] * [-1, 1, 1], points, atol=2e-3)


def test_ibug_points_lie_where_their_names_say(open_head: HeadModel) -> None:
    points = open_head.landmarks(open_head.v_template[None], "468")[0].numpy()
    chosen = points[list(IBUG68_FROM_MEDIAPIPE)]
    right_eye, left_eye = chosen[36:42].mean(0), chosen[42:48].mean(0)
    mouth, chin, nose = chosen[48:].mean(0), chosen[8], chosen[30]
    assert right_eye[0] < -0.02 < 0.02 < left_eye[0]  # x to the subject's left
    assert chin[1] < mouth[1] < nose[1] < right_eye[1]
    assert nose[2] == chosen[:, 2].max()


def test_asymmetric_template_is_refused() -> None:
    with pytest.raises(ValueError, match="not mirror symmetric"):
        mirror_pairs(np.array([[1.0, 0, 0], [2.0, 0, 0], [-1.9, 0, 0]]))

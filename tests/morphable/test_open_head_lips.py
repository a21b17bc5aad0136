"""Where the lips of the open head meet, and the inner lip points there."""

import numpy as np
import pytest
import torch

from occface_core.errors import AssetError
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head_landmarks import INNER_LOWER_LIP, INNER_UPPER_LIP
from occface_core.morphable.open_head_lips import TOUCHING, _contact


def test_inner_lip_points_lie_where_the_lips_meet(open_head: HeadModel) -> None:
    """MediaPipe's coincide on a closed mouth; 3 mm apart, every closed mouth would be pressed shut."""

    def gaps(verts: torch.Tensor) -> torch.Tensor:
        points = open_head.landmarks(verts, "468")[0]
        return 1e3 * (points[list(INNER_UPPER_LIP), 1] - points[list(INNER_LOWER_LIP), 1])

    closed = gaps(open_head.v_template[None])
    assert closed.min() > 0
    assert closed.max() < 0.9
    jaw = torch.zeros(1, 6)
    jaw[0, 3] = np.radians(12)
    none = torch.zeros(1, open_head.n_shape), torch.zeros(1, open_head.n_expression)
    opened = gaps(open_head(*none, jaw).verts)
    assert opened[4] > 12  # in the middle
    assert (opened > closed).all()


def test_lips_meet_at_the_front() -> None:
    """Two wedges, 2 mm apart in front and touching from z = 0 on backwards."""
    front, back, wide = 0.004, -0.004, 0.01
    upper = np.array([[x, y, z] for x in (-wide, wide) for y, z in ((0.001, front), (0.0, 0.0), (0.0, back))])
    lower = upper * np.array([1.0, -1.0, 1.0])
    mean = np.concatenate([upper, lower])
    strip = np.array([[0, 1, 3], [1, 4, 3], [1, 2, 4], [2, 5, 4]])
    depth, (above, below) = _contact(mean, strip, strip + 6, 0.001)
    assert depth == pytest.approx(0.0012, abs=2e-4)  # where they are 0.6 mm apart
    assert above - below == pytest.approx(TOUCHING, abs=1e-4)
    assert above == pytest.approx(-below)
    with pytest.raises(AssetError, match="no lips above each other 30"):
        _contact(mean, strip, strip + 6, 0.03)

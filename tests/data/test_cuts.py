"""Photos that end early: their last rows and columns go on, the rest stays, and some of a face is left."""

import numpy as np
import pytest
import torch
from torch import Tensor

from occface_core.data.cuts import cut_off

SIZE = 48


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(64, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def points() -> Tensor:
    """Landmarks that fill the middle half of the crop."""
    spread = torch.rand(64, 468, 2, generator=torch.Generator().manual_seed(1))
    spread[:, 0], spread[:, 1] = 0.0, 1.0
    return 12 + 24 * spread


def test_a_photo_goes_on_with_its_last_rows_and_columns(pictures: Tensor, points: Tensor) -> None:
    cut, inside = cut_off(pictures, points, 1.0, [5])
    assert bool(((cut == pictures) | (inside == 0)).all())
    for picture, there in zip(cut, inside[:, 0].bool(), strict=True):
        rows, columns = there.any(1).nonzero()[:, 0], there.any(0).nonzero()[:, 0]
        assert int(there.sum()) == len(rows) * len(columns)  # a rectangle
        y, x = (torch.arange(SIZE).clamp(int(ends[0]), int(ends[-1])) for ends in (rows, columns))
        assert torch.equal(picture, picture[:, y][:, :, x])


def test_cuts_differ_and_leave_most_of_a_face(pictures: Tensor, points: Tensor) -> None:
    _, inside = cut_off(pictures, points, 1.0, [5])
    face = inside[:, :, 12:36, 12:36].mean((1, 2, 3))
    assert float(face.min()) > 0.5
    assert 0.1 < float((face < 0.999).float().mean()) < 0.8
    assert len({tuple(one.flatten().tolist()) for one in inside}) > 50


def test_the_share_is_met_and_others_keep_their_bits(pictures: Tensor, points: Tensor) -> None:
    cut, inside = cut_off(pictures, points, 0.5, [5])
    touched = (inside == 0).flatten(1).any(1)
    assert float(touched.float().mean()) == pytest.approx(0.5, abs=0.15)
    assert torch.equal(cut[~touched], pictures[~touched])
    more, _ = cut_off(pictures, points, 1.0, [5])
    assert torch.equal(more[touched], cut[touched])  # the same draws whatever the share
    same, everywhere = cut_off(pictures, points, 0.0, [5])
    assert same is pictures
    assert bool((everywhere == 1).all())
    assert not np.array_equal(cut_off(pictures, points, 1.0, [6])[1], inside)


def test_faces_at_the_rim_of_a_crop_leave_something(pictures: Tensor, points: Tensor) -> None:
    for shift in (-40.0, 40.0):
        cut, inside = cut_off(pictures, points + shift, 1.0, [5])
        assert bool((inside.sum((1, 2, 3)) >= 1).all())
        assert bool(torch.isfinite(cut).all())

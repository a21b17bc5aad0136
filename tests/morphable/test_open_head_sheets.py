"""Pictures of the head: every tile shows it, and captions say which."""

import numpy as np

from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head_picture import View
from occface_core.morphable.open_head_sheets import HeadPainter, sheet


def test_a_turned_jaw_opens_the_mouth_and_dots_are_drawn(open_head: HeadModel) -> None:
    painter = HeadPainter(open_head)
    view = View(size=48)
    closed, opened = (painter.picture(painter.verts(jaw=angle), view) for angle in (0.0, 25.0))
    assert closed.shape == (48, 48, 3)
    assert (closed[0] == 255).all()  # white behind the head
    changed = np.abs(closed.astype(int) - opened).sum(-1) > 40
    assert changed[24:].sum() > 20
    assert changed[:20].sum() == 0  # nothing above the nose moves
    dotted = painter.picture(painter.verts(), view, np.array([[0.0, 0.0, 0.1]]))
    assert (dotted[..., 2].astype(int) - dotted[..., 0] > 50).any()


def test_shape_and_actions_are_chosen_by_number_and_name(open_head: HeadModel) -> None:
    painter = HeadPainter(open_head)
    moved = painter.verts(shape={1: 2.0}) - painter.verts()
    np.testing.assert_allclose(moved, 2 * open_head.shapedirs[..., 1].numpy(), atol=1e-6)
    assert np.abs(painter.verts(actions={"cheekPuff": 1.0}) - painter.verts()).max() > 0.005


def test_sheets_are_filled_row_by_row() -> None:
    tiles = [(str(i), np.full((20, 20, 3), 40 * i, np.uint8)) for i in range(3)]
    picture = np.asarray(sheet(tiles, 2))
    assert picture.shape == (72, 40, 3)
    assert picture[[30, 30, 66, 66], [10, 30, 10, 30], 0].tolist() == [0, 40, 80, 255]

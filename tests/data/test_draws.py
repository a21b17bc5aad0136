"""Which photos a step is made of: closed eyes as often as asked for, everything else still gone through."""

import numpy as np
import pytest

from occface_core.data.draws import CLOSED_EYES, PhotoDraw
from occface_core.data.landmarks import EYE_PAIRS, eye_opening


def faces(openings: list[float], *, width: float = 200.0, height: float = 162.0) -> np.ndarray:
    """Landmarks on the diagonal of a box, but the lids, which are `openings` of its size apart."""
    points = np.zeros((len(openings), 478, 2))
    points[:, :468] = np.linspace((0, 0), (width, height), 468)
    for upper, lower in EYE_PAIRS:
        points[:, upper] = points[:, lower] = (width / 2, height / 3)
        points[:, lower, 1] += np.array(openings) * np.sqrt(width * height)
    points[:, 468:] = 9999.0  # irises are no part of the box
    return points


def test_the_opening_of_eyes_is_a_share_of_the_face() -> None:
    openings = [0.0, 0.01, 0.05]
    np.testing.assert_allclose(eye_opening(faces(openings)), openings, atol=1e-12)
    np.testing.assert_allclose(eye_opening(3 * faces(openings) + 7), openings, atol=1e-12)
    winking = faces([0.05])
    for upper, lower in EYE_PAIRS[:3]:
        winking[:, lower] = winking[:, upper]
    assert eye_opening(winking)[0] == pytest.approx(0.025)


def draw(shares: dict[str, float], openings: list[float], names: list[str] | None = None) -> PhotoDraw:
    shares = {"person_share": 0.0, "closed_eyes_share": 0.0} | shares
    return PhotoDraw(names or [""] * len(openings), faces(openings), seed=3, **shares)


def test_closed_eyes_come_as_often_as_asked_for_and_the_rest_goes_through_all_photos() -> None:
    openings = [0.05] * 20
    for row in (4, 11, 17):
        openings[row] = CLOSED_EYES - 0.001
    drawn = draw({"closed_eyes_share": 0.25}, openings)
    assert drawn.closed.tolist() == [4, 11, 17]
    steps = [drawn(step, 8) for step in range(10)]
    assert all(np.array_equal(rows, drawn(step, 8)) for step, rows in enumerate(steps))
    closed = [row for rows in steps for row in rows[:2].tolist()]
    assert all(sorted(closed[i : i + 3]) == [4, 11, 17] for i in range(0, 18, 3))
    alone = [row for rows in steps for row in rows[2:].tolist()]
    assert sorted(alone[:20]) == sorted(alone[20:40]) == list(range(20))


def test_closed_eyes_come_after_the_pairs_and_take_what_they_leave() -> None:
    openings, names = [0.05] * 9 + [0.0], ["a", "a", "b", "b", *[""] * 6]
    rows = draw({"person_share": 0.5, "closed_eyes_share": 0.25}, openings, names)(0, 8)
    assert {tuple(sorted(rows[:2])), tuple(sorted(rows[2:4]))} == {(0, 1), (2, 3)}
    assert rows[4:6].tolist() == [9, 9]
    full = draw({"person_share": 1.0, "closed_eyes_share": 1.0}, openings, names)(0, 8)
    assert len(full) == 8
    assert 9 not in full


def test_without_closed_eyes_and_without_the_share_batches_are_what_they_were() -> None:
    openings = [0.05] * 12
    plain = draw({}, openings)
    nobody = draw({"closed_eyes_share": 0.5}, openings)
    openings[3] = 0.0
    unused = draw({}, openings)
    for step in range(4):
        np.testing.assert_array_equal(plain(step, 5), nobody(step, 5))
        np.testing.assert_array_equal(plain(step, 5), unused(step, 5))

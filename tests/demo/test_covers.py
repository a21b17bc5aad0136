"""Objects that the app puts before a face: every family, repeatable, one or two at once."""

import numpy as np
import pytest

from demo.engine import NOTHING, Engine, Photo
from occface_core.occlusion import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_covers_the_face_and_repeats_with_its_seed(
    engine: Engine, photo: Photo, family: str
) -> None:
    first, again = (engine.cover(photo, family, 0.35, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert (0.02 if family == "glasses" else 0.05) < first.coverage < 0.7
    assert (first.pixels != photo.pixels).any()


def test_a_second_object_lies_on_top_of_the_first(engine: Engine, photo: Photo) -> None:
    one = engine.cover(photo, "medical_mask", 0.35, seed=5)
    two = engine.cover(photo, "medical_mask", 0.35, seed=5, extra="sunglasses")
    alone = engine.cover(photo, NOTHING, 0.35, seed=5, extra="sunglasses")
    assert two.coverage > one.coverage + 0.03
    assert (two.clear <= one.clear + 1e-6).all()
    assert 0.03 < alone.coverage < one.coverage
    assert not alone.untouched
    hidden = float((photo.face * (1 - two.clear)).sum() / photo.face.sum())
    assert two.coverage == pytest.approx(hidden, abs=1e-4)
    assert engine.cover(photo, NOTHING, 0.35, seed=5).untouched

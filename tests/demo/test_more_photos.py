"""Further photos of the same person in the app."""

from pathlib import Path

import numpy as np
from PIL import Image

from demo.callbacks import Callbacks
from demo.engine import Engine, Photo


def test_more_photos_of_the_person_change_the_student_alone(
    callbacks: Callbacks, engine: Engine, photo: Photo, notices: list[str], tmp_path: Path
) -> None:
    covered = engine.cover(photo, "random_shape", 0.3, seed=1)
    bright, broken = tmp_path / "bright.png", tmp_path / "<b>.png"
    Image.fromarray((photo.pixels // 2 + 127).astype(np.uint8)).save(bright)
    broken.write_bytes(b"no picture")
    alone = callbacks.reconstruct(photo, covered, "object", None)
    both = callbacks.reconstruct(photo, covered, "object", None, [str(broken), str(bright)])
    assert len(notices) == 1
    assert "&lt;b&gt;.png" in notices[0]
    assert "1 more photo</b>" in both[2]
    assert "more photo" not in alone[2]
    assert np.array_equal(alone[4].teacher.verts_neutral, both[4].teacher.verts_neutral)
    single = engine._get("student").reconstruct(np.asarray(Image.open(bright)))
    middle = (alone[4].student.verts_neutral + single.verts_neutral) / 2
    np.testing.assert_allclose(both[4].student.verts_neutral, middle, atol=1e-5)

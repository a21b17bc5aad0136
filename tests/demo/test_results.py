"""Results belong to the photo that is open, and their colours to the person."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import gradio as gr
import numpy as np

from demo import heads, report
from demo.callbacks import BEING_COVERED, Callbacks
from demo.engine import NOTHING, Covered, Engine, Photo
from demo.exports import Exports
from occface_core.pipeline.reconstructor import Reconstruction


def under_object(covered: Covered, result: Reconstruction) -> np.ndarray:
    return heads.at_vertices(covered.clear, result) == 0


def test_a_cover_of_the_photo_before_is_not_reconstructed(
    callbacks: Callbacks, engine: Engine, photo: Photo, portrait: np.ndarray, notices: list[str]
) -> None:
    late = engine.cover(photo, "blur", 0.3, 0)
    other = engine.open_photo(np.ascontiguousarray(portrait[:, ::-1]))
    callbacks.reconstruct(other, late, "object", None)
    assert notices == [BEING_COVERED]


def test_results_that_come_after_another_photo_was_opened_are_dropped(
    callbacks: Callbacks, engine: Engine, photo: Photo, portrait: np.ndarray
) -> None:
    made = callbacks.reconstruct(photo, engine.cover(photo, "blur", 0.3, 0), "object", None)
    other = engine.open_photo(np.ascontiguousarray(portrait[:, ::-1]))
    assert callbacks.drop_others(photo, made[4]) == gr.skip()
    assert callbacks.drop_others(other, None) == gr.skip()
    for now in (other, None):
        assert callbacks.drop_others(now, made[4])[:5] == ("", None, "", "", None)


def test_a_photo_that_is_open_is_not_replaced_by_the_portrait(callbacks: Callbacks, photo: Photo) -> None:
    assert callbacks.open_first(photo) == gr.skip()
    assert callbacks.open_first(None)[1].faces_found == 1


def test_results_can_be_forgotten_as_one(callbacks: Callbacks, photo: Photo, engine: Engine) -> None:
    made = callbacks.reconstruct(photo, engine.cover(photo, "blur", 0.3, 0), "object", None)
    empty = callbacks.forget()
    assert len(empty) == len(made)
    assert empty[:5] == ("", None, "", "", None)
    assert not any(button["interactive"] or button["value"] for button in empty[5:8])


def test_a_photo_that_is_covered_already_stays_as_it_is(
    engine_finding: Callable[..., Engine], face_box: np.ndarray, portrait: np.ndarray
) -> None:
    engine = engine_finding(face_box)
    photo = engine.open_photo(portrait)
    covered = engine.cover(photo, NOTHING, 0.4, 0)
    np.testing.assert_array_equal(covered.pixels, photo.pixels)
    assert covered.untouched
    assert not engine.cover(photo, "blur", 0.3, 0).untouched
    # What covers the face may have misled the teacher's box: the student looks for itself.
    misled = replace(photo, box=photo.box + 40)
    comparison = engine.compare(misled, replace(covered, photo=misled))
    found = engine._get("student").reconstruct(portrait)
    np.testing.assert_array_equal(comparison.student.box, found.box)
    compared = heads.Heads(comparison, engine.head)
    assert "Nothing was added" in report.summary(compared, comparison)
    table = report.numbers(compared, comparison)
    assert "best" not in table
    assert f"{compared.mean_mm('neutral', 2):.2f} mm" in table
    panels = compared.message()["panels"]
    assert [panel["title"] for panel in panels] == ["Teacher", "Teacher, the same", "Student"]
    notes = [panel["note"] for panel in panels]
    assert notes[:2] == ["", ""]
    assert "from the teacher" in notes[2]


def test_hidden_skin_has_the_colours_of_the_completed_texture(engine: Engine, photo: Photo) -> None:
    """Also those from other photos, as in the downloads, unless the network took the object for skin."""
    comparison = engine.compare(photo, engine.cover(photo, "random_shape", 0.4, 1))
    student = comparison.student
    assert student.texture is not None
    assert student.texture_visibility is not None
    unseen = np.zeros_like(student.texture_visibility)
    knows = replace(student, texture=np.full_like(student.texture, 0.25), texture_visibility=unseen)
    compared = heads.Heads(replace(comparison, student=knows), engine.head)
    np.testing.assert_array_equal(compared.believed(2), 1)
    fooled = replace(knows, texture_visibility=unseen + 1)
    compared = heads.Heads(replace(comparison, student=fooled), engine.head)
    hidden = under_object(comparison.covered, student)
    assert compared.believed(2)[: len(hidden)][hidden].max() == 0
    assert len(compared.believed(2)) == len(heads.shown_colours(None, heads.display_of(engine.head)))


def test_the_overlay_covers_the_eyes_too(engine: Engine, photo: Photo) -> None:
    drawn = heads.overlay(photo.pixels, photo.clean, engine.head)
    eyes = engine.head.regions["eyes"].numpy() > 0.5
    front = eyes & (photo.clean.vertex_visibility > 0.9)
    columns, rows = photo.clean.verts_image[front, :2].astype(int).T
    assert front.any()
    assert (np.abs(drawn[rows, columns].astype(int) - photo.pixels[rows, columns]).max(1) > 8).mean() > 0.9


def test_files_for_download_do_not_stay(engine: Engine, photo: Photo) -> None:
    (path,) = map(Path, Exports(seconds=1.5).write(photo.clean, engine.head, ("ply",)))
    assert path.is_file()
    end = monotonic() + 30
    while path.parent.exists() and monotonic() < end:
        sleep(0.1)
    assert not path.parent.exists()

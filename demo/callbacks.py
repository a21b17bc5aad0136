"""What happens when something is clicked. Every problem becomes a readable notice and the app goes on."""

import functools
import html
import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from demo import heads, report
from demo.engine import NOTHING, Comparison, Covered, Engine, Photo
from demo.examples import Example, astronaut, renders
from demo.exports import Exports
from occface_core.data.images import LoadedImage, as_image, load_image
from occface_core.errors import OccFaceError

log = logging.getLogger(__name__)
NO_PHOTO = "Choose a photo first: upload one, or click an example."
BEING_COVERED = "The photo is still being covered. Please try again in a moment."
NO_PAINT = "Nothing is painted yet. Draw over the face with the brush, or use the tab with objects."
MOST_PHOTOS = 8  # of the same person, beside the one that is covered
FILE_TYPES = ("obj", "ply", "glb")
READY_FAMILY = "medical_mask"  # an object that is drawn, so that what draws is compiled
_RESTING = [0.0] * (1 + len(heads.ACTIONS))  # the sliders, when the head makes no face


def readable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors into notices and leave what is on the page as it is.

    Expected errors (bad photo, no face, missing weights) show their own message. Anything else is logged with
    its traceback and shown as a general sentence, without internals.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            explain(error, function.__name__)
        return gr.skip()

    return wrapper


def explain(error: Exception, doing: str) -> str:
    """Show a problem as a notice; returns its text."""
    if isinstance(error, OccFaceError):
        text = html.escape(str(error))  # it may hold a file name chosen by the visitor, and notices are HTML
    else:
        log.error("%s failed", doing, exc_info=error)
        text = "Something unexpected went wrong. Please try again or use another photo."
    gr.Warning(text)
    return text


class Callbacks:
    """The app's actions, over one engine shared by all sessions.

    Args:
        engine: Models.
        make_examples: Examples besides the astronaut; by default renders of the open head.
    """

    def __init__(
        self, engine: Engine, make_examples: Callable[[Engine], Sequence[Example]] | None = None
    ) -> None:
        self.engine = engine
        self.exports = Exports()
        self._make_examples = make_examples or _open_head_renders
        self._warming = threading.Lock()

    @functools.cached_property
    def examples(self) -> list[Example]:
        """All examples; without the open head's files only the portrait remains."""
        try:
            return [astronaut(), *self._make_examples(self.engine)]
        except OccFaceError:
            log.exception("the computer-made examples could not be rendered")
            return [astronaut()]

    @readable
    def show_examples(self) -> Any:
        """Fill the gallery."""
        return [(example.pixels, example.name) for example in self.examples]

    def open_upload(self, path: str | None) -> tuple[Any, ...]:
        """An uploaded file: picture shown, photo, editor, status."""
        return self._open(lambda: _load_upload(path or ""), found=path is not None)

    def open_example(self, chosen: gr.SelectData) -> tuple[Any, ...]:
        """A click in the gallery."""
        return self.open_numbered(chosen.index)

    def open_first(self, photo: Photo | None) -> Any:
        """The portrait, so that a new visitor sees something at once, unless a photo is there already."""
        return self.open_numbered(0) if photo is None else gr.skip()

    def open_numbered(self, index: int) -> tuple[Any, ...]:
        """Example number `index`."""
        return self._open(lambda: self.examples[index].pixels)

    def _open(self, read: Callable[[], Any], *, found: bool = True) -> tuple[Any, ...]:
        # After a failure no photo is open: going on with the last one would mislead.
        empty = (None, None, _editor(None))
        try:
            return self._opened(read) if found else (*empty, "")
        except Exception as error:
            return *empty, explain(error, "opening a photo")

    def _opened(self, read: Callable[[], Any]) -> tuple[Any, ...]:
        loaded = read()
        notes = getattr(loaded, "notes", ())
        photo = self.engine.open_photo(getattr(loaded, "pixels", loaded))
        for note in notes:
            gr.Info(html.escape(note))
        if photo.faces_found > 1:
            gr.Info(f"{photo.faces_found} faces found. The largest one is used.")
        return photo.pixels, photo, _editor(photo.pixels), report.opened(photo)

    def close(self) -> tuple[Any, ...]:
        """The photo was removed."""
        return None, _editor(None), ""

    def forget(self) -> tuple[Any, ...]:
        """Results of the photo before: viewer, overlay, numbers, state, files, sliders."""
        buttons = [gr.update(value=None, interactive=False) for _ in FILE_TYPES]
        return "", None, "", "", None, *buttons, *_RESTING

    def drop_others(self, photo: Photo | None, comparison: Comparison | None) -> Any:
        """Forget results of another photo than the one that is open now."""
        late = comparison is not None and comparison.covered.photo is not photo
        return self.forget() if late else gr.skip()

    @readable
    def cover(
        self, photo: Photo | None, family: str, percent: float, variant: float, extra: str = NOTHING
    ) -> Any:
        """Put an object over the face, perhaps a second one on top: picture, state, caption."""
        if photo is None:
            return None, None, ""
        covered = self.engine.cover(photo, family, float(percent) / 100, int(variant), extra)
        return covered.pixels, covered, report.covered(covered)

    @readable
    def reconstruct(
        self,
        photo: Photo | None,
        covered: Covered | None,
        mode: str,
        editor: dict[str, Any] | None,
        more: list[str] | None = None,
    ) -> Any:
        """All three heads: viewer, overlay, numbers, state, files, sliders."""
        if photo is None:
            gr.Info(NO_PHOTO)
            return gr.skip()
        if mode == "paint":
            layers = paint_layers(editor)
            if not any((layer[..., 3] > 0).any() for layer in layers):
                gr.Info(NO_PAINT)
                return gr.skip()
            covered = self.engine.paint(photo, layers)
        if covered is None or covered.photo is not photo:
            gr.Info(BEING_COVERED)
            return gr.skip()
        names, others = _load_others(more or [])
        comparison = self.engine.compare(photo, covered, others)
        for place, problem in comparison.problems.items():
            gr.Warning(html.escape(f"{names[place]}: {problem}"))
        return self._results(comparison, covered)

    def _results(self, comparison: Comparison, covered: Covered) -> tuple[Any, ...]:
        head = self.engine.head
        compared = heads.Heads(comparison, head)
        files = self.exports.write(comparison.student, head, FILE_TYPES)
        picture = heads.overlay(covered.pixels, comparison.student, head)
        buttons = [gr.update(value=path, interactive=True) for path in files]
        message = json.dumps(compared.message(), separators=(",", ":"))
        summary = report.summary(compared, comparison)
        table = report.numbers(compared, comparison)
        return message, picture, summary, table, comparison, *buttons, *_RESTING

    @readable
    def warm_up(self, photo: Photo | None, covered: Covered | None) -> None:
        """Load the student and compile the renderer while the first visitor still looks at the page."""
        if photo is not None and covered is not None and covered.photo is photo:
            self._warm(photo, covered)

    def get_ready(self) -> None:
        """What the first visitor would wait for, done when the app starts: examples, models, one face.

        Problems are logged and left for the page to tell.
        """
        try:
            photo = self.engine.open_photo(self.examples[0].pixels)
            self._warm(photo, self.engine.cover(photo, READY_FAMILY, 0.3, 0))
        except Exception:
            log.exception("the app could not get ready")

    def _warm(self, photo: Photo, covered: Covered) -> None:
        # A page and the start of the app may want it at once, and two take twice as long.
        if self.engine.is_warm or not self._warming.acquire(blocking=False):
            return
        try:
            self._results(self.engine.compare(photo, covered), covered)
        finally:
            self._warming.release()

    @readable
    def animate(self, comparison: Comparison | None, jaw: float, *strengths: float) -> Any:
        """Move the student's head: a message with new positions for the viewer."""
        if comparison is None:
            gr.Info("Reconstruct a face first; then the sliders move it.")
            return gr.skip()
        actions = dict(zip(heads.ACTIONS, map(float, strengths), strict=True))
        verts = heads.animated(comparison.student, self.engine.head, jaw=float(jaw), actions=actions)
        return json.dumps(heads.figures.animation_message(verts, heads.STUDENT_PANEL), separators=(",", ":"))


def paint_layers(editor: dict[str, Any] | None) -> list[np.ndarray]:
    """RGBA layers of an ImageEditor value. API callers may leave out any part, the composite above all."""
    layers = (editor or {}).get("layers") or []
    arrays = [np.asarray(layer) for layer in layers if layer is not None]
    return [layer for layer in arrays if layer.ndim == 3 and layer.shape[2] == 4]


def _load_upload(path: str) -> LoadedImage:
    """Read an upload; messages name the visitor's file, not the folder it was copied to."""
    try:
        return load_image(path)
    except OccFaceError as error:
        raise type(error)(str(error).replace(path, Path(path).name)) from error


def _load_others(paths: Sequence[str]) -> tuple[list[str], list[np.ndarray]]:
    """Names and pixels of further photos; one that cannot be read is a notice and takes no part."""
    if len(paths) > MOST_PHOTOS:
        gr.Info(f"The first {MOST_PHOTOS} of {len(paths)} further photos are used.")
    names, pixels = [], []
    for path in paths[:MOST_PHOTOS]:
        try:
            pixels.append(_load_upload(path).pixels)
            names.append(Path(path).name)
        except OccFaceError as error:
            gr.Warning(html.escape(str(error)))
    return names, pixels


def _editor(pixels: np.ndarray | None) -> Any:
    if pixels is None:
        return None
    return {"background": as_image(pixels), "layers": [], "composite": None}


def _open_head_renders(engine: Engine) -> list[Example]:
    from occface_core.morphable.albedo import AlbedoModel  # its file is read here, on first use

    return renders(engine.head, AlbedoModel.load())

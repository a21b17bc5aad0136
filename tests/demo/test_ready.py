"""Getting ready: what the first visitor would wait for is done before, once, and never in the way."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from demo.callbacks import Callbacks
from demo.engine import Comparison, Covered, Engine, Photo
from demo.examples import Example
from occface_core.errors import AssetError


def test_warming_up_loads_every_model_once(
    engine_finding: Callable[..., Engine], face_box: np.ndarray, portrait: np.ndarray, notices: list[str]
) -> None:
    engine = engine_finding(face_box)
    callbacks = Callbacks(engine)
    photo = engine.open_photo(portrait)
    callbacks.warm_up(photo, None)
    assert not engine.is_warm
    callbacks.warm_up(photo, engine.cover(photo, "blur", 0.3, 0))
    assert engine.is_warm
    assert notices == []


def test_a_new_app_gets_ready_by_itself_and_never_twice_at_once(
    engine_finding: Callable[..., Engine],
    face_box: np.ndarray,
    portrait: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = engine_finding(face_box)
    callbacks = Callbacks(engine, lambda _: [])
    monkeypatch.setattr("demo.callbacks.astronaut", lambda: Example("portrait", portrait))
    compared, running = [], threading.Lock()
    compare = engine.compare

    def counting(photo: Photo, covered: Covered) -> Comparison:
        assert running.acquire(blocking=False)
        compared.append(covered.coverage)
        visitor = engine.cover(photo, "blur", 0.3, 0)
        callbacks.warm_up(photo, visitor)  # a page that is opened meanwhile
        result = compare(photo, covered)
        running.release()
        return result

    monkeypatch.setattr(engine, "compare", counting)
    callbacks.get_ready()
    assert engine.is_warm
    assert len(compared) == 1
    assert compared[0] > 0.1
    assert caplog.text == ""


def test_an_app_that_cannot_get_ready_still_starts(caplog: pytest.LogCaptureFixture) -> None:
    def broken(name: str) -> None:
        raise AssetError(f"{name}.safetensors is missing")

    Callbacks(Engine(broken), lambda _: []).get_ready()  # type: ignore[arg-type]
    assert "could not get ready" in caplog.text
    assert "teacher.safetensors is missing" in caplog.text

import html
import json
import runpy
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from demo import heads
from demo.callbacks import Callbacks, paint_layers
from demo.engine import NOTHING, WORKING_SIDE, Engine, Photo, fit_working_size
from demo.examples import astronaut
from demo.interface import create_app, family_choices, file_path
from occface_core.errors import AssetError
from occface_core.geometry.mesh_io import load_mesh
from occface_core.occlusion import FAMILIES

REPOSITORY = Path(__file__).resolve().parents[2]


def stroke(photo: Photo) -> np.ndarray:
    layer = np.zeros((*photo.pixels.shape[:2], 4), np.uint8)
    x0, y0, x1, y1 = photo.box.astype(int)
    layer[(y0 + y1) // 2 : y1, x0:x1] = (30, 40, 50, 255)
    return layer


def test_building_the_page_needs_no_weights_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened a socket or a model while building the page")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    app = create_app(Engine(refuse, refuse, refuse))  # type: ignore[arg-type]
    assert isinstance(app, gr.Blocks)


def test_the_entry_point_only_builds_and_silences_analytics_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gr.Blocks, "launch", lambda *_, **__: pytest.fail("launched on import"))
    runpy.run_path(str(REPOSITORY / "app.py"), run_name="imported")
    source = (REPOSITORY / "app.py").read_text(encoding="utf-8")
    # That Gradio is imported after it: tests/demo/test_serving.py.
    assert source.index("    prepare()") < source.index("from demo.serving")
    assert len(source.splitlines()) < 30
    assert not list((REPOSITORY / "demo").glob("*.pyi"))


def test_the_entry_point_explains_and_checks_its_options(capsys: pytest.CaptureFixture) -> None:
    entry = runpy.run_path(str(REPOSITORY / "app.py"), run_name="imported")["main"]
    assert entry(["--help"]) == 0
    assert "--port" in capsys.readouterr().out
    assert entry(["--prot", "7870"]) == 2
    assert "--prot" in capsys.readouterr().err


def test_every_family_is_offered_once_and_nothing_too() -> None:
    assert sorted(name for _, name in family_choices()) == sorted([*FAMILIES, NOTHING])


def test_models_are_made_once_though_many_ask(engine: Engine) -> None:
    made: list[str] = []

    def maker(name: str):
        made.append(name)
        return object()

    shared = Engine(maker, lambda: maker("detector"), lambda: maker("head"))  # type: ignore[arg-type,return-value]
    threads = [threading.Thread(target=shared._get, args=("teacher",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["teacher"]


def test_the_portrait_comes_from_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("tried to download")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert astronaut().pixels.shape == (512, 512, 3)


def test_without_the_open_head_only_the_portrait_is_offered(engine: Engine) -> None:
    def broken(_: Engine):
        raise AssetError("open_head.safetensors is missing")

    assert [example.name for example in Callbacks(engine, broken).examples] == ["Astronaut"]


def test_wide_photos_shrink_and_small_ones_stay() -> None:
    assert fit_working_size(np.zeros((20, 20_000, 3), np.uint8)).shape == (1, WORKING_SIDE, 3)
    assert fit_working_size(np.zeros((50, 60, 3), np.uint8)).shape == (50, 60, 3)


def test_the_box_of_the_clean_photo_is_kept(engine: Engine, photo: Photo) -> None:
    covered = engine.cover(photo, "random_shape", 0.4, seed=1)
    compared = engine.compare(photo, covered)
    np.testing.assert_array_equal(compared.teacher.box, photo.box)
    np.testing.assert_array_equal(compared.student.box, photo.box)


def test_reconstruction_fills_viewer_pictures_numbers_and_files(callbacks: Callbacks, photo: Photo) -> None:
    _, covered, caption = callbacks.cover(photo, "random_shape", 40, 3)
    assert "%" in caption
    message, picture, summary, table, comparison, *rest = callbacks.reconstruct(
        photo, covered, "object", None
    )
    panels = json.loads(message)["panels"]
    assert len(panels) == 3
    assert {"photo", "skin", "difference", "seen"} <= set(panels[0]["colours"])
    assert picture.shape == photo.pixels.shape
    assert (picture != covered.pixels).any()
    assert "mm" in summary
    assert "reference" in table
    for button, suffix in zip(rest, ("obj", "ply", "glb"), strict=False):
        mesh = load_mesh(button["value"])
        assert button["value"].endswith(suffix)
        assert mesh.faces.shape == (10108, 3)
    assert "jawOpen" in mesh.morph_targets
    moved = json.loads(callbacks.animate(comparison, 1.0, 0.5, 0, 0, 0))
    assert moved["kind"] == "animate"


def test_the_reference_does_not_differ_from_itself(engine: Engine, photo: Photo) -> None:
    compared = heads.Heads(engine.compare(photo, engine.cover(photo, "blur", 0.5, 0)), engine.head)
    assert compared.mean_mm("neutral", 0) == 0
    assert compared.mean_mm("neutral", 1) > 0


def test_upright_heads_have_no_global_rotation(engine: Engine, photo: Photo) -> None:
    result = photo.clean
    turned = heads.parameters(result).pose[0, :3]
    assert float(turned.abs().max()) > 0.1
    nose, left, right = (heads.upright(result, engine.head)[k] for k in _profile_vertices(engine))
    assert abs((left[2] + right[2]) / 2 - left[2]) < 0.01
    assert nose[2] > left[2]


def _profile_vertices(engine: Engine) -> tuple[int, int, int]:
    template = engine.head.v_template
    return int(template[:, 2].argmax()), int(template[:, 0].argmax()), int(template[:, 0].argmin())


def test_opening_the_jaw_moves_the_chin_and_not_the_skull(engine: Engine, photo: Photo) -> None:
    closed, opened = (heads.animated(photo.clean, engine.head, jaw=jaw, actions={}) for jaw in (0.0, 1.0))
    distance = np.linalg.norm(opened - closed, axis=1)
    top = int(engine.head.v_template[:, 1].argmax())
    assert distance.max() > 0.01
    assert distance[top] < 1e-3


def test_painting_covers_and_counts(engine: Engine, photo: Photo) -> None:
    covered = engine.paint(photo, [stroke(photo)])
    assert 0.2 < covered.coverage < 0.8
    assert engine.paint(photo, []).coverage == 0
    np.testing.assert_array_equal(engine.paint(photo, []).pixels, photo.pixels)


def test_painted_layers_of_another_size_are_rescaled(engine: Engine, photo: Photo) -> None:
    whole, half = stroke(photo), stroke(photo)[::2, ::2]
    assert engine.paint(photo, [half]).coverage == pytest.approx(
        engine.paint(photo, [whole]).coverage, abs=0.03
    )


def test_an_editor_value_may_lack_any_part(callbacks: Callbacks, photo: Photo, notices: list[str]) -> None:
    layer = stroke(photo)
    assert len(paint_layers({"background": None, "layers": [layer, None], "composite": None})) == 1
    for value in (None, {}, {"layers": None}, {"layers": [], "composite": None}):
        assert callbacks.reconstruct(photo, None, "paint", value) == gr.skip()
    assert all("painted" in notice for notice in notices)
    editor = {"background": None, "layers": [layer], "composite": None}
    assert len(callbacks.reconstruct(photo, None, "paint", editor)) == 13


def test_clicking_before_choosing_a_photo_says_so(callbacks: Callbacks, notices: list[str]) -> None:
    assert callbacks.reconstruct(None, None, "object", None) == gr.skip()
    assert callbacks.cover(None, "blur", 40, 0) == (None, None, "")
    assert callbacks.animate(None, 0.5, 0, 0, 0, 0) == gr.skip()
    assert "Choose a photo" in notices[0]


def write_bad_files(folder: Path) -> dict[str, Path]:
    """Files that are no usable photo, by what is wrong."""
    picture = folder / "ok.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(picture)
    files = {name: folder / f"{name}.png" for name in ("text", "empty", "truncated", "tiny", "html<b>name")}
    files["text"].write_text("not a picture")
    files["empty"].write_bytes(b"")
    files["truncated"].write_bytes(picture.read_bytes()[:200])
    Image.new("RGB", (1, 1)).save(files["tiny"])
    files["html<b>name"].write_text("<b>")
    return files | {"missing": folder / "nowhere.png"}


def test_bad_uploads_become_notices(callbacks: Callbacks, tmp_path: Path, notices: list[str]) -> None:
    files = write_bad_files(tmp_path)
    for path in files.values():
        shown, opened, editor, status = callbacks.open_upload(str(path))
        assert (shown, opened, editor, status) == (None, None, None, notices[-1])
    assert len(notices) == len(files)
    assert not any("<b>" in notice or str(tmp_path) in notice for notice in notices)
    assert all(html.escape(path.name) in notice for path, notice in zip(files.values(), notices, strict=True))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1"])
def test_odd_pictures_open(callbacks: Callbacks, portrait: np.ndarray, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "odd.tif"
    if mode == "I;16":
        Image.fromarray(portrait[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(portrait).convert(mode).save(path if mode != "P" else tmp_path / "odd.png")
    shown, opened, *_ = callbacks.open_upload(str(path if path.exists() else tmp_path / "odd.png"))
    assert shown.shape == portrait.shape
    assert opened is not None


def test_no_face_and_several_faces_are_said(
    engine_finding: Callable[..., Engine],
    face_box: np.ndarray,
    portrait: np.ndarray,
    tmp_path: Path,
    notices: list[str],
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(portrait).save(path)
    nobody = Callbacks(engine_finding())
    assert nobody.open_upload(str(path))[1] is None
    assert "No face" in notices.pop()
    small = np.array([10.0, 10.0, 40.0, 45.0])
    _, opened, _, status = Callbacks(engine_finding(small, face_box)).open_upload(str(path))
    assert "2 faces" in notices.pop()
    assert "2 faces" in status
    assert opened.box[0] > 100


def test_unexpected_errors_show_no_internals(
    callbacks: Callbacks, photo: Photo, notices: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert callbacks.cover(photo, "blur", "not a number", 0) == gr.skip()  # type: ignore[arg-type]
    assert "unexpected" in notices[0]
    assert "ValueError" in caplog.text


def test_missing_weights_become_a_notice(
    engine: Engine, portrait: np.ndarray, tmp_path: Path, notices: list[str]
) -> None:
    def broken(name: str) -> None:
        raise AssetError(f"{name}.safetensors is missing; run `git lfs pull`")

    path = tmp_path / "photo.png"
    Image.fromarray(portrait).save(path)
    without = Engine(broken, lambda: engine._get("detector"), lambda: engine.head)  # type: ignore[arg-type,return-value]
    assert Callbacks(without).open_upload(str(path))[1] is None
    assert "teacher.safetensors is missing" in notices[0]


def test_uploads_reach_our_reader_untouched() -> None:
    assert file_path(None) is None
    assert file_path(gr.FileData(path="/somewhere/photo.heic")) == "/somewhere/photo.heic"


def test_what_lies_under_the_object_is_not_called_seen(engine: Engine, photo: Photo) -> None:
    compared = engine.compare(photo, engine.paint(photo, [stroke(photo)]))
    clean, _, student = heads.Heads(compared, engine.head).seen
    under = heads.at_vertices(compared.covered.clear, compared.student) < 0.5
    assert (clean[under] > 0.5).sum() > 100
    assert student[under].max() == 0


def test_guessed_skin_takes_the_light_of_the_seen_skin() -> None:
    photo, skin = np.full((20, 3), 0.6), np.full((20, 3), 0.4)
    seen = np.r_[np.ones(12), np.zeros(8)]
    np.testing.assert_allclose(heads.completed_colours(photo, skin, seen), 0.6)
    np.testing.assert_allclose(heads.completed_colours(photo, skin, np.zeros(20)), 0.4)

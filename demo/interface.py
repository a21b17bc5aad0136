"""The page: three steps from left to right, the heads below, numbers and files at the end."""

from typing import Any

import gradio as gr

from demo import assets, heads
from demo.callbacks import FILE_TYPES, Callbacks
from demo.engine import NOTHING, Engine
from demo.texts import EMPTY_VIEWER, EXPLANATION, EXTRA_FAMILIES, FAMILY_NAMES, HEADER, NO_EXTRA
from occface_core.occlusion import FAMILIES

SLIDERS = {
    "jaw": "Open mouth",
    "smile": "Smile",
    "blink": "Close eyes",
    "brows": "Raise brows",
    "pucker": "Pucker lips",
}


def file_path(payload: Any) -> str | None:
    """Hand an upload over as the file it is, so that the package's own reader judges it."""
    return None if payload is None else payload.path


def family_choices() -> list[tuple[str, str]]:
    """(label, family) pairs, in the order of FAMILY_NAMES; families without a name there come last."""
    known = [name for name in FAMILY_NAMES if name in (*FAMILIES, NOTHING)]
    others = [name for name in FAMILIES if name not in FAMILY_NAMES]
    return [(FAMILY_NAMES.get(name, name.replace("_", " ").capitalize()), name) for name in (*known, *others)]


def extra_choices() -> list[tuple[str, str]]:
    """(label, family) pairs of objects that go on top of another one."""
    return [(NO_EXTRA, NOTHING), *((FAMILY_NAMES[name], name) for name in EXTRA_FAMILIES)]


def create_app(engine: Engine | None = None, callbacks: Callbacks | None = None) -> gr.Blocks:
    """Build the page. Reads no weights: the engine loads them when the first visitor arrives.

    Args:
        engine: Models; the shipped ones by default.
        callbacks: Actions over an engine of their own; made from `engine` by default.
    """
    actions = callbacks or Callbacks(engine or Engine())
    gr.set_static_paths([assets.plotly_path()])
    with gr.Blocks(title=assets.TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as app:
        gr.HTML(HEADER, elem_id="of-header")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                parts = _photo_step()
            with gr.Column(min_width=300):
                parts |= _cover_step()
            with gr.Column(min_width=300):
                parts |= _result_step()
        parts |= _viewer()
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                parts["numbers"] = gr.HTML("", label="Numbers", apply_default_css=False, elem_id="of-numbers")
            with gr.Column(scale=2, min_width=300):
                parts |= _student_tools()
        with gr.Accordion("What am I looking at?", open=False):
            gr.Markdown(EXPLANATION)
        parts |= {
            "photo_state": gr.State(None, time_to_live=3600),
            "cover_state": gr.State(None, time_to_live=3600),
            "comparison": gr.State(None, time_to_live=3600),
            "mode": gr.State("object"),
        }
        _connect(app, parts, actions)
    return app


def _heading(number: int, text: str, more: str) -> None:
    gr.HTML(f"<h3><b>{number}</b>{text}</h3><p>{more}</p>", elem_classes="of-step")


def _photo_step() -> dict[str, Any]:
    _heading(1, "Choose a photo", "Your own, or an example.")
    gallery = gr.Gallery(
        label="Examples",
        show_label=False,
        columns=6,
        allow_preview=False,
        object_fit="cover",
        format="jpeg",
        interactive=False,
        fit_columns=False,
        buttons=[],
        elem_id="of-examples",
    )
    photo = gr.Image(
        label="Photo",
        show_label=False,
        height=340,
        format="jpeg",
        sources=["upload", "webcam", "clipboard"],
        elem_id="of-photo",
    )
    status = gr.Markdown("", label="Status", elem_id="of-status")
    with gr.Accordion("More photos of the same person", open=False):
        kinds: dict[str, Any] = {"file_count": "multiple", "file_types": ["image"]}
        more = gr.File(label="More photos", show_label=False, height=140, elem_id="of-more", **kinds)
    # Set here instead of in a subclass, because Gradio writes a .pyi file beside every module that has one.
    photo.preprocess = file_path  # type: ignore[method-assign]
    return {"photo": photo, "status": status, "gallery": gallery, "more": more}


def _cover_step() -> dict[str, Any]:
    _heading(2, "Cover the face", "With an object, your own brush, or nothing.")
    with gr.Tabs():
        with gr.Tab("Object", id="object") as object_tab:
            picture = gr.Image(
                label="Covered photo",
                show_label=False,
                height=300,
                format="jpeg",
                interactive=False,
                buttons=["fullscreen"],
                elem_id="of-covered",
            )
            caption = gr.Markdown("", label="Caption", elem_id="of-caption")
            choices = family_choices()
            with gr.Row():
                family = gr.Dropdown(
                    choices, value=choices[0][1], label="Object", min_width=130, elem_id="of-family"
                )
                extra = gr.Dropdown(
                    extra_choices(), value=NOTHING, label="And on top", min_width=130, elem_id="of-extra"
                )
            with gr.Row():
                percent = gr.Slider(10, 70, value=40, step=5, label="Hidden, %", min_width=130)
                variant = gr.Slider(
                    0, 50, value=0, step=1, label="Variant", min_width=130, elem_id="of-variant"
                )
        with gr.Tab("Paint", id="paint") as paint_tab:
            editor = _painter()
    return {
        "covered": picture,
        "caption": caption,
        "family": family,
        "percent": percent,
        "variant": variant,
        "extra": extra,
        "editor": editor,
        "object_tab": object_tab,
        "paint_tab": paint_tab,
    }


def _painter() -> gr.ImageEditor:
    return gr.ImageEditor(
        label="Paint over the face",
        show_label=False,
        image_mode="RGBA",
        sources=(),
        transforms=(),
        layers=False,
        height=460,
        canvas_size=(512, 512),
        format="png",
        elem_id="of-editor",
        brush=gr.Brush(default_size=44, colors=["#20252b", "#7b4f35", "#4a7fb5", "#f2f2f0"]),
        placeholder="Choose a photo first",
    )


def _result_step() -> dict[str, Any]:
    _heading(3, "Look behind it", "The student's face, drawn over the covered photo.")
    button = gr.Button("Reconstruct in 3D", variant="primary", size="lg", elem_id="of-run")
    overlay = gr.Image(
        label="Overlay",
        show_label=False,
        height=340,
        format="jpeg",
        interactive=False,
        buttons=["fullscreen"],
        elem_id="of-overlay",
    )
    summary = gr.HTML("", label="Summary", elem_id="of-summary")
    return {"button": button, "overlay": overlay, "summary": summary}


def _viewer() -> dict[str, Any]:
    viewer = gr.HTML(
        value="",
        label="Heads",
        html_template=assets.static_text("viewer.html"),
        js_on_load=assets.static_text("viewer.js"),
        apply_default_css=False,
        elem_id="of-viewer",
        plotly_path=assets.plotly_path().as_posix(),
        empty_text=EMPTY_VIEWER,
    )
    return {"viewer": viewer}


def _student_tools() -> dict[str, Any]:
    sliders = {}
    with gr.Accordion("Move the student's face", open=False), gr.Row():
        for name, label in SLIDERS.items():
            sliders[name] = gr.Slider(
                0, 1, value=0, step=0.05, label=label, min_width=150, elem_id=f"of-move-{name}"
            )
    gr.HTML("<p>Take the student's head with you:</p>", elem_classes="of-step")
    with gr.Row():
        downloads = [
            gr.DownloadButton(
                suffix.upper(), size="sm", min_width=70, interactive=False, elem_id=f"of-{suffix}"
            )
            for suffix in FILE_TYPES
        ]
    return {"sliders": sliders, "downloads": downloads}


def _connect(app: gr.Blocks, parts: dict[str, Any], actions: Callbacks) -> None:
    """Wire components to actions."""
    opened = [parts["photo"], parts["photo_state"], parts["editor"], parts["status"]]
    cover_inputs = [parts[name] for name in ("photo_state", "family", "percent", "variant", "extra")]
    cover = {
        "fn": actions.cover,
        "inputs": cover_inputs,
        "outputs": [parts["covered"], parts["cover_state"], parts["caption"]],
        "show_progress": "hidden",
    }
    photo = parts["photo"]
    results = _results(parts)
    quiet: dict[str, Any] = {"api_visibility": "private"}
    # First, so that the public endpoint gets the plain name.
    parts["family"].change(**cover, api_name="cover")
    forget: dict[str, Any] = {"fn": actions.forget, "outputs": results, "show_progress": "hidden", **quiet}
    # Removing a photo is an input too, which still carries the photo. One step later it is gone.
    chosen = photo.input(**forget).then(
        actions.open_upload, photo, opened, api_name="open_photo", show_progress_on=photo
    )
    chosen = chosen.then(**cover, **quiet)
    example = parts["gallery"].select(actions.open_example, None, opened, show_progress_on=photo, **quiet)
    closed = photo.clear(actions.close, None, opened[1:], **quiet)
    example, closed = (event.then(**forget).then(**cover, **quiet) for event in (example, closed))
    # Another person: further photos of the one before must not take part.
    for event in (chosen, example, closed):
        event.then(lambda: None, None, parts["more"], show_progress="hidden", **quiet)
    for slider in (parts["extra"], parts["percent"], parts["variant"]):
        slider.change(**cover, trigger_mode="always_last", **quiet)
    for mode in ("object", "paint"):
        parts[f"{mode}_tab"].select(
            lambda mode=mode: mode, None, parts["mode"], show_progress="hidden", **quiet
        )
    _connect_results(parts, actions)
    started = app.load(actions.show_examples, None, parts["gallery"], show_progress="minimal", **quiet)
    started = started.then(
        actions.open_first, parts["photo_state"], opened, show_progress_on=photo, **quiet
    ).then(**cover, **quiet)
    started.then(actions.warm_up, [parts["photo_state"], parts["cover_state"]], None, **quiet)


def _sliders(parts: dict[str, Any]) -> list[gr.Slider]:
    return [parts["sliders"][name] for name in ("jaw", *heads.ACTIONS)]


def _results(parts: dict[str, Any]) -> list[Any]:
    """What a reconstruction fills."""
    shown = [parts[name] for name in ("viewer", "overlay", "summary", "numbers", "comparison")]
    return [*shown, *parts["downloads"], *_sliders(parts)]


def _connect_results(parts: dict[str, Any], actions: Callbacks) -> None:
    sliders = _sliders(parts)
    made = parts["button"].click(
        actions.reconstruct,
        [parts[name] for name in ("photo_state", "cover_state", "mode", "editor", "more")],
        _results(parts),
        api_name="reconstruct",
        show_progress_on=[parts["overlay"]],
        concurrency_limit=2,
    )
    # A photo may have been opened or removed meanwhile.
    made.then(
        actions.drop_others,
        [parts["photo_state"], parts["comparison"]],
        _results(parts),
        show_progress="hidden",
        api_visibility="private",
    )
    for slider in sliders:
        slider.input(
            actions.animate,
            [parts["comparison"], *sliders],
            parts["viewer"],
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )
    # The viewer's own buttons end a face that was made with the sliders.
    parts["viewer"].clear(
        lambda: [0.0] * len(sliders), None, sliders, show_progress="hidden", api_visibility="private"
    )

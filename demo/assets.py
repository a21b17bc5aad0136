"""Static files of the app: styles, the viewer's markup and script, Plotly.js from the installed package."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
import plotly

TITLE = "OccFace: the face behind the mask, in 3D"


@cache
def static_text(name: str) -> str:
    """A file of `demo/static` as text."""
    return files("demo").joinpath("static", name).read_text(encoding="utf-8")


def plotly_path() -> Path:
    """Plotly.js as shipped inside the plotly package, so that nothing is fetched from elsewhere."""
    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def theme() -> gr.themes.Base:
    """The look, with fonts the visitor already has."""
    return gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        font=["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(
        # Soft's coloured label badges take more room than the controls; its grey text is too pale to read.
        block_title_background_fill="none",
        block_title_background_fill_dark="none",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_text_weight="500",
        block_title_text_size="*text_sm",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_500",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
    )


def launch_options() -> dict[str, Any]:
    """What `create_app().launch()` needs: Gradio 6 takes styles at launch."""
    return {
        "theme": theme(),
        "css": static_text("app.css"),
        # Server-side rendering needs Node and would run the viewer's script twice.
        "ssr_mode": False,
        "show_error": True,
        "footer_links": ["api", "settings"],
        "max_file_size": "64mb",
    }

"""Mean per-vertex errors painted on the head, drawn by this package's own renderer."""

import io

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from occface_core.evaluation.report_runs import OcclusionRun
from occface_core.geometry.transforms import axis_angle_to_matrix
from occface_core.morphable.head_model import HeadModel
from occface_core.rendering.renderer import Renderer

_MAP = "viridis"
_TURNS = (0.0, 0.75)  # radians: from the front, and from the subject's right
_SIZE = 300
_ZOOM = 6.3  # image half-widths per metre
_KINDS = {"occluded": "covered", "clean": "clean"}


@torch.no_grad()
def draw_values(head: HeadModel, values: Float[np.ndarray, " V"], limit: float) -> Float[np.ndarray, "H W 3"]:
    """The mean head coloured by one value per vertex, from two sides beside each other, on white.

    Args:
        head: the head.
        values: 0 gets the map's first colour, `limit` and more its last.
        limit: upper end of the colour scale.
    """
    colour = torch.from_numpy(colormaps[_MAP](np.clip(values / limit, 0, 1))[:, :3]).float()
    light = torch.zeros(1, 9, 3)
    light[:, 0], light[:, 3] = 2.9, 0.5  # ambient, and a little from the front: form without lost colours
    renderer = Renderer(head, _SIZE)
    camera = torch.tensor([[_ZOOM, 0.0, -0.004]])
    white = torch.ones(1, 3, _SIZE, _SIZE)
    pictures = []
    for turn in _TURNS:
        verts = _turned(head.v_template.cpu(), turn)
        out = renderer(verts[None], camera, colour[None], light, background=white)
        pictures.append(out.image[0].clamp(0, 1).permute(1, 2, 0).numpy())
    return np.concatenate(pictures, axis=1)


def _turned(verts: Float[Tensor, "V 3"], angle: float) -> Float[Tensor, "V 3"]:
    return verts @ axis_angle_to_matrix(torch.tensor([0.0, angle, 0.0])).T


def heat_maps(run: OcclusionRun, head: HeadModel) -> bytes | None:
    """PNG of every map that says something, on one colour scale; None without any that fit the head.

    The scale ends at the 98th percentile of the models' maps over the face: ears, neck and the mean head may
    be off by more.
    """
    inside = (head.regions["face"] > 0.5).cpu().numpy()
    keys = [f"{name}/{kind}" for name in run.models for kind in _KINDS] + ["mean head/clean"]
    maps = {
        key: run.vertex_errors[key]
        for key in keys
        if key in run.vertex_errors
        and run.vertex_errors[key].shape == inside.shape
        and np.isfinite(run.vertex_errors[key]).all()
        and run.vertex_errors[key][inside].max() > 1e-3  # the reference is its own reference
    }
    if not maps:
        return None
    own = [values[inside] for key, values in maps.items() if key != "mean head/clean"] or [
        values[inside] for values in maps.values()
    ]
    limit = float(np.percentile(np.concatenate(own), 98))
    rows = -(-len(maps) // 2)
    figure = Figure(figsize=(9.6, 2.55 * rows + 0.1), layout="constrained")
    panels = np.asarray(figure.subplots(rows, 2, squeeze=False)).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, (key, values) in zip(panels, maps.items(), strict=False):
        name, _, kind = key.rpartition("/")
        panel.imshow(draw_values(head, values, limit))
        title = name if name == "mean head" else f"{name}, {_KINDS[kind]}"
        panel.set_title(f"{title}: {values[inside].mean():.2f} mm over the face", fontsize=9)
    scale = ScalarMappable(Normalize(0, limit), colormaps[_MAP])
    label = "mean distance to the reference [mm]"
    figure.colorbar(scale, ax=panels.tolist(), shrink=0.8, extend="max", label=label)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()

# %% [markdown]
# # Explore
#
# Three things to play with: the head model's coefficients, the occluders, and a reconstruction from a photo. Open it in
# JupyterLab (`pip install -e . && jupyter lab`) and run all cells; the sliders then answer live.

# %% tags=["parameters"]
model: str = "student"  # shipped name or .safetensors file
photo: str = ""  # an image file; empty: a public-domain portrait that ships inside scikit-image
box: str = ""  # "x0,y0,x1,y1" of the 68 landmarks; empty: the face is detected
family: str = "medical_mask"  # the occluder to start with
seed: int = 0
shapes: int = 8  # shape sliders
out: str = "runs/notebook/explore"

# %%
import json
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import torch
from IPython.display import display
from skimage.data import astronaut

from occface_core.data.crop import crop_image, square_from_box
from occface_core.data.images import read_image
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.occlusion.api import FAMILIES, occlude
from occface_core.occlusion.face_points import face_mask_from_points
from occface_core.pipeline.reconstructor import FaceReconstructor

SKIN = dict(ambient=0.35, diffuse=0.6, specular=0.06, roughness=0.5, fresnel=0.05)
SKIN |= dict(facenormalsepsilon=0, vertexnormalsepsilon=0)
FRONT = dict(eye=dict(x=0.0, y=0.0, z=1.6), up=dict(x=0, y=1, z=0))


def head_figure(verts: np.ndarray, colour: np.ndarray) -> go.FigureWidget:
    """An interactive head; `colour` is RGB per vertex in [0,1]."""
    rgb = [f"rgb({r},{g},{b})" for r, g, b in (colour * 255).round().astype(int)]
    i, j, k = head.faces.numpy().T
    mesh = go.Mesh3d(
        x=verts[:, 0],
        y=verts[:, 1],
        z=verts[:, 2],
        i=i,
        j=j,
        k=k,
        vertexcolor=rgb,
        lighting=SKIN,
        lightposition=dict(x=1e5, y=1e5, z=-1e3),
        hoverinfo="skip",
    )
    hidden = dict(visible=False)
    scene = dict(xaxis=hidden, yaxis=hidden, zaxis=hidden, aspectmode="data", camera=FRONT)
    return go.FigureWidget([mesh], dict(scene=scene, width=480, height=480, margin=dict(l=0, r=0, t=0, b=0)))


# %% [markdown]
# ## The head
# Shape coefficients are about N(0,1); expressions carry their ARKit names and run from 0 to 1; the jaw turns in radians.

# %%
head, albedo = HeadModel.load(), AlbedoModel.load()
betas = torch.zeros(1, head.shapedirs.shape[-1])
expression = torch.zeros(1, len(head.expression_names))
pose, skin = torch.zeros(1, 6), torch.zeros(1, albedo.n_components)
view = head_figure(
    head(betas, expression, pose).verts[0].numpy(), albedo.vertex_albedo(skin, head)[0].numpy()
)


def redraw() -> None:
    verts = head(betas, expression, pose).verts[0].numpy()
    rgb = (albedo.vertex_albedo(skin, head)[0].numpy() * 255).round().astype(int)
    with view.batch_update():
        view.data[0].update(
            x=verts[:, 0],
            y=verts[:, 1],
            z=verts[:, 2],
            vertexcolor=[f"rgb({r},{g},{b})" for r, g, b in rgb],
        )


def slider(values: torch.Tensor, index: int, label: str, low: float, high: float) -> widgets.FloatSlider:
    """A slider that writes one coefficient and draws the head again."""

    def changed(event: dict) -> None:
        values[0, index] = event["new"]
        redraw()

    made = widgets.FloatSlider(
        value=0.0, min=low, max=high, step=(high - low) / 60, description=label, continuous_update=False
    )
    made.observe(changed, names="value")
    return made


shown = ("eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "mouthPucker")
tabs = widgets.Tab(
    [
        widgets.VBox([slider(betas, i, f"shape {i}", -3, 3) for i in range(shapes)]),
        widgets.VBox([slider(expression, head.expression_names.index(n), n, 0, 1) for n in shown]),
        widgets.VBox(
            [
                slider(pose, 3, "jaw", 0, 0.4),
                slider(pose, 1, "yaw", -1, 1),
                slider(pose, 0, "pitch", -0.6, 0.6),
            ]
        ),
        widgets.VBox([slider(skin, i, albedo.names[i], -2.5, 2.5) for i in range(6)]),
    ],
    titles=("shape", "expression", "pose", "skin"),
)
display(widgets.HBox([view, tabs]))

# %% [markdown]
# ## A photo and its occluded twin
# The face is detected once, on the uncovered photo, and its box is kept. The occluder follows the landmarks of the
# reconstruction.

# %%
image = read_image(photo) if photo else astronaut()
reconstructor = FaceReconstructor(model)
clean = reconstructor.reconstruct(image, box=[float(x) for x in box.split(",")] if box else None)
square = square_from_box(clean.box)
size = 224
crop = torch.from_numpy(crop_image(np.ascontiguousarray(image), square, size)).permute(2, 0, 1)[None] / 255
verts_crop = torch.from_numpy(square.apply(clean.verts_image, size)).float()[None]
points = reconstructor.head.landmarks(verts_crop, "468")
face = face_mask_from_points(points[..., :2], size, size)


def cover(name: str, number: int, share: tuple[float, float] = (0.2, 0.5)):
    """The crop with one occluder; the same name and number give the same pixels."""
    return occlude(
        crop,
        face,
        points=points,
        family=name,
        coverage=share,
        generator=torch.Generator().manual_seed(number),
        other_images=crop.flip(3),
    )


gallery = {name: cover(name, seed) for name in FAMILIES}
columns = 5
figure, panels = plt.subplots(
    -(-len(gallery) // columns), columns, figsize=(13, 2.8 * -(-len(gallery) // columns))
)
for panel in panels.flat:
    panel.set_axis_off()
for panel, (name, made) in zip(panels.flat, gallery.items(), strict=False):
    panel.imshow(made.image[0].permute(1, 2, 0).numpy())
    panel.set_title(f"{name}, {float(made.coverage):.0%} hidden", fontsize=9)
plt.show()

# %% [markdown]
# ## Reconstruction behind the occluder
# Left the uncovered photo, right the covered one; colour shows the distance between the two heads in millimetres.


# %%
def distance_mm(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of every vertex between two neutral heads."""
    return 1000 * np.linalg.norm(a - b, axis=1)


def covered_result(name: str, number: int):
    """Reconstruct the crop behind an occluder, with the box of the uncovered photo."""
    made = cover(name, number)
    pixels = (made.image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    corner = square.apply(clean.box.reshape(2, 2).astype(float), size).reshape(4)
    return made, pixels, reconstructor.reconstruct(pixels, box=corner)


def show(name: str, number: int) -> np.ndarray:
    """Draw the covered crop and both heads; returns the per-vertex distances."""
    _, pixels, covered = covered_result(name, number)
    distances = distance_mm(covered.verts_neutral, clean.verts_neutral)
    heat = plt.get_cmap("viridis")(np.clip(distances / 5, 0, 1))[:, :3]
    left = head_figure(clean.verts_neutral, albedo.vertex_albedo(skin, head)[0].numpy())
    right = head_figure(covered.verts_neutral, heat)
    picture = widgets.Output()
    with picture:
        plt.figure(figsize=(3, 3))
        plt.imshow(pixels)
        plt.axis("off")
        plt.show()
    display(widgets.HBox([picture, left, right]))
    return distances


pick = widgets.Dropdown(options=list(FAMILIES), value=family, description="occluder")
number = widgets.IntSlider(value=seed, min=0, max=50, description="seed", continuous_update=False)
board = widgets.Output()


def again(_: object = None) -> None:
    board.clear_output(wait=True)
    with board:
        show(pick.value, number.value)


pick.observe(again, names="value")
number.observe(again, names="value")
display(widgets.HBox([pick, number]), board)
distances = show(family, seed)

# %% [markdown]
# ## Metrics

# %%
region = reconstructor.head.regions["face"].cpu().numpy() > 0.5
metrics = {
    "model": model,
    "family": family,
    "visible_fraction": clean.visible_fraction,
    "coverage": float(gallery[family].coverage),
    "face_distance_mm": float(distances[region].mean()),
    "vertices": len(clean.verts),
    "families": {name: float(made.coverage) for name, made in gallery.items()},
}
Path(out).mkdir(parents=True, exist_ok=True)
(Path(out) / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
metrics

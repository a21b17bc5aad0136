# %% [markdown]
# # Train any recipe
#
# One notebook for every recipe: it sets a `TrainConfig`, calls the trainer, and shows what came out. Without photos it
# trains on rendered faces alone, so it runs out of the box:
#
# ```
# mkdir -p runs
# papermill research/train.ipynb runs/teacher.ipynb -p recipe teacher -p minutes 30
# papermill research/train.ipynb runs/learner.ipynb -p recipe learner -p teacher runs/notebook/teacher/model.safetensors
# ```
#
# A run that was stopped goes on where it was when it is started again with the same `out`. docs/recipes.md explains the
# recipes, docs/data.md the folder of photos.

# %% tags=["parameters"]
recipe: str = "teacher"  # teacher, learner, damior, diamor, focus or multiview
out: str = ""  # run folder; empty: runs/notebook/<recipe>
photos: str = ""  # folder of photos with landmarks; empty: rendered faces only
split: str = "train"  # shard prefix or sub-folder
hidden: str = ""  # folder of SPLIT-hidden.npz: hair, hats and glasses of the photos themselves (docs/data.md)
limit: int = 0  # first so many photos only; 0: all
teacher: str = "teacher"  # shipped name or .safetensors file to distil (not used by teacher and multiview)
start_from: str = ""  # checkpoint to start from; "scratch": random weights
damior: str = ""  # diamor only: a damior checkpoint to start from and agree with
backbone: str = "resnet18"  # resnet18/34/50, mobilenet_v3_small/large
input_size: int = 112  # pixels
mask_size: int = 112  # side of the predicted face mask, 0: none
minutes: float = 2.0  # time budget; the learning rate reaches zero at its end
steps: int = 0  # a number of steps instead of a time budget
batch_size: int = 60  # fits 4 duplicates (diamor) and 3 views (multiview)
learning_rate: float = 0.001
seed: int = 0
device: str = "auto"  # auto, cpu or cuda
precision: str = "auto"  # 32-true, bf16-mixed, or auto: what is faster here
workers: int = 1  # processes that prepare photos
code_loss: str = "plain"  # learner only: plain (as published) or normalised
loss_weights: str = ""  # factors on single terms, e.g. "shape=0,posed=2"; 0 switches a term off
local_channels: int = 32  # channels per cell that reach the code unpooled, 0: none
synthetic_share: float = 0.2  # part of a batch that is rendered, when there are photos
photometric: float = 1.0  # weight of the photometric term
occluders: str = "painted"  # one by one in the loading processes, or "batched" on the training device
occluder_family: str = "random"  # random, irrational, empirical or one family
coverage_low: float = 0.1  # occluders hide at least this share of the face,
coverage_high: float = 0.6  # and at most this one
clean_share: float = 0.2  # students also see some faces uncovered
duplicates: int = 4  # diamor only: occlusions of each photo
views: int = 3  # multiview only: pictures of each rendered face
log_every: int = 5  # steps between two points of the curves
sheet_minutes: float = 10.0  # training time between two sample sheets; 0: none

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Image, display

from occface_core.data.synthetic import SyntheticFaces
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.run import run_training
from occface_core.distillation.scene import Scene
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.checkpoints import load_encoder

# %% [markdown]
# ## The run
# Wrong settings are refused here, before anything is read or trained.

# %%
config = TrainConfig(
    recipe=recipe,
    out=Path(out or f"runs/notebook/{recipe}"),
    photos=Path(photos) if photos else None,
    split=split,
    hidden=Path(hidden) if hidden else None,
    limit=limit or None,
    teacher=teacher,
    start_from=start_from,
    damior=damior,
    backbone=backbone,
    input_size=input_size,
    mask_size=mask_size,
    minutes=minutes,
    steps=steps,
    batch_size=batch_size,
    learning_rate=learning_rate,
    seed=seed,
    device=device,
    precision=precision,
    workers=workers,
    code_loss=code_loss,
    loss_weights=loss_weights,
    local_channels=local_channels,
    synthetic_share=synthetic_share,
    photometric=photometric,
    occluders=occluders,
    occluder_family=occluder_family,
    coverage=(coverage_low, coverage_high),
    clean_share=clean_share,
    duplicates=duplicates,
    views=views,
    log_every=log_every,
    sheet_minutes=sheet_minutes,
)
metrics = run_training(config)

# %% [markdown]
# ## Losses
# Every term carries its weight already, so the curves can be compared. Dashed: their sum.

# %%
# The same rows are in losses.csv and, with the package `tensorboard`, in event files: `tensorboard --logdir runs`.
rows = [json.loads(line) for line in (config.out / "losses.jsonl").read_text().splitlines()]
terms = [name for name in rows[-1] if name not in ("step", "seconds", "images_per_s", "total", "lr")]
figure, axes = plt.subplots(figsize=(9, 4))
for name in terms:
    points = [(row["step"], row[name]) for row in rows if row.get(name, 0) > 0]
    if points:
        axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 20 else None)
axes.plot([row["step"] for row in rows], [row["total"] for row in rows], "k--", label="total")
axes.set(xlabel="step", ylabel="loss", yscale="log", title=f"{recipe}: {metrics['steps']} steps")
axes.legend(ncols=2, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## Sample sheet
# The last of the run's sheets: photos of the dev split where there are photos, rendered faces otherwise.

# %%
sheets = sorted((config.out / "sheets").glob("step-*.png"))
display(*[Image(sheets[-1])] if sheets else [])

# %% [markdown]
# ## What the network sees
# Six rendered faces it never trained on, with its landmarks (dots) and the true ones (rings).

# %%
scene = Scene(HeadModel.load(), AlbedoModel.load())
network = load_encoder(metrics["model"])
drawn = SyntheticFaces(scene.head, scene.albedo, input_size).sample(
    6, generator=torch.Generator().manual_seed(10_000 + seed)
)
with torch.inference_mode():
    found = (scene.decode(network(drawn.image).params).landmarks + 1) * (input_size / 2)
true = drawn.points[..., :2]
figure, panels = plt.subplots(1, 6, figsize=(15, 2.6))
for panel, image, dots, rings in zip(panels, drawn.image, found, true, strict=True):
    panel.imshow(image.permute(1, 2, 0).numpy(), extent=(0, input_size, input_size, 0))
    panel.scatter(*rings[::9].T, s=14, facecolors="none", edgecolors="white", linewidths=0.6)
    panel.scatter(*dots[::9].T, s=3, color="tab:red")
    panel.set_axis_off()
plt.show()
box = (true.amax(1) - true.amin(1)).prod(-1).sqrt()
metrics["landmark_error_rendered"] = float(((found - true).norm(dim=-1).mean(-1) / box).mean())

# %% [markdown]
# ## Metrics

# %%
(config.out / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
metrics

# %% [markdown]
# # Robustness to occlusion
#
# Every network sees each face twice, clean and covered. The reference of all distances is one network on the clean
# face, by default the teacher; landmarks are compared with the photo's own annotations. Definitions: docs/metrics.md.
#
# ```
# papermill research/evaluate.ipynb runs/evaluate.ipynb -p photos DIR -p family empirical
# ```
#
# Without photos it measures rendered faces, which shows that everything works but says little about real ones.

# %% tags=["parameters"]
teacher: str = "teacher"  # the reference: shipped name or .safetensors file
student: str = "student"  # shipped name or .safetensors file
others: str = ""  # more networks: name and file joined by an equals sign, separated by commas
photos: str = ""  # folder of photos with 468 landmarks; empty: rendered faces
split: str = "dev"  # shard prefix or sub-folder
limit: int = 64  # first so many photos, or number of rendered faces; 0: all photos
family: str = "random"  # random, irrational, empirical or one family
coverage_low: float = 0.2  # occluders hide at least this share of the face,
coverage_high: float = 0.5  # and at most this one
batch_size: int = 16
seed: int = 0
cache: str = "runs/cache"  # where decoded photos are kept
out: str = "runs/notebook/evaluate"

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown

from occface_core.data.batches import BatchConfig, TwinSampler
from occface_core.data.landmarks import mirror_pairs
from occface_core.data.packed import cached_pack
from occface_core.data.photos import load_photo_set
from occface_core.data.synthetic_pack import synthetic_pack
from occface_core.evaluation.occlusion_cli import markdown
from occface_core.evaluation.robustness import RobustnessBenchmark, reductions, summarise
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.checkpoints import load_encoder

# %% [markdown]
# ## Networks and faces

# %%
head, albedo = HeadModel.load(), AlbedoModel.load()
extra = dict(item.split("=", 1) for item in others.split(",") if item)
networks = {
    name: load_encoder(source) for name, source in {"teacher": teacher, "student": student, **extra}.items()
}
if photos:
    packed = cached_pack(load_photo_set(photos, split=split), Path(cache), limit=limit or None)
else:
    packed = synthetic_pack(head, albedo, limit or 64, generator=torch.Generator().manual_seed(seed))
mean_points = head.landmarks(head.v_template[None], "468")[0]
settings = BatchConfig(
    batch_size=batch_size,
    size=networks["teacher"].config.input_size,
    occlude=True,
    family=family,
    coverage=(coverage_low, coverage_high),
    clean_share=0.0,
)
sampler = TwinSampler(
    packed,
    settings,
    seed=seed,
    mirror=mirror_pairs(mean_points.numpy()),
    mean_points=mean_points,
    augment=False,
)
first = sampler[0]
figure, panels = plt.subplots(2, 8, figsize=(15, 4))
for panel, image in zip(
    panels.T.flat, torch.stack([first.clean, first.occluded], 1).flatten(0, 1), strict=False
):
    panel.imshow(image.permute(1, 2, 0).numpy())
for panel in panels.flat:
    panel.set_axis_off()
plt.show()

# %% [markdown]
# ## Table
# A network that answers the mean face whatever it sees has a small shape error: read it beside the spread of its shapes
# and beside the row of the mean head.

# %%
rows = RobustnessBenchmark(head, albedo, networks, reference="teacher").run(sampler)
summary = summarise(rows, seed=seed)
summary["against"] = "teacher"
summary["reductions"] = {name: reductions(summary, "teacher", name) for name in networks if name != "teacher"}
Markdown(markdown(summary))

# %% [markdown]
# ## Error by coverage

# %%
bins = [name for name in summary["groups"] if name.startswith("coverage")]
figure, panels = plt.subplots(1, 2, figsize=(11, 3.5))
for panel, metric, label in zip(panels, ("shape_mm", "nme"), ("shape error [mm]", "NME"), strict=True):
    for name in networks:
        entries = [summary["groups"][b][f"{name}/occluded/{metric}"] for b in bins]
        middle = np.array([e["mean"] for e in entries])
        low, high = np.array([e["ci95"] for e in entries]).T
        panel.errorbar(bins, middle, yerr=(middle - low, high - middle), marker="o", capsize=3, label=name)
    panel.set(ylabel=label, ylim=(0, None))
    panel.tick_params(axis="x", labelrotation=30)
panels[0].legend()
plt.show()

# %% [markdown]
# ## Metrics

# %%
metrics = {
    "photos": len(packed),
    "rendered": not photos,
    "family": family,
    "coverage": float(rows.array("coverage").mean()),
    "reductions": summary["reductions"],
    "all": {k: v["mean"] for k, v in summary["groups"]["all"].items() if k != "count"},
    "spread_mm": summary["spread_mm"],
}
folder = Path(out)
folder.mkdir(parents=True, exist_ok=True)
(folder / "summary.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
(folder / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
metrics["reductions"]

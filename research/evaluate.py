# %% [markdown]
# # Robustness to occlusion
#
# Every network sees each face twice, clean and covered. The reference of all distances is one network on the clean
# face, by default the teacher; landmarks are compared with the photo's own annotations. Definitions: docs/metrics.md.
#
# ```
# mkdir -p runs
# papermill research/evaluate.ipynb runs/evaluate.ipynb -p photos DIR -p family empirical
# ```
#
# Without photos it measures rendered faces, which shows that everything works but says little about real ones.
#
# Networks look once at each crop here, on the CPU; `reconstruct` and the tables of BENCHMARKS.md look at the mirror image
# too (`benchmark occlusion --mirrored`).
#
# The run folder holds what `benchmark occlusion` writes, and `report.html`, one page with every table and figure.

# %% tags=["parameters"]
teacher: str = "teacher"  # the reference: shipped name or .safetensors file
student: str = "student"  # shipped name or .safetensors file
others: str = ""  # more networks or .npz predictions: name and file joined by an equals sign, separated by commas
photos: str = ""  # folder of photos with 468 landmarks; empty: rendered faces
split: str = "dev"  # shard prefix or sub-folder
hidden: str = ""  # folder of SPLIT-hidden.npz: the truth of masks then leaves out hair, hats and glasses
limit: int = 64  # first so many photos, or number of rendered faces; 0: all photos
family: str = "random"  # random, irrational, empirical or one family
coverage_low: float = 0.2  # occluders hide at least this share of the face,
coverage_high: float = 0.5  # and at most this one
duplicates: int = 1  # different covers of each photo; 2 and more measure how alike the answers are
batch_size: int = 16
seed: int = 0
cache: str = "runs/cache"  # where decoded photos are kept
more_runs: str = ""  # folders of other benchmarks for the page (NoW, landmarks, ...), separated by commas
worst: int = 8  # photos in each list of worst cases
show_photos: bool = False  # put the worst photos into the page: only where the page stays with the photos
out: str = "runs/notebook/evaluate"

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import SVG, Image, Markdown, display

from occface_core.data.hidden import with_hidden_of
from occface_core.data.packed import cached_pack
from occface_core.data.photos import load_photo_set
from occface_core.data.synthetic_pack import synthetic_pack
from occface_core.evaluation.occlusion_participants import Participants, load_networks
from occface_core.evaluation.occlusion_run import run_occlusion
from occface_core.evaluation.occlusion_tables import markdown
from occface_core.evaluation.report import TITLE, ReportOptions, build
from occface_core.evaluation.report_page import Picture, write_page
from occface_core.evaluation.report_runs import read_runs
from occface_core.evaluation.report_worst import crops_of_twins
from occface_core.evaluation.robustness import RobustnessBenchmark
from occface_core.evaluation.twins import EvaluationTwins, TwinSettings
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel

# %% [markdown]
# ## Networks and faces

# %%
head, albedo = HeadModel.load(), AlbedoModel.load()
extra = dict(item.split("=", 1) for item in others.split(",") if item)
sources = {"teacher": teacher, "student": student, **extra}
networks = load_networks(sources, "cpu")
if photos:
    packed = cached_pack(load_photo_set(photos, split=split), Path(cache), limit=limit or None)
    packed = with_hidden_of(packed, Path(hidden) if hidden else None, split)
else:
    packed = synthetic_pack(head, albedo, limit or 64, generator=torch.Generator().manual_seed(seed))
covers = TwinSettings(
    size=networks["teacher"].config.input_size,
    family=family,
    coverage=(coverage_low, coverage_high),
    covers=duplicates,
    seed=seed,
)
mean_points = head.landmarks(head.v_template[None], "468")[0]
twins = EvaluationTwins(packed, covers, mean_points=mean_points, batch_size=batch_size)
first = twins[0]
pairs = torch.stack([first.clean, first.occluded], 1).flatten(0, 1)
figure, panels = plt.subplots(2, 8, figsize=(15, 4))
for panel, image in zip(panels.T.flat, pairs, strict=False):
    panel.imshow(image.permute(1, 2, 0).numpy())
for panel in panels.flat:
    panel.set_axis_off()
plt.show()

# %% [markdown]
# ## Measure
# A network that answers the mean face whatever it sees has a small shape error: read it beside the spread of its shapes
# and beside the row of the mean head. An interrupted run goes on where it stopped.

# %%
folder = Path(out)
participants = Participants.of(sources, networks, twins, head, albedo)
benchmark = RobustnessBenchmark(head, albedo, participants.models, reference="teacher")
summary = run_occlusion(
    benchmark,
    twins,
    participants,
    folder,
    models=[name for name in sources if name != "teacher"],
    against=["teacher"],
    left_out=packed.skipped,
)
Markdown(markdown(summary))

# %% [markdown]
# ## One page
# The figures below, with the tables, worst cases, published figures and whatever other runs are named in `more_runs`.

# %%
runs = read_runs([folder, *(Path(name.strip()) for name in more_runs.split(",") if name.strip())])
crops = {runs.occlusion[0].label: crops_of_twins(twins)} if show_photos else {}
blocks = build(runs, ReportOptions(worst=worst, crops=crops, head=head))
page = write_page(TITLE, blocks, folder / "report.html")[0]
for block in blocks:
    if isinstance(block, Picture):
        display(Markdown(f"*{block.caption}*"), (SVG if block.name.endswith(".svg") else Image)(block.data))
page

# %% [markdown]
# ## Metrics

# %%
every = summary["groups"]["all"]
rows = runs.occlusion[0].values
reductions = {}
for one in summary["comparisons"]:
    if one["group"] == "all":
        change = {name: figure["value"] for name, figure in one.items() if isinstance(figure, dict)}
        for side, key in ((one["model"], "nme_ratio"), (one["against"], "nme_ratio_against")):
            if key in change:  # a model that gave no 468 points has none
                change[f"nme_ratio/{side}"] = change[key]
        reductions[one["model"]] = change
metrics = {
    "photos": len(packed),
    "rendered": not photos,
    "family": family,
    "coverage": float(np.mean(rows["coverage"])),
    "reductions": reductions,
    "all": {k: v["mean"] for k, v in every.items() if k != "count"},
    "spread_mm": summary["spread_mm"],
    "page": str(page),
}
(folder / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
metrics["reductions"]

# %% [markdown]
# # Ablations
#
# A grid of training runs by papermill, each followed by the evaluation notebook, then one table of everything and one
# picture per axis. All notebooks of the grid share one kernel, so imports are paid for once. Runs that have their
# metrics.json already are not repeated: stop it at any time and start it again.
#
# ```
# mkdir -p runs
# papermill research/ablations.ipynb runs/ablations.ipynb -p photos DIR -p minutes 30
# papermill research/ablations.ipynb runs/ablations.ipynb -y "{photos: DIR, axes: {backbone: [resnet18, resnet50]}}"
# ```

# %% tags=["parameters"]
recipe: str = "damior"  # what every run trains, unless an axis says otherwise
axes: dict = {
    "occluder_family": ["irrational", "empirical", "hand"],
    "coverage": [[0.1, 0.3], [0.4, 0.7]],
    "duplicates": [{"recipe": "diamor", "duplicates": n} for n in (2, 4, 8)],
    "loss_weights": ["shape=0", "code=0", "landmark=0,points=0", "texture=0", "photometric=0"],
    "code_loss": [{"recipe": "learner", "code_loss": loss} for loss in ("plain", "normalised")],
    "backbone": ["mobilenet_v3_small", "resnet34"],
    "synthetic_share": [0.0, 0.5],
}  # axis -> values; each value is one run that differs from the baseline in that alone; a dict changes several settings
cross: bool = False  # every combination of all values instead of one change at a time
photos: str = ""  # folder of photos; empty: rendered faces, and no runs that differ in their photos alone
teacher: str = "teacher"  # network to distil, and the reference of the evaluation
minutes: float = 2.0  # of each training
steps: int = 0  # a number of steps instead
batch_size: int = 40  # a multiple of the duplicates after the rendered share (0.2) is taken off
input_size: int = 112
extra: dict = {}  # more settings of research/train.ipynb, the same for all runs
faces: int = 64  # faces in each evaluation
family: str = "random"  # occluders of each evaluation
seed: int = 0
out: str = "runs/notebook/ablations"
notebooks: str = ""  # folder of train.ipynb and evaluate.ipynb; empty: found beside this one

# %%
import itertools
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import papermill
from IPython.display import display
from jupyter_client.manager import KernelManager

# %% [markdown]
# ## The grid

# %%
# What makes no difference on rendered faces alone: every batch is rendered then, and renders have no duplicates.
NEED_PHOTOS = {"synthetic_share", "duplicates"}


def settings(axis: str, value: object) -> dict:
    """Parameters of research/train.ipynb that a value of an axis stands for."""
    if isinstance(value, dict):
        return value
    if axis == "coverage":
        return {"coverage_low": value[0], "coverage_high": value[1]}
    return {axis: value}


def label(variant: dict) -> str:
    """A run's name, which is also its folder's."""
    return ";".join(f"{key}={value}" for key, value in variant.items()).replace("/", "_") or "baseline"


used = {axis: values for axis, values in axes.items() if photos or axis not in NEED_PHOTOS}
left_out = sorted(set(axes) - set(used))
if cross:
    pairs = [[settings(axis, value) for value in values] for axis, values in used.items()]
    grid = [("", {k: v for part in parts for k, v in part.items()}) for parts in itertools.product(*pairs)]
else:
    grid = [("", {})] + [(axis, settings(axis, value)) for axis, values in used.items() for value in values]
runs = {label(variant): (axis, variant) for axis, variant in grid}
# Run from the repository's root or from research/ itself, the other notebooks are found.
source = Path(notebooks) if notebooks else Path("research" if Path("research").is_dir() else ".")
folder = Path(out)
list(runs), f"need photos, left out: {left_out}"

# %% [markdown]
# ## Train and measure

# %%
kernel = KernelManager(kernel_name="python3")
failures = {}


def finished(run: Path, stage: str) -> bool:
    return (run / f"{stage}.ipynb").is_file() and (run / stage / "metrics.json").is_file()


def execute(run: Path, stage: str, parameters: dict) -> None:
    """One notebook of a run; its output appears under its own name only when it is complete."""
    partial = run / f"{stage}.partial.ipynb"
    papermill.execute_notebook(
        source / f"{stage}.ipynb",
        partial,
        parameters={**parameters, "out": str(run / stage)},
        progress_bar=False,
        kernel_name="python3",
        km=kernel,
    )
    partial.rename(run / f"{stage}.ipynb")


for name, (_, variant) in runs.items():
    run = folder / name
    run.mkdir(parents=True, exist_ok=True)
    common = {"teacher": teacher, "photos": photos, "seed": seed}
    training = {"recipe": recipe, "minutes": minutes, "steps": steps, "batch_size": batch_size}
    training |= {"input_size": input_size, **extra, **variant}
    measuring = {"student": str(run / "train" / "model.safetensors"), "limit": faces, "family": family}
    for stage, parameters in (("train", training), ("evaluate", measuring)):
        if finished(run, stage):
            continue
        try:
            execute(run, stage, {**common, **parameters})
        except Exception as error:  # the table of the others is worth having; what failed is named below
            failures[name] = f"{stage}: {getattr(error, 'ename', type(error).__name__)}: " + (
                getattr(error, "evalue", None) or str(error)
            )
            if kernel.has_kernel and not kernel.is_alive():
                kernel = KernelManager(kernel_name="python3")
            break
if kernel.has_kernel:
    kernel.shutdown_kernel(now=True)
failures

# %% [markdown]
# ## Table
# Errors are against the teacher on the uncovered face. A spread ratio far below 1 says that a network has drifted
# towards the mean face, which flatters its shape error.

# %%
rows = []
for name, (axis, _) in runs.items():
    if name in failures:
        continue
    trained = json.loads((folder / name / "train" / "metrics.json").read_text())
    measured = json.loads((folder / name / "evaluate" / "metrics.json").read_text())
    every, change = measured["all"], measured["reductions"]["student"]
    rows.append(
        {
            "run": name,
            "axis": axis,
            "images": trained["images"],
            "shape mm": every["student/occluded/shape_mm"],
            "shape mm, clean": every["student/clean/shape_mm"],
            "shape reduction": change["shape_mm_reduction"],
            "texture reduction": change["texture_reduction"],
            "NME": every["student/occluded/nme"],
            "NME ratio": change["nme_ratio/student"],
            "spread ratio": change["spread_ratio"],
        }
    )
table = pd.DataFrame(rows)
if len(table):
    table = table.set_index("run")
    table.to_csv(folder / "table.csv")
display(table.round(4))

# %%
columns = ("shape mm", "NME", "NME ratio", "spread ratio")
shown = [axis for axis in (used if not cross else [""]) if len(table) and (table["axis"] == axis).any()]
if shown:
    figure, panels = plt.subplots(
        len(shown), len(columns), figsize=(14, 1.2 + 1.1 * len(shown)), squeeze=False, sharex="col"
    )
    for line, axis in zip(panels, shown, strict=True):
        part = table[table["axis"] == axis]
        for panel, column in zip(line, columns, strict=True):
            panel.barh(part.index, part[column])
            if "baseline" in table.index:
                panel.axvline(table.loc["baseline", column], color="black", linestyle="--", linewidth=1)
            panel.invert_yaxis()
            panel.tick_params(labelsize=7)
        for panel in line[1:]:
            panel.set_yticklabels([])
    for panel, column in zip(panels[-1], columns, strict=True):
        panel.set_xlabel(f"{column} (dashed: baseline)")
    figure.tight_layout()
    figure.savefig(folder / "table.png", dpi=110)
    plt.show()

# %% [markdown]
# ## Metrics

# %%
metrics = {
    "runs": len(runs),
    "failed": failures,
    "left_out": left_out,
    "table": table.reset_index().to_dict("records"),
}
(folder / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
metrics["failed"]

# %% [markdown]
# # Ablations
#
# A grid of training runs by papermill, each followed by the evaluation notebook, and one table of everything. Runs that
# have their metrics.json already are not repeated: stop it at any time and start it again.
#
# ```
# papermill research/ablations.ipynb runs/ablations.ipynb -y "{photos: DIR, minutes: 30, axes: {backbone: [resnet18, resnet50]}}"
# ```

# %% tags=["parameters"]
recipe: str = "learner"  # what every run trains, unless an axis says otherwise
axes: dict = {
    "occluder_family": ["random", "irrational", "empirical"],
    "code_loss": ["normalised"],
    "synthetic_share": [0.0, 0.5],
}  # setting -> values; each value is one run that differs from the baseline in that setting alone
cross: bool = False  # every combination of all values instead of one change at a time
photos: str = ""  # folder of photos; empty: rendered faces
teacher: str = "teacher"  # network to distil, and the reference of the evaluation
minutes: float = 2.0  # of each training
steps: int = 0  # a number of steps instead
batch_size: int = 32
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

# %% [markdown]
# ## The grid

# %%
if cross:
    variants = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
else:
    variants = [{}] + [{axis: value} for axis, values in axes.items() for value in values]
names = [",".join(f"{k}={x}" for k, x in v.items()).replace("/", "_") or "baseline" for v in variants]
# Run from the repository's root or from research/ itself, the other notebooks are found.
source = Path(notebooks) if notebooks else Path("research" if Path("research").is_dir() else ".")
folder = Path(out)
names

# %% [markdown]
# ## Train and measure

# %%
failures = {}
for name, variant in zip(names, variants, strict=True):
    run = folder / name
    run.mkdir(parents=True, exist_ok=True)
    settings = {"recipe": recipe, "photos": photos, "teacher": teacher, "minutes": minutes, "steps": steps}
    settings |= {"batch_size": batch_size, "input_size": input_size, "seed": seed, **extra, **variant}
    measure = {"teacher": teacher, "student": str(run / "train" / "model.safetensors"), "photos": photos}
    measure |= {"limit": faces, "family": family, "seed": seed, "out": str(run / "evaluate")}
    stages = (
        ("train", {**settings, "out": str(run / "train")}),
        ("evaluate", measure),
    )
    for stage, parameters in stages:
        if (run / f"{stage}.ipynb").is_file() and (run / stage / "metrics.json").is_file():
            continue
        try:
            # The output notebook appears under its own name only when it is complete.
            partial = run / f"{stage}.partial.ipynb"
            papermill.execute_notebook(
                source / f"{stage}.ipynb",
                partial,
                parameters=parameters,
                progress_bar=False,
                kernel_name="python3",
            )
            partial.rename(run / f"{stage}.ipynb")
        except papermill.PapermillExecutionError as error:
            failures[name] = f"{stage}: {error.ename}: {error.evalue}"
            break
failures

# %% [markdown]
# ## Table

# %%
rows = []
for name in names:
    if name in failures:
        continue
    trained = json.loads((folder / name / "train" / "metrics.json").read_text())
    measured = json.loads((folder / name / "evaluate" / "metrics.json").read_text())
    every, change = measured["all"], measured["reductions"]["student"]
    rows.append(
        {
            "run": name,
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
figure, panels = plt.subplots(1, 2, figsize=(12, 0.5 + 0.4 * max(1, len(table))))
for panel, column in zip(panels, ("shape mm", "NME"), strict=True):
    if len(table):
        panel.barh(table.index, table[column])
    panel.set(xlabel=column)
    panel.invert_yaxis()
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Metrics

# %%
metrics = {"runs": len(names), "failed": failures, "table": table.reset_index().to_dict("records")}
(folder / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
metrics["failed"]

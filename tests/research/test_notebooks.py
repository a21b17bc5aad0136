"""The notebooks run from start to end with tiny settings, and their metrics.json says what happened."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import papermill
import pytest
from jupyter_client.kernelspec import KernelSpecManager

RESEARCH = Path(__file__).resolve().parents[2] / "research"
TINY = {
    "steps": 2,
    "batch_size": 4,
    "input_size": 64,
    "mask_size": 16,
    "backbone": "mobilenet_v3_small",
    "device": "cpu",
    "workers": 0,
    "log_every": 1,
    "local_channels": 0,
}


@pytest.fixture(scope="session", autouse=True)
def kernel(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A kernel called python3 that is this very interpreter, whatever else the machine has."""
    folder = tmp_path_factory.mktemp("jupyter")
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "Python 3", "language": "python"})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        patch.setenv("PYTHONPATH", str(RESEARCH.parent))
        patch.setenv("MPLBACKEND", "agg")
        patch.setenv("OMP_NUM_THREADS", "1")
        assert "python3" in KernelSpecManager().find_kernel_specs()
        yield


def execute(name: str, folder: Path, **parameters: Any) -> dict[str, Any]:
    """Run one notebook in an empty folder; returns the metrics it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {"out": str(folder / "run"), **parameters}
    papermill.execute_notebook(
        RESEARCH / f"{name}.ipynb",
        folder / f"{name}.ipynb",
        parameters=parameters,
        kernel_name="python3",
        cwd=folder,
        progress_bar=False,
    )
    return json.loads((folder / "run" / "metrics.json").read_text())


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="session")
def teacher(work: Path) -> dict[str, Any]:
    return execute("train", work / "teacher", recipe="teacher", **TINY)


@pytest.fixture(scope="session")
def learner(work: Path, teacher: dict[str, Any]) -> dict[str, Any]:
    return execute("train", work / "learner", recipe="learner", teacher=teacher["model"], **TINY)


def check_training(metrics: dict[str, Any], recipe: str, terms: set[str]) -> None:
    assert metrics["config"]["recipe"] == recipe
    assert (metrics["steps"], metrics["images"], metrics["resumed"]) == (2, 8, False)
    assert terms <= set(metrics["final"])
    assert all(math.isfinite(value) for value in metrics["final"].values())
    assert Path(metrics["model"]).is_file()
    assert 0 < metrics["landmark_error_rendered"] < 2
    assert [p.name for p in (Path(metrics["model"]).parent / "sheets").iterdir()] == ["step-000002.png"]
    assert (Path(metrics["model"]).parent / "losses.csv").is_file()


@pytest.mark.slow
def test_train_a_teacher(teacher: dict[str, Any]) -> None:
    check_training(teacher, "teacher", {"landmark", "truth_shape", "prior_shape", "mask", "total"})


@pytest.mark.slow
def test_train_a_learner_from_it(learner: dict[str, Any], teacher: dict[str, Any]) -> None:
    check_training(learner, "learner", {"code", "mask", "total"})
    assert learner["config"]["teacher"] == teacher["model"]
    # It starts as a copy of its teacher, so on faces that are mostly covered the codes still nearly agree.
    assert learner["final"]["code"] < 1


@pytest.mark.slow
def test_a_second_run_resumes_instead_of_starting_over(work: Path, teacher: dict[str, Any]) -> None:
    settings = {**TINY, "steps": 3}
    again = execute("train", work / "teacher", recipe="teacher", **settings)
    assert again["resumed"] is True
    assert again["steps"] == 3


@pytest.mark.slow
def test_evaluate(work: Path, teacher: dict[str, Any], learner: dict[str, Any]) -> None:
    metrics = execute(
        "evaluate",
        work / "evaluate",
        teacher=teacher["model"],
        student=learner["model"],
        others=f"again={learner['model']}",
        limit=6,
        batch_size=6,
        worst=2,
    )
    assert metrics["photos"] == 6
    assert metrics["rendered"] is True
    assert 0.1 < metrics["coverage"] < 0.6
    assert set(metrics["reductions"]) == {"student", "again"}
    student, again = (metrics["reductions"][name] for name in ("student", "again"))
    assert student["shape_mm_reduction"] == again["shape_mm_reduction"]
    assert metrics["all"]["teacher/clean/shape_mm"] == 0  # it is its own reference
    assert metrics["all"]["teacher/occluded/shape_mm"] > 0
    assert metrics["all"]["mean head/clean/nme"] > 0
    page = Path(metrics["page"]).read_text()
    assert page.startswith("<!doctype html>")
    for title in ("Cumulative errors", "Where on the head", "Worst cases", "Published figures beside ours"):
        assert title in page
    assert "data:image/jpeg" not in page  # no photo unless asked for
    files = {path.name for path in Path(metrics["page"]).parent.iterdir()}
    assert {"summary.json", "rows.csv", "vertex_errors.npz"} <= files


@pytest.mark.slow
def test_explore(work: Path, learner: dict[str, Any]) -> None:
    metrics = execute("explore", work / "explore", model=learner["model"], family="noise_patch", seed=3)
    assert metrics["vertices"] == 5181
    assert 0 <= metrics["visible_fraction"] <= 1
    assert 0.1 < metrics["coverage"] < 0.6
    assert metrics["face_distance_mm"] >= 0
    assert {"medical_mask", "sunglasses", "noise_patch"} <= set(metrics["families"])


@pytest.mark.slow
def test_ablations(work: Path, teacher: dict[str, Any]) -> None:
    own = ("steps", "batch_size", "input_size")
    parameters = {
        "axes": {
            "loss_weights": ["shape=0"],
            "duplicates": [{"recipe": "diamor", "duplicates": 2}],
        },
        "teacher": teacher["model"],
        **{name: TINY[name] for name in own},
        "extra": {name: value for name, value in TINY.items() if name not in own},
        "faces": 4,
        "notebooks": str(RESEARCH),
    }
    metrics = execute("ablations", work / "ablations", **parameters)
    assert metrics["failed"] == {}
    assert metrics["left_out"] == ["duplicates"]  # renders come without duplicates
    assert [(row["run"], row["axis"]) for row in metrics["table"]] == [
        ("baseline", ""),
        ("loss_weights=shape=0", "loss_weights"),
    ]
    assert all(row["images"] == 8 and row["shape mm"] > 0 for row in metrics["table"])
    run = work / "ablations" / "run"
    weights = [
        json.loads((run / name / "train" / "metrics.json").read_text())["config"]["loss_weights"]
        for name in ("baseline", "loss_weights=shape=0")
    ]
    assert weights == ["", "shape=0"]
    assert (run / "table.csv").is_file()
    assert (run / "table.png").is_file()
    stamps = {p: p.stat().st_mtime_ns for p in run.rglob("state.ckpt")}
    assert len(stamps) == 2
    assert execute("ablations", work / "ablations", **parameters)["table"] == metrics["table"]
    assert stamps == {p: p.stat().st_mtime_ns for p in run.rglob("state.ckpt")}

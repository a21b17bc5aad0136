"""`benchmark occlusion` from photos to a run folder; the documented example of an outsider; a killed run."""

import csv
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core import cli
from occface_core.data.hidden import hidden_file, write_hidden
from occface_core.data.packed import cached_pack
from occface_core.data.photos import load_photo_set
from occface_core.evaluation.robustness import RobustnessBenchmark
from occface_core.networks.checkpoints import save_encoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder

DOCS = Path(__file__).resolve().parents[2] / "docs" / "external_models.md"
SOME_FAILED, WRONG_USAGE, INTERRUPTED = 3, 2, 130


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small networks without training, whose answers do depend on the picture."""
    folder = tmp_path_factory.mktemp("networks")
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        model = FaceEncoder(EncoderConfig(backbone="mobilenet_v3_small", input_size=64, mask_size=16))
        torch.nn.init.normal_(model.layers[-1].weight, std=0.1)
        save_encoder(model, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def command(networks: Path, cache: Path, photo_folder: Path) -> Callable[..., int]:
    """Run the benchmark on the rendered photos with the first network as reference."""

    def run(out: Path, *options: str | Path, model: str | Path = networks / "second.safetensors") -> int:
        fixed = ["--images", photo_folder, "--split", "", "--cache", cache, "--out", out]
        chosen = ["--reference", networks / "first.safetensors", "--model", model, "--batch-size", "4"]
        return cli.main(["benchmark", "occlusion", *map(str, [*fixed, *chosen, *options])])

    return run


@pytest.fixture
def benchmark(command: Callable[..., int], tmp_path: Path) -> Callable[..., int]:
    """The command with a run folder of this test's own."""
    return partial(command, tmp_path / "run")


@pytest.fixture(scope="module")
def finished(command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert command(out, "--duplicates", "2") == 0
    return out


def test_the_run_folder(finished: Path) -> None:
    out = finished
    names = {"summary.json", "summary.md", "rows.csv", "vertex_errors.npz", "settings.json"}
    assert {path.name for path in out.iterdir()} == names
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["reference"], summary["models"]) == ("first", ["first", "second"])
    assert (summary["photos"], summary["covers"]) == (12, 2)
    assert {(c["model"], c["against"]) for c in summary["comparisons"]} == {("second", "first")}
    assert summary["groups"]["apparent age 30-44"]["count"] == 12
    with (out / "rows.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == [f"{i:02d}.png" for i in range(12)]
    key = "second/occluded/nme68"
    assert np.mean([float(row[key]) for row in rows]) == pytest.approx(summary["groups"]["all"][key]["mean"])
    with np.load(out / "vertex_errors.npz") as errors:
        assert errors["second/occluded"].shape == (5181,)
        assert "mean head/clean" in errors
    assert "apparent gender male" in (out / "summary.md").read_text()


def test_networks_that_look_both_ways_are_others(benchmark: Callable, finished: Path, tmp_path: Path) -> None:
    assert benchmark("--duplicates", "2", "--mirrored") == 0
    runs = [json.loads((run / "settings.json").read_text()) for run in (finished, tmp_path / "run")]
    assert runs[0]["twins"] == runs[1]["twins"]
    assert runs[0]["models"]["second"] != runs[1]["models"]["second"]
    before, now = (json.loads((r / "summary.json").read_text()) for r in (finished, tmp_path / "run"))
    key = "second/occluded/nme"
    assert now["groups"]["all"][key]["mean"] != before["groups"]["all"][key]["mean"]


def test_the_documented_outsider_measures_like_the_network_it_runs(
    benchmark: Callable, networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, told = networks / "second.safetensors", tmp_path / "told.npz"
    assert benchmark("--duplicates", "2", "--export-twins", tmp_path / "twins") == 0
    script = tmp_path / "predict.py"
    script.write_text(re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[-1])
    monkeypatch.setattr(sys, "argv", ["predict.py", str(tmp_path / "twins"), str(second), str(told)])
    runpy.run_path(str(script))

    # Seen as an outsider it may have any landmarks: an untrained network's are far from the faces.
    monkeypatch.setattr("occface_core.evaluation.external._FAR_NME", 1e9)
    assert benchmark("--duplicates", "2", "--against", f"outsider={told}") in (0, SOME_FAILED)
    every = json.loads((tmp_path / "run" / "summary.json").read_text())["groups"]["all"]
    figures = [key for key in every if key.startswith("second/")]
    assert len(figures) == 5 + 5 + 7 + 5 + 2
    for key in figures:
        outside = every[key.replace("second/", "outsider/")]
        assert outside["mean"] == pytest.approx(every[key]["mean"], rel=1e-3, abs=1e-5), key
    comparison = json.loads((tmp_path / "run" / "summary.json").read_text())["comparisons"][0]
    assert (comparison["model"], comparison["against"]) == ("second", "outsider")
    assert comparison["shape_mm_reduction"]["value"] == pytest.approx(0, abs=1e-3)

    # The same file does not fit other covers.
    assert benchmark("--duplicates", "2", "--seed", "1", "--against", f"outsider={told}") == WRONG_USAGE


def test_missing_predictions_hold_the_figures_back(
    benchmark: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert benchmark("--export-twins", tmp_path / "twins") == 0
    about = json.loads((tmp_path / "twins" / "twins.json").read_text())
    mask = np.ones((11, 64, 64), bool)
    names = np.array([f"{i:02d}.png" for i in range(11)])
    np.savez(tmp_path / "few.npz", twins=about["twins"], names=names, mask_clean=mask, mask_occluded=mask)
    few = tmp_path / "few.npz"
    assert benchmark(model=few) == SOME_FAILED
    assert "few: 11.png: no prediction" in caplog.text
    assert not (tmp_path / "run").exists()
    assert benchmark("--allow-missing", model=few) == SOME_FAILED
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["problems"]["few"] == [["11.png", "no prediction"]]
    assert summary["groups"]["all"]["few/clean/mask_iou"]["count"] == 11
    assert summary["groups"]["all"]["few/clean/mask_iou"]["mean"] == pytest.approx(1)


@pytest.fixture
def with_threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads of PyTorch's operations, for this test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_a_killed_run_goes_on_and_ends_the_same_with_other_threads(
    benchmark: Callable,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_threads: Callable[[int], None],
    capsys: pytest.CaptureFixture,
) -> None:
    whole = {path.name: path.read_bytes() for path in finished.iterdir()}
    measure, steps = RobustnessBenchmark.measure, []

    def failing(self, batch, sums, **options):
        steps.append(batch.index[0].item())
        if len(steps) == 3:
            raise KeyboardInterrupt
        return measure(self, batch, sums, **options)

    monkeypatch.setattr(RobustnessBenchmark, "measure", failing)
    with_threads(1)
    assert benchmark("--duplicates", "2") == INTERRUPTED
    assert (tmp_path / "run" / "partial.jsonl").is_file()
    assert benchmark("--duplicates", "2", "--seed", "1") == WRONG_USAGE
    assert "must not be mixed" in capsys.readouterr().err
    with_threads(3)
    assert benchmark("--duplicates", "2") == 0
    assert torch.get_num_threads() == 3
    assert steps == [0, 4, 8, 8]
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--against", "first=other.safetensors"), "stands for"),
        (("--against", "=x.npz"), "must be NAME"),
        (("--against", "none.npz"), "none.npz"),
        (("--family", "umbrella"), "umbrella"),
        (("--reference", "x.npz"), "must be a network"),
        (("--hidden", "nowhere"), "hidden.npz"),
    ],
)
def test_wrong_usage_is_explained(
    benchmark: Callable, options: tuple[str, str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert benchmark(*options) == WRONG_USAGE
    assert message in capsys.readouterr().err


def test_what_covers_the_photos_themselves_changes_the_masks_alone(
    benchmark: Callable, finished: Path, photo_folder: Path, cache: Path, tmp_path: Path
) -> None:
    packed = cached_pack(load_photo_set(photo_folder, split=""), cache)
    masks = np.zeros((len(packed), packed.size, packed.size), bool)
    masks[:, : packed.size // 2] = True
    write_hidden(hidden_file(tmp_path, ""), packed.names, masks)
    assert benchmark("--duplicates", "2", "--hidden", tmp_path) == 0
    told, plain = (json.loads((run / "settings.json").read_text()) for run in (tmp_path / "run", finished))
    assert told["twins"] == plain["twins"]
    assert plain["hidden"] is None
    assert len(told["hidden"]) == 16
    rows, before = (
        list(csv.DictReader((run / "rows.csv").open(newline=""))) for run in (tmp_path / "run", finished)
    )
    changed = {k for k in before[0] if any(a[k] != b[k] for a, b in zip(rows, before, strict=True))}
    assert changed
    assert all("/mask_" in key for key in changed), changed
    assert set(rows[0]) - set(before[0]) == {"own_cover"} | {
        f"{name}/clean/mask_own_found" for name in ("first", "second")
    }
    shares = [float(row["own_cover"]) for row in rows]
    assert 0.1 < min(shares) < max(shares) < 0.9
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    own = summary["groups"]["own cover 10%-100%"]
    assert own["count"] == 12
    found, skin = (own[f"second/clean/mask_{name}"]["mean"] for name in ("own_found", "recall"))
    assert found + skin == pytest.approx(1, abs=0.3)  # an untrained mask knows no difference
    text = (tmp_path / "run" / "summary.md").read_text()
    assert "| 10%-100% | 12 |" in text.split("### Clean photos by what covers")[1]
    assert "own cover" not in (finished / "summary.md").read_text()

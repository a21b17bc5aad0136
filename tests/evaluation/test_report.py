"""The report on made-up run folders, written by the benchmarks' own writers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.cli import main
from occface_core.data.packed import pack
from occface_core.data.photos import load_photo_set
from occface_core.errors import DataError
from occface_core.evaluation import now_results, published, report_figures
from occface_core.evaluation.now_files import NowDataset
from occface_core.evaluation.now_protocol import evaluate
from occface_core.evaluation.occlusion_rows import Rows, ShapeSums
from occface_core.evaluation.occlusion_run import write_results
from occface_core.evaluation.occlusion_summary import compare_all, summarise
from occface_core.evaluation.report import ReportOptions, build
from occface_core.evaluation.report_heat import draw_values
from occface_core.evaluation.report_page import Heading, Picture
from occface_core.evaluation.report_runs import read_runs
from occface_core.evaluation.report_worst import crops_of_run, worst_cases
from occface_core.evaluation.twins import EvaluationTwins, TwinSettings

PHOTOS = 40


def made_up_rows(head) -> Rows:
    """Student at half the teacher's error, growing with coverage; a mean head that is worse than both."""
    rng = np.random.default_rng(0)
    coverage = rng.uniform(0.05, 0.6, PHOTOS)
    families = np.array(["hand", "scarf", "blur", "stripes"])[np.arange(PHOTOS) % 4]
    labels = ["30_0_0", "25_1_2", "", "60_1_1"] * (PHOTOS // 4)
    rows = Rows({"index": list(range(PHOTOS)), "family": families.tolist(), "coverage": coverage.tolist()})
    rows.labels = labels
    noise = rng.uniform(0.9, 1.1, PHOTOS)
    for name, size in (("student", 0.5), ("teacher", 1.0)):
        rows.add(f"{name}/clean/shape_mm", np.zeros(PHOTOS) if name == "teacher" else 0.2 * noise)
        rows.add(f"{name}/occluded/shape_mm", size * (1 + 2 * coverage) * noise)
        rows.add(f"{name}/clean/nme", 0.02 * noise)
        rows.add(f"{name}/occluded/nme", 0.02 + size * 0.05 * coverage * noise)
        rows.add(f"{name}/occluded/texture", size * 0.02 * noise)
    rows.columns["student/occluded/nme"][7] = float("nan")  # no prediction for one photo
    rows.add("mean head/clean/shape_mm", 3 * noise)
    rows.add("mean head/clean/nme", 0.05 * noise)
    inside = int((head.regions["face"] > 0.5).sum())
    for key, size in (
        ("student/clean", 1),
        ("student/occluded", 2),
        ("teacher/occluded", 4),
        ("mean head/clean", 9),
    ):
        sums = ShapeSums()
        sums.add(torch.rand(2, inside, 3), torch.full((2, head.n_vertices), size / 1000))
        rows.sums[key] = sums
    return rows


@pytest.fixture(scope="module")
def occlusion(open_head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "covered"
    rows = made_up_rows(open_head)
    summary = summarise(rows) | {"reference": "teacher", "models": ["teacher", "student"], "photos": PHOTOS}
    summary |= {"left_out": [], "problems": {}}
    summary["comparisons"] = compare_all(rows, ["student"], ["teacher"], reference="teacher")
    write_results(rows, summary, folder, [f"dev/{i:03d}<b>.jpg" for i in range(PHOTOS)])
    settings = {
        "settings": {"family": "random", "coverage": [0.2, 0.5], "size": 112, "seed": 3},
        "photos": PHOTOS,
    }
    (folder / "settings.json").write_text(
        json.dumps(settings | {"models": {"student": "ab" * 32}, "twins": "x"})
    )
    return folder


def titles(blocks: list) -> list[str]:
    return [block.text for block in blocks if isinstance(block, Heading)]


def test_everything_about_an_occlusion_run(occlusion: Path, open_head) -> None:
    runs = read_runs([occlusion])
    assert runs.occlusion[0].models == ["student", "teacher"]
    labels = [run.label for run in read_runs([occlusion] * 3).occlusion]
    assert labels == ["covered", "covered (2)", "covered (3)"]
    blocks = build(runs, ReportOptions(worst=3, head=open_head))
    for title in ("Cumulative errors", "Error by coverage", "Error by occluder family", "Error by group",
                  "Where on the head", "Worst cases"):  # fmt: skip
        assert title in titles(blocks)
    pictures = {block.name: block.data for block in blocks if isinstance(block, Picture)}
    assert [name.split("_", 1)[1] for name in pictures] == [
        *("cumulative.svg", "coverage.svg", "family.svg", "groups.svg", "heat.png"),
    ]
    assert all(data.startswith((b"<?xml", b"\x89PNG")) for data in pictures.values())
    again = report_figures.error_by_coverage(read_runs([occlusion]).occlusion[0])
    assert again == pictures["covered_coverage.svg"]  # byte for byte


def test_worst_cases_are_the_worst(occlusion: Path) -> None:
    (run,) = read_runs([occlusion]).occlusion
    heading, table = worst_cases(run, 5, None)
    assert heading.text == "student, by NME % on covered photos"
    values = run.values["student/occluded/nme"]
    order = np.argsort(-np.where(np.isfinite(values), values, -1))[:5]
    assert [row[0] for row in table.rows] == [f"dev/{i:03d}<b>.jpg" for i in order]
    column = table.header.index("student: NME %, covered")
    assert float(table.rows[0][column]) == pytest.approx(100 * np.nanmax(values), abs=0.006)


def test_published_figures_are_marked(occlusion: Path) -> None:
    table = published.comparison_table(read_runs([occlusion]))
    status = table.header.index("status")
    figures: dict[str, list[tuple[str, ...]]] = {}
    figure = ""
    for row in table.rows:  # a figure's name stands in its first row
        figure = row[0] or figure
        figures.setdefault(figure, []).append(row)
    now = figures["NoW test, median / mean / std [mm]"]
    assert [row[status] for row in now[:2]] == ["not measured", "quoted"]
    shape = figures["shape error, reduction by distillation [%]"]
    assert shape[0][status] == "measured"
    assert float(shape[0][2]) == pytest.approx(50, abs=0.1)
    assert [row[status] for row in shape[-2:]] == ["quoted", "quoted"]


def test_the_command_writes_html_and_markdown(occlusion: Path, tmp_path: Path) -> None:
    assert (
        main(["benchmark", "report", str(occlusion), "--out", str(tmp_path / "page.html"), "--worst", "2"])
        == 0
    )
    page = (tmp_path / "page.html").read_text()
    assert "dev/0" in page
    assert "&lt;b&gt;.jpg" in page
    assert "data:image/jpeg" not in page  # photos only when they are given for it
    assert page.count("data:image/svg+xml") == 4
    table = tmp_path / "table"
    table.mkdir()
    (table / "landmarks.json").write_text("{}")
    (table / "landmarks.md").write_text("| model | NME % |\n|---|---|\n| mine | 3.21 |\n")
    words = ["benchmark", "report", f"mine={table}", "--out", str(tmp_path / "page.md"), "--title", "Ours"]
    assert main(words) == 0
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("# Ours\n")
    assert "| mine | 3.21 |" in text


def test_runs_without_rows_or_heat_still_give_a_page(occlusion: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "summary.json").write_text((occlusion / "summary.json").read_text())
    blocks = build(read_runs([folder]), ReportOptions())
    assert "Error by coverage" in titles(blocks)
    assert not {"Cumulative errors", "Where on the head", "Worst cases"} & set(titles(blocks))
    text = (occlusion / "rows.csv").read_text().splitlines()
    (folder / "rows.csv").write_text("\n".join(",".join(line.split(",")[:4]) for line in text) + "\n")
    (run,) = read_runs([folder]).occlusion
    assert report_figures.cumulative_errors(run) is None
    assert [block.header[-1] for block in worst_cases(run, 3, None)] == []


def test_now_results_and_tables_of_other_benchmarks(now_folders, tmp_path: Path) -> None:
    report = evaluate(
        NowDataset.open(now_folders.dataset), now_folders.predictions, cache=tmp_path / "cache", workers=1
    )
    folder = tmp_path / "results"
    now_results.write_results(report, folder, "RECON")
    aflw = {"tiny": {"mean": 0.03, "balanced": 0.035}, "tiny/inner": {"balanced": 0.01}}
    (folder / "aflw.json").write_text(json.dumps({"summary": aflw, "yaw_from": "the .mat files"}))
    (folder / "aflw.md").write_text("| model | 0-30 |\n|---|---|\n| tiny | 3.50 |\n")
    runs = read_runs([folder])
    (run,) = runs.now
    assert (run.synthetic, run.metrical) == (False, False)
    assert run.label == tmp_path.name  # the folder `results` lies in
    assert len(run.distances) == sum(len(o.distances) for o in report.outcomes)
    blocks = build(runs, ReportOptions())
    assert {"NoW", "AFLW2000-3D"} <= set(titles(blocks))
    rows = {row[1]: row for row in published.comparison_table(runs).rows if row[3] == "measured"}
    assert rows["tiny"][2] == "3.50"
    assert rows[tmp_path.name][2].startswith("0.00 / 0.00")
    curve = report_figures.now_curves(runs.now)
    assert curve.startswith(b"<?xml")


def test_unusable_folders_are_refused(
    occlusion: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="not a run folder"):
        read_runs([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="holds no benchmark results"):
        read_runs([tmp_path])
    (tmp_path / "summary.json").write_text('{"groups": {"all": {}}}')
    with pytest.raises(DataError, match="lacks models, reference, spread_mm"):
        read_runs([tmp_path])
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(DataError, match="not readable JSON"):
        read_runs([tmp_path])
    (tmp_path / "summary.json").write_text((occlusion / "summary.json").read_text())
    (tmp_path / "rows.csv").write_text("name,coverage\na.jpg,much\n")
    with pytest.raises(DataError, match=r"rows\.csv is damaged"):
        read_runs([tmp_path])
    assert main(["benchmark", "report", str(occlusion), "--out", str(tmp_path / "page.pdf")]) == 2
    assert "must end in .html" in capsys.readouterr().err


def test_pictures_are_the_runs_own_twins(
    photo_folder: Path, occlusion: Path, open_head, tmp_path: Path
) -> None:
    settings = TwinSettings(size=64, family="irrational", seed=5)
    packed = pack(load_photo_set(photo_folder))
    mean = open_head.landmarks(open_head.v_template[None], "468")[0]
    twins = EvaluationTwins(packed, settings, mean_points=mean, batch_size=4)
    run = read_runs([occlusion]).occlusion[0]
    stored = {"settings": {**vars(settings), "coverage": list(settings.coverage)}, "photos": len(packed)}
    run.settings.clear()
    run.settings.update(stored | {"twins": twins.identifier})
    crops = crops_of_run(run, photo_folder, "", tmp_path)
    clean, covered = crops("05.png")
    batch = twins[1]
    np.testing.assert_array_equal(clean, (batch.clean[1] * 255).round().byte().permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(covered, (batch.occluded[1] * 255).round().byte().permute(1, 2, 0).numpy())
    assert crops("dev/000<b>.jpg") is None
    assert "not those of this run" in worst_cases(run, 3, crops)[-1].text
    run.texts["name"][:] = packed.names * 4
    picture = worst_cases(run, 3, crops)[-1]
    assert picture.name.endswith(".jpg")
    assert picture.data.startswith(b"\xff\xd8")
    run.settings["twins"] = "another"
    assert crops_of_run(run, photo_folder, "", tmp_path)("05.png") is None


def test_heat_is_painted_where_the_values_are(open_head) -> None:
    nose = (open_head.regions["nose"] > 0.5).numpy().astype(float)
    picture = draw_values(open_head, nose, 1.0)
    assert picture.shape == (300, 600, 3)
    yellow = (picture[..., 0] > 0.6) & (picture[..., 2] < 0.45)
    rows, columns = np.nonzero(yellow[:, :300])
    assert 100 < len(rows) < 4000
    assert abs(columns.mean() - 150) < 6  # the nose is in the middle of the front view
    assert (picture[0, 0] == 1).all()

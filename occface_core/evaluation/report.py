"""One page out of finished benchmark runs: tables, curves, worst cases, heat maps, published figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from occface_core import __version__
from occface_core.evaluation import report_figures
from occface_core.evaluation.occlusion_tables import markdown
from occface_core.evaluation.published import comparison_table
from occface_core.evaluation.report_heat import heat_maps
from occface_core.evaluation.report_page import Block, Heading, Picture, Table, Text, parse_markdown
from occface_core.evaluation.report_runs import NowRun, OcclusionRun, Runs
from occface_core.evaluation.report_worst import Crops, worst_cases
from occface_core.morphable.head_model import HeadModel

TITLE = "OccFace benchmark report"
_TABLES: Mapping[str, tuple[str, str]] = {
    "landmarks": ("Landmarks", "68 points annotated by people or machines; crops from the annotated box."),
    "aflw": (
        "AFLW2000-3D",
        "68 points, NME over sqrt(box area), by head yaw; published is the mean of the three bins.",
    ),
    "segmentation": ("Visible-face masks", "Inside the rendered face, face = positive (FOCUS)."),
    "regions": (
        "Face regions",
        "mm after a rigid fit of each region and a non-rigid search for correspondences, by REALY's "
        "definitions; ± is the standard deviation over predictions.",
    ),
    "views": ("Several views", "Rendered people with exact truth, each view by itself."),
    "people": (
        "Several photos of one person",
        "Root mean square distances to the person's mean and to everyone's; between: share of the variance "
        "that lies between people; directions: in how many independent ways they differ.",
    ),
    "profiles": (
        "Faces from the side",
        "Photos turned out of their plane to each yaw: shape mm / NME 468 % / mask IoU.",
    ),
    "openings": ("Eyes and mouths", "How far they are open, % of the face's size, by the photo's landmarks."),
    "sigma": ("Uncertainty", "Share of errors below the predicted sigma; 0.68 is right."),
}
_FIGURES: tuple[tuple[str, str, Callable[[OcclusionRun], bytes | None], str], ...] = (
    (
        "Cumulative errors",
        "cumulative",
        report_figures.cumulative_errors,
        "Share of photos whose error is below the value. Shape is measured to the reference's own answer for "
        "the clean photo.",
    ),
    (
        "Error by coverage",
        "coverage",
        report_figures.error_by_coverage,
        "Mean over the photos of each bin (their number below it); bands are 95 % bootstrap intervals.",
    ),
    (
        "Error by occluder family",
        "family",
        lambda run: report_figures.errors_by_group(run, ("family ",), "family "),
        "Covered photos, with 95 % intervals; behind each name its number of photos. (*) few photos.",
    ),
    (
        "Error by group",
        "groups",
        lambda run: report_figures.errors_by_group(run, ("apparent ", "label ")),
        "How people appear in their photos by the set's labels, not who they are. (*) few photos.",
    ),
)
_HEAT = (
    "Mean distance of each vertex of the neutral head to the reference's, over all photos; the scale ends at "
    "the 98th percentile of the models' maps over the face."
)
_SPLIT = ("By coverage and family", "By group")


@dataclass(frozen=True)
class ReportOptions:
    """What goes into the page besides the runs' own figures.

    Attributes:
        worst: how many photos each list of worst cases has; 0 leaves them out.
        crops: makes the photos of a run available for pictures; None shows none.
        head: for heat maps; None leaves them out.
    """

    worst: int = 8
    crops: Mapping[str, Crops] = field(default_factory=dict)
    head: HeadModel | None = None


def build(runs: Runs, options: ReportOptions) -> list[Block]:
    """Everything as blocks of a page, in reading order."""
    blocks: list[Block] = [Text(_contents(runs))]
    for run in runs.occlusion:
        blocks += _occlusion(run, options, several=len(runs.occlusion) > 1)
    if runs.now:
        blocks += _now(runs.now)
    for kind, (title, note) in _TABLES.items():
        tables = runs.of_kind(kind)
        blocks += [Heading(title), Text(note)] if tables else []
        for table in tables:
            blocks += [Heading(table.label, 3)] if len(tables) > 1 else []
            blocks += parse_markdown(table.markdown) or [Text(f"`{kind}.md` is not in this run's folder.")]
    note = (
        "**Measured**: by the runs of this page. **Quoted**: from the papers or their code's pages, not run "
        "here, on other data, head models and covers unless the remark says so. **Not measured**: no run of "
        "it was given."
    )
    return [*blocks, Heading("Published figures beside ours"), Text(note), comparison_table(runs)]


def _contents(runs: Runs) -> str:
    counts = [(len(runs.occlusion), "occlusion"), (len(runs.now), "NoW")]
    counts += [(len(runs.of_kind(kind)), title) for kind, (title, _) in _TABLES.items()]
    found = ", ".join(f"{count} x {name}" for count, name in counts if count)
    return f"Made by OccFace {__version__} from {found}. Definitions: `docs/metrics.md` and `docs/now.md`."


def _occlusion(run: OcclusionRun, options: ReportOptions, *, several: bool) -> list[Block]:
    tables, by_group = _tables(run)
    title = f"Occlusion: {run.label}" if several else "Occlusion robustness"
    blocks: list[Block] = [Heading(title), Text(_how(run)), *tables]
    name = "".join(c if c.isalnum() else "_" for c in run.label)
    for heading, stem, make, caption in _FIGURES:
        data = make(run)
        if data is not None:
            blocks += [Heading(heading, 3), Picture(f"{name}_{stem}.svg", data, caption)]
    blocks += by_group
    heat = heat_maps(run, options.head) if options.head is not None else None
    if heat is not None:
        blocks += [Heading("Where on the head", 3), Picture(f"{name}_heat.png", heat, _HEAT)]
    worst = worst_cases(run, options.worst, options.crops.get(run.label)) if options.worst else []
    return [*blocks, Heading("Worst cases", 3), *worst] if worst else blocks


def _how(run: OcclusionRun) -> str:
    settings = run.settings.get("settings", {})
    if not settings:
        return "How the photos were covered is not in this run's folder."
    low, high = settings.get("coverage", (0, 0))
    digests = run.settings.get("models", {})
    networks = ", ".join(f"{name} `{str(digest)[:12]}`" for name, digest in sorted(digests.items()))
    second, pixels = settings.get("second", 0), settings.get("pixels", 0)
    more = f", a second object on {second:.0%}" if second else ""
    more += f", covered pictures {pixels} pixels across" if pixels else ""
    return (
        f"{run.settings.get('photos')} photos, {settings.get('size')} px; covers: {settings.get('family')}, "
        f"{100 * low:.0f}-{100 * high:.0f} % of the face asked for{more}, seed {settings.get('seed')}; twins "
        f"`{run.settings.get('twins')}`. Models by hash: {networks or 'unknown'}."
    )


def _tables(run: OcclusionRun) -> tuple[list[Block], list[Block]]:
    """The run's own tables, and from the first by group on apart: those come after their figures."""
    blocks = parse_markdown(markdown(run.summary))
    titles = (i for i, b in enumerate(blocks) if isinstance(b, Heading) and b.text in _SPLIT)
    cut = next(titles, len(blocks))
    rest = (Heading(f"{b.text}: table", 3) if isinstance(b, Heading) else b for b in blocks[cut:])
    return blocks[:cut], list(rest)


def _now(runs: tuple[NowRun, ...]) -> list[Block]:
    rows = []
    for run in runs:
        kind = ("synthetic" if run.synthetic else "NoW") + (", metrical" if run.metrical else "")
        for challenge, row in run.summary["errors_mm"].items():
            figures = (f"{row[k]:.3f}" for k in ("median", "mean", "std"))
            rows.append((run.label, kind, challenge, str(row["images"]), str(row["failed"]), *figures))
    header = ("run", "set", "challenge", "images", "failed", "median mm", "mean mm", "std mm")
    note = "Scan-to-mesh distances pooled over all scan points (`docs/now.md`)."
    if any(run.synthetic for run in runs):
        note += (
            " **Synthetic** sets are renders of the head model itself: they show that the path works and "
            "how runs compare with each other, not accuracy on people."
        )
    if any(row[4] != "0" for row in rows):
        note += " **Failed** images are missing in the figures, which flatters them."
    caption = "Share of scan points below a distance, all challenges together."
    picture = Picture("now_cumulative.svg", report_figures.now_curves(runs), caption, width=620)
    return [Heading("NoW"), Text(note), Table(header, tuple(rows)), picture]

"""`python -m occface_core benchmark`: command-line face of the benchmarks."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from occface_core.errors import ConfigError

if TYPE_CHECKING:  # heavy; imported only when a benchmark runs
    from occface_core.evaluation.now_protocol import NowReport
    from occface_core.evaluation.now_results import Summary

OK, WRONG_USAGE, INCOMPLETE = 0, 2, 3
_NAMED = 20  # failures spelled out in the log; the status table has all of them
logger = logging.getLogger(__name__)
# Benchmark -> (module with add_arguments(parser) and run(args) -> exit code, one line of help).
_ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "occlusion": ("occface_core.evaluation.occlusion_cli", "clean and occluded twins by coverage and family"),
    "landmarks": ("occface_core.evaluation.landmarks_cli", "68-point error on annotated photos"),
    "aflw": ("occface_core.evaluation.aflw_cli", "68-point error on AFLW2000-3D by yaw"),
    "sigma": ("occface_core.evaluation.calibration_cli", "how often errors lie within the predicted sigma"),
    "segmentation": ("occface_core.pipeline.segmentation_cli", "visible-face masks against given ones"),
    "views": ("occface_core.evaluation.views_cli", "depth and shape of rendered faces from several sides"),
    "openings": ("occface_core.evaluation.openings_cli", "how far eyes and mouths are open"),
    "profiles": ("occface_core.evaluation.profiles_cli", "photos turned until faces are seen from the side"),
    "people": ("occface_core.evaluation.people_cli", "agreement among several photos of one person"),
    "regions": ("occface_core.evaluation.region_cli", "errors of nose, mouth, forehead, cheek"),
    "report": ("occface_core.evaluation.report_cli", "one page of tables and figures from finished runs"),
    "throughput": ("occface_core.distillation.throughput_cli", "images per second of occluders and training"),
    "now-synthetic": ("occface_core.evaluation.now_synthetic_cli", "make a NoW dataset of rendered heads"),
    "textures": ("occface_core.pipeline.texture_benchmark_cli", "textures of covered faces, completed"),
    "now-predict": ("occface_core.pipeline.now_predict_cli", "reconstruct the photos of a NoW dataset"),
}


class _LateParser(argparse.ArgumentParser):
    """Asks its module for options only when its command is chosen: benchmarks bring heavy libraries."""

    module: str | None = None

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def, override]
        """As in argparse."""
        if self.module is not None:
            import_module(self.module).add_arguments(self)
            self.module = None
        return super().parse_known_args(args, namespace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmarks as sub-commands."""
    commands = parser.add_subparsers(
        dest="benchmark", required=True, metavar="BENCHMARK", parser_class=_LateParser
    )
    _add_now(commands.add_parser("now", help="NoW: scan-to-mesh error of a folder of predictions"))
    for name, (module, text) in _ELSEWHERE.items():
        commands.add_parser(name, help=text).module = module


def run(args: argparse.Namespace) -> int:
    """Run the chosen benchmark; 0 = complete, 3 = some image failed."""
    if args.benchmark == "now":
        return _run_now(args)
    runner: Callable[[argparse.Namespace], int] = import_module(_ELSEWHERE[args.benchmark][0]).run
    return runner(args)


def _add_now(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--predictions", type=Path, required=True, metavar="DIR",
                        help="<subject>/<challenge>/<image>.obj|.ply and .npy|.txt landmarks")
    parser.add_argument("--dataset", type=Path, required=True, metavar="DIR",
                        help="NoW folder with image list, scans and scans_lmks_onlypp")
    parser.add_argument("--set", choices=("val", "test"), default="val", help="image list (default val)")
    parser.add_argument("--image-list", type=Path, metavar="FILE", help="another image list")
    parser.add_argument("--metrical", choices=("m", "cm", "mm"), metavar="UNIT",
                        help="metrical protocol, predictions in m, cm or mm; without it scale is free")
    parser.add_argument("--challenge", action="append", default=[], metavar="NAME",
                        help="only this challenge; may be repeated (default all)")
    parser.add_argument("--allow-missing", action="store_true",
                        help="write results although images are missing; they leave the figures too good")
    parser.add_argument("--allow-mixed-topology", action="store_true",
                        help="accept predictions with different vertex counts")
    parser.add_argument("--out", type=Path, metavar="DIR", help="results (default PREDICTIONS/results)")
    parser.add_argument("--name", default="RECON", help="start of the result files' names (default RECON)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default one per core)")
    parser.add_argument("--compare", action="append", default=[], metavar="NAME=FILE.npz",
                        help="another run's _computed_distances.npz for the cumulative plot; may be repeated")


def _run_now(args: argparse.Namespace) -> int:
    from occface_core.evaluation import now_protocol, now_results
    from occface_core.evaluation.now_files import NowDataset

    out: Path = args.out or args.predictions / "results"
    dataset = NowDataset.open(args.dataset, image_set=args.set, image_list=args.image_list)
    others = {label: now_results.read_distances(Path(file))
              for label, file in (_labelled(text) for text in args.compare)}
    kind = args.metrical or "free_scale"
    report = now_protocol.evaluate(
        dataset, args.predictions, cache=out / "cache" / kind, unit=args.metrical, challenges=args.challenge,
        mixed_topology=args.allow_mixed_topology, workers=args.workers, progress=_bar)
    base = args.name + ("_metrical" if args.metrical else "")
    status = out / f"{base}_status.csv"
    now_results.write_status(report, status)
    _tell_failures(report, status)
    if report.failed and not args.allow_missing:
        logger.error("%d of %d images gave no result, so no figures were written: missing predictions "
                     "flatter a method. Add them, or say --allow-missing.", len(report.failed),
                     len(report.outcomes))
        return INCOMPLETE
    summaries = now_results.write_results(report, out, args.name)
    if others:
        curves = {args.name: now_results.pooled(report.measured()), **others}
        now_results.plot_cumulative(curves, out / f"{base}_comparison.png")
    sys.stdout.write(_table(summaries) + f"\nresults in {out}\n")
    spoiled = any(outcome.status != "missing" for outcome in report.failed)
    return INCOMPLETE if spoiled else OK


def _labelled(text: str) -> tuple[str, str]:
    label, separator, file = text.partition("=")
    if not separator or not label or not file:
        raise ConfigError(f"--compare needs NAME=FILE.npz, got {text!r}")
    return label, file


def _bar(stream: Iterable, total: int) -> Iterable:
    from tqdm import tqdm

    return tqdm(stream, total=total, unit="image", desc="NoW")


def _tell_failures(report: "NowReport", status: Path) -> None:
    for outcome in report.failed[:_NAMED]:
        logger.warning("%s: %s (%s)", outcome.status, outcome.image.line, outcome.message)
    for name in report.unexpected[:_NAMED]:
        logger.warning("unexpected: %s belongs to no image of the list", name)
    hidden = max(0, len(report.failed) - _NAMED) + max(0, len(report.unexpected) - _NAMED)
    counts = ", ".join(f"{number} {name}" for name, number in report.counts.items() if number)
    more = f" ({hidden} more not shown)" if hidden else ""
    unexpected = f"{len(report.unexpected)} unexpected files{more}"
    sys.stdout.write(f"{counts}, {unexpected}; every image is in {status}\n")


def _table(summaries: "Mapping[str, Summary]") -> str:
    rows = [f"{'challenge':<24}{'images':>8}{'failed':>8}{'median':>9}{'mean':>9}{'std':>9}  [mm]"]
    rows += [f"{name:<24}{s.images:>8}{s.failed:>8}{s.median:>9.3f}{s.mean:>9.3f}{s.std:>9.3f}"
             for name, s in summaries.items()]
    return "\n".join(rows)

"""`benchmark occlusion`: clean photos against their covered twins. The run folder: docs/metrics.md."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from occface_core.errors import ConfigError
from occface_core.evaluation.cover_options import add_coverage, add_mirrored

if TYPE_CHECKING:  # heavy; imported only when the benchmark runs
    from occface_core.evaluation.occlusion_participants import Participants
    from occface_core.evaluation.twins import EvaluationTwins
    from occface_core.morphable.head_model import HeadModel
    from occface_core.networks.mirrored import AnyEncoder

OK, INCOMPLETE = 0, 3
_NAMED = 20  # problems spelled out in the log; summary.json has all of them
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark occlusion`."""
    add = parser.add_argument
    add("--images", type=Path, required=True, help="photos with 468 landmarks (docs/data.md)")
    add(
        "--hidden",
        type=Path,
        metavar="DIR",
        help="folder of SPLIT-hidden.npz: masks then leave out hair and glasses of the photos themselves",
    )
    add("--split", default="dev", help="shard prefix or sub-folder (default dev)")
    add(
        "--model",
        action="append",
        metavar="NAME[=FILE]",
        help="shipped name, .safetensors network, or .npz of predictions; repeatable (default student)",
    )
    add(
        "--against",
        action="append",
        metavar="NAME[=FILE]",
        help="whom every --model is compared with, as above; repeatable (default: the reference)",
    )
    add(
        "--reference",
        default="teacher",
        metavar="NAME[=FILE]",
        help="network whose prediction on the clean photo is the reference of distances (default teacher)",
    )
    add_mirrored(parser)
    _add_covers(parser)
    _add_running(parser)


def _add_covers(parser: argparse.ArgumentParser) -> None:
    """How photos are covered and shown."""
    add = parser.add_argument
    add("--family", default="random", help="occluder family or group (default random)")
    add_coverage(parser)
    add("--second", type=float, default=0.0, metavar="SHARE", help="part of the covers under a second object")
    add(
        "--pixels",
        type=int,
        default=0,
        metavar="N",
        help="leave covered pictures N pixels across, as of faces far away (default: all)",
    )
    add("--stretch", type=float, default=1.0, metavar="F", help="photos F times as wide for their height")
    add("--harsh", action="store_true", help="covered pictures with hard shadows, blown out or retouched")
    add("--cut", action="store_true", help="covered pictures as of photos that end close to the face")
    add(
        "--duplicates",
        type=int,
        default=1,
        metavar="N",
        help="different covers of each photo, for identity consistency (default 1: not measured)",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--size", type=int, metavar="PX", help="side of the crops (default: the reference's input)")
    add("--limit", type=int, metavar="N", help="first N photos only")
    add("--seed", type=int, default=0)
    add("--batch-size", type=int, default=32)
    add("--workers", type=int, metavar="N", help="processes that make the covers (default: by the cores)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")
    add(
        "--export-twins",
        type=Path,
        metavar="DIR",
        help="write the pictures for models that run elsewhere (docs/external_models.md), measure nothing",
    )
    add(
        "--allow-missing",
        action="store_true",
        help="give figures although predictions are missing; they leave the figures too good",
    )
    add("--restart", action="store_true", help="throw away what an unfinished run left in OUT")
    add("--cache", type=Path, default=Path("runs/cache"))
    add("--out", type=Path, default=Path("runs/benchmark/occlusion"))


def run(args: argparse.Namespace) -> int:
    """Measure and write the run folder, or export; 3 when something is wrong with a file of predictions."""
    from occface_core.evaluation.parallel import single_thread

    # From the first file on: a killed run must end the same to the last bit, also with other threads.
    with single_thread() as threads:
        return _run(args, threads)


def _run(args: argparse.Namespace, threads: int) -> int:
    from tqdm import tqdm

    from occface_core.evaluation.occlusion_participants import gather, load_networks
    from occface_core.evaluation.twins_export import export_twins
    from occface_core.morphable.head_model import HeadModel

    reference = next(iter(gather([args.reference])))
    sources = gather([args.reference, *(args.against or []), *(args.model or ["student"])])
    if args.export_twins:
        sources = {reference: sources[reference]}
    head = HeadModel.load()
    networks = load_networks(sources, _device(args.device), mirrored=args.mirrored)
    if reference not in networks:
        raise ConfigError(f"--reference {args.reference} must be a network: it predicts the project's head")
    twins, left_out = _twins(args, head, args.size or networks[reference].config.input_size)
    if args.export_twins:
        export_twins(twins, args.export_twins, progress=tqdm)
        sys.stdout.write(f"{len(twins.packed)} photos, twins {twins.identifier}, in {args.export_twins}\n")
        return OK
    return _measure(args, threads, twins, head, sources, networks, left_out)


def _measure(
    args: argparse.Namespace,
    threads: int,
    twins: "EvaluationTwins",
    head: "HeadModel",
    sources: dict[str, str],
    networks: "dict[str, AnyEncoder]",
    left_out: list[tuple[str, str]],
) -> int:
    from occface_core.evaluation.occlusion_participants import Participants, gather
    from occface_core.evaluation.occlusion_run import run_occlusion
    from occface_core.evaluation.occlusion_tables import markdown
    from occface_core.evaluation.robustness import RobustnessBenchmark
    from occface_core.morphable.albedo import AlbedoModel

    device = _device(args.device)
    at_a_time = threads if device == "cpu" else 1
    head, albedo = head.to(device), AlbedoModel.load().to(device)
    participants = Participants.of(sources, networks, twins, head, albedo)
    _tell_problems(participants)
    if any(participants.unusable.values()) and not args.allow_missing:
        logger.error("no figures: photos without a usable prediction flatter a model (--allow-missing)")
        return INCOMPLETE
    reference = next(iter(gather([args.reference])))
    benchmark = RobustnessBenchmark(
        head, albedo, participants.models, reference=reference, device=device, threads=at_a_time
    )
    summary = run_occlusion(
        benchmark,
        twins,
        participants,
        args.out,
        models=list(gather(args.model or ["student"])),
        against=list(gather(args.against or [args.reference])),
        left_out=left_out,
        restart=args.restart,
        workers=_workers(args.workers, device),
        progress=_bar(len(twins)),
    )
    sys.stdout.write(markdown(summary) + f"\nresults in {args.out}\n")
    return INCOMPLETE if any(participants.problems.values()) else OK


def _twins(
    args: argparse.Namespace, head: "HeadModel", size: int
) -> "tuple[EvaluationTwins, list[tuple[str, str]]]":
    """The twins, and (photo, reason) of photos that are none."""
    from tqdm import tqdm

    from occface_core.data.hidden import with_hidden_of
    from occface_core.data.packed import cached_pack
    from occface_core.data.photos import load_photo_set
    from occface_core.evaluation.twins import EvaluationTwins, TwinSettings

    photos = load_photo_set(args.images, split=args.split)
    packed = cached_pack(photos, args.cache, limit=args.limit, progress=tqdm)
    packed = with_hidden_of(packed, args.hidden, args.split)
    settings = TwinSettings(
        size,
        args.family,
        tuple(args.coverage),
        covers=max(1, args.duplicates),
        seed=args.seed,
        second=args.second,
        pixels=args.pixels,
        harsh=args.harsh,
        stretch=args.stretch,
        cut=args.cut,
    )
    mean_points = head.landmarks(head.v_template[None], "468")[0]
    left_out = [*packed.skipped, *((name, "no landmarks") for name in photos.missing)]
    for name, reason in left_out[:_NAMED]:
        logger.warning("left out %s: %s", name, reason)
    return EvaluationTwins(packed, settings, mean_points=mean_points, batch_size=args.batch_size), left_out


def _tell_problems(participants: "Participants") -> None:
    """Name what is wrong with files of predictions."""
    for name, problems in participants.problems.items():
        for photo, what in problems[:_NAMED]:
            logger.warning("%s: %s: %s", name, photo, what)
        if problems:
            lost = participants.unusable[name]
            logger.warning("%s: %d problems; %d photos cannot be measured", name, len(problems), lost)


def _bar(total: int) -> Callable[[Iterable], Iterable]:
    """A progress bar over all batches, of which the iterable holds the last."""
    from tqdm import tqdm

    def wrap(steps: Iterable) -> Iterable:
        left = list(steps)
        return tqdm(left, total=total, initial=total - len(left), unit="batch", desc="occlusion")

    return wrap


def _workers(wanted: int | None, device: str) -> int:
    """Processes for the covers, which cost a tenth of two networks on a CPU and most of the time on a GPU."""
    if wanted is not None:
        return max(0, wanted)
    cores = os.cpu_count() or 1
    return min(8, cores - 1) if device == "cuda" else min(4, cores // 4)


def _device(name: str) -> str:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no GPU that PyTorch can use; say --device cpu")
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"

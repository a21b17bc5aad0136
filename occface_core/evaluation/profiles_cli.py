"""`benchmark profiles`: photos turned out of their plane, for faces seen from the side."""

import argparse
from pathlib import Path

from occface_core.evaluation.cover_options import add_annotated_covers
from occface_core.evaluation.landmarks_cli import add_model_arguments, entry, load_models, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark profiles`."""
    add = parser.add_argument
    add("--images", type=Path, required=True, help="photos with 468 landmarks (docs/data.md)")
    add("--split", default="dev", help="shard prefix or sub-folder (default dev)")
    add(
        "--yaw",
        type=float,
        nargs="+",
        default=(0.0, 30.0, 45.0, 60.0, 75.0),
        metavar="DEG",
        help="degrees to which faces are turned, each a column (default 0 30 45 60 75)",
    )
    add("--hidden", type=Path, metavar="DIR", help="folder of SPLIT-hidden.npz, as of `train`")
    add_annotated_covers(parser, "network whose shapes of the photos as they are stand for the truth")
    add("--cache", type=Path, default=Path("runs/cache"))
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, write OUT/profiles.json and OUT/profiles.md."""
    from tqdm import tqdm

    from occface_core.data.batches import BatchConfig, TwinSampler
    from occface_core.data.hidden import with_hidden_of
    from occface_core.data.landmarks import mirror_pairs
    from occface_core.data.packed import cached_pack
    from occface_core.data.photos import load_photo_set
    from occface_core.evaluation.profiles import ProfileSettings, measure_profiles, profile_rows
    from occface_core.morphable.head_model import HeadModel
    from occface_core.networks.checkpoints import load_encoder

    settings = ProfileSettings(tuple(args.yaw), args.occlude or "", tuple(args.coverage), args.seed)
    packed = cached_pack(load_photo_set(args.images, split=args.split), args.cache, limit=args.limit)
    packed = with_hidden_of(packed, args.hidden, args.split)
    models, head = load_models(args.model, args.mirrored), HeadModel.load()
    reference = models.get(args.reference) or load_encoder(args.reference, head="open")
    mean_points = head.landmarks(head.v_template[None], "468")[0]
    photos = TwinSampler(
        packed,
        BatchConfig(batch_size=args.batch_size, size=reference.config.input_size),
        seed=args.seed,
        mirror=mirror_pairs(mean_points.numpy()),
        mean_points=mean_points,
        augment=False,
    )
    columns = measure_profiles(
        models, reference, photos, head, settings, progress=lambda steps: tqdm(steps, unit="batch")
    )
    summary: dict[str, dict[str, dict]] = {}
    for (name, yaw), row in columns.items():
        summary.setdefault(name, {})[f"{yaw:g}"] = {key: entry(values) for key, values in row.items()}
    lines = [
        *profile_rows(columns, settings.yaws),
        "",
        f"{len(packed)} photos; shape mm / NME 468 % / mask IoU. Shape against {args.reference} on the photo "
        "as it is.",
    ]
    how = {"photos": len(packed), "reference": args.reference, "mirrored": args.mirrored}
    write(args.out, "profiles", how | {"summary": summary}, lines)
    tqdm.write("\n".join(lines))
    return 0

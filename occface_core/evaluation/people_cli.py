"""`benchmark people`: how much shape and albedo differ between photos of one person, and between people."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from occface_core.evaluation.cover_options import add_twins, make_twins
from occface_core.evaluation.landmarks_cli import add_model_arguments, entry, load_models, write

if TYPE_CHECKING:
    from occface_core.evaluation.people import PersonSpread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark people`."""
    add_twins(parser, "468 landmarks and identities")
    parser.add_argument(
        "--reference", default="teacher", help="network that sees the person's other photos, clean"
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, write OUT/people.json and OUT/people.md."""
    from tqdm import tqdm

    from occface_core.data.draws import number_people
    from occface_core.data.packed import cached_pack
    from occface_core.data.photos import load_photo_set
    from occface_core.evaluation.people import (
        MOST,
        describe,
        distance_to_person,
        person_spread,
        with_several_photos,
    )
    from occface_core.morphable.albedo import AlbedoModel
    from occface_core.morphable.head_model import HeadModel
    from occface_core.networks.checkpoints import load_encoder

    packed = cached_pack(load_photo_set(args.images, split=args.split), args.cache, limit=args.limit)
    packed = packed.rows(with_several_photos(packed))
    person, albums = number_people(packed.identities)
    models, head = load_models(args.model, args.mirrored), HeadModel.load()
    reference = models.get(args.reference) or load_encoder(args.reference, head="open")
    size = max(model.config.input_size for model in models.values())
    answers = describe(
        {args.reference: reference} | models,
        make_twins(args, packed, head, size),
        head,
        AlbedoModel.load(),
        progress=lambda steps: tqdm(steps, unit="batch"),
    )
    first = answers[f"{args.reference}, clean"]["shape_mm"]
    spread, distance = {}, {}
    for name, row in answers.items():
        if name.rpartition(", ")[0] in models:
            spread[name] = {key: person_spread(values, person) for key, values in row.items()}
        if name == "mean head" or name in spread:
            distance[name] = [
                entry(distance_to_person(row["shape_mm"], first, person, count))
                for count in range(1, MOST + 1)
            ]
    summary = {name: {key: asdict(value) for key, value in row.items()} for name, row in spread.items()}
    lines = [*table(spread), "", f"{len(packed)} photos of {len(albums)} people.", ""]
    lines += distance_table(distance, args.reference)
    report = {"photos": len(packed), "people": len(albums), "mirrored": args.mirrored}
    report |= {"summary": summary, "distance_mm": distance}
    write(args.out, "people", report, lines)
    tqdm.write("\n".join(lines))
    return 0


def table(result: "dict[str, dict[str, PersonSpread]]") -> list[str]:
    """Markdown lines, one row per network and view."""
    lines = [
        "| network, input | shape mm: one person | all | between people % | directions "
        "| albedo: one person | all | between people % | directions |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result.items():
        shape, albedo = row["shape_mm"], row["albedo"]
        cells = [f"{shape.within:.2f}", f"{shape.total:.2f}", _percent(shape), f"{shape.directions:.1f}"]
        cells += [f"{albedo.within:.4f}", f"{albedo.total:.4f}", _percent(albedo), f"{albedo.directions:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def distance_table(distance: dict[str, list[dict[str, Any]]], reference: str) -> list[str]:
    """Markdown lines: from one photo, and from several taken together, to the person in other photos."""
    most = len(next(iter(distance.values())))
    count = next(iter(distance.values()))[0]["count"]
    if not count:
        return [f"Nobody has {2 * most} photos: how much several together gain was not measured."]
    head = " | ".join(f"{n} photo{'s' * (n > 1)}" for n in range(1, most + 1))
    lines = [f"| network, input | {head} |", "|---" * (most + 1) + "|"]
    for name, entries in distance.items():
        cells = [f"{e['mean']:.2f} [{e['ci95'][0]:.2f}, {e['ci95'][1]:.2f}]" for e in entries]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        f"Shape mm, root mean square, of the photos' mean to {reference}'s clean mean over the person's "
        f"other photos; {count} people with {2 * most} photos or more.",
    ]


def _percent(spread: "PersonSpread") -> str:
    low, high = spread.share_ci95
    return f"{100 * spread.share:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

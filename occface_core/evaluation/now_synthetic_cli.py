"""`benchmark now-synthetic`: make a NoW dataset of rendered open heads."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark now-synthetic`."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the dataset")
    parser.add_argument("--subjects", type=int, default=20, help="people (default 20)")
    parser.add_argument("--photos", type=int, default=3, help="photos per person and challenge (default 3)")
    parser.add_argument("--size", type=int, default=448, help="side of the photos in pixels (default 448)")
    parser.add_argument("--seed", type=int, default=770_001, help="identities follow from it")


def run(args: argparse.Namespace) -> int:
    """Write the dataset; exit code 0."""
    import torch
    from tqdm import tqdm

    from occface_core.data.synthetic import SyntheticFaces
    from occface_core.evaluation.now_synthetic import SyntheticNowConfig, write_synthetic_now
    from occface_core.morphable.albedo import AlbedoModel
    from occface_core.morphable.head_model import HeadModel

    config = SyntheticNowConfig(subjects=args.subjects, photos=args.photos, seed=args.seed)
    faces = SyntheticFaces(HeadModel.load(), AlbedoModel.load(), args.size)
    with torch.no_grad():
        for _ in tqdm(write_synthetic_now(faces, args.out, config), total=args.subjects, unit="subject"):
            pass
    sys.stdout.write(f"{args.subjects} subjects in {args.out}\n")
    return 0

"""How deep the face of the open head is, measured on photos.

``python -m occface_core.evaluation.landmark_depth --images FACES --out weights/open_head_depth.json``

In photos from the front a face too flat looks like any other. In photos from the side its points miss
MediaPipe's by depth times turn, and that is what is solved for: one depth for each of the 468 points, the
same in all photos, beside a better pose and size for every photo, so that a turn which a network
underestimates is not taken for depth (bundle adjustment of the mean face along one axis).
`morphable.open_head_depth` moves the mean head accordingly.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from occface_core.data.landmarks import mirror_pairs
from occface_core.evaluation.landmark_places import SOFT, Misses, add_photo_options, drawn_photos, measure
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head_depth import read_depth_file, write_depth_file

log = logging.getLogger(__name__)

SEEN = 0.2  # cosine between a point's normal and the view from which on MediaPipe's answer counts
ROUNDS = 4  # of the reweighting
RIDGE = 1e-2  # metres are small numbers: this holds back only what no photo shows


def pose_motions(turn: Float[Tensor, "N 2 3"], points: Float[Tensor, "K 3"]) -> Float[Tensor, "N K 2 6"]:
    """What small changes of rotation, size and place do to each point in the photo."""
    x, y, z = (points - points.mean(0)).unbind(-1)
    none = torch.zeros_like(x)
    # (K, axis, xyz)
    turns = torch.stack([none, -z, y, z, none, -x, -y, x, none], dim=-1).unflatten(-1, (3, 3))
    moved = torch.einsum("nij,kaj->nkia", turn, turns)
    size = torch.einsum("nij,kj->nki", turn, points - points.mean(0))[..., None]
    places = torch.eye(2).to(turn).expand(*moved.shape[:2], 2, 2)
    return torch.cat([moved, size, places], dim=-1)


def _free_of(motions: Float[Tensor, "N M D"], values: Float[Tensor, "N M C"]) -> Float[Tensor, "N M C"]:
    """What of `values` no combination of `motions` explains."""
    basis, _ = torch.linalg.qr(motions)
    return values - basis @ (basis.transpose(1, 2) @ values)


def depths(misses: Misses, points: Float[Tensor, "K 3"], pairs: Int[Tensor, "K"]) -> Float[Tensor, "K"]:
    """How much farther forward each point lies than the head has it, metres, left and right alike.

    Iteratively reweighted least squares over the photos that see the point. What the photos leave open, a
    common depth, is chosen so that the points stay on average: cameras of networks then go on to fit.

    Args:
        misses: of one network's heads. points: on the mean head. pairs: index of the mirror image.
    """
    lower, unknown = torch.unique(
        torch.minimum(torch.arange(len(pairs), device=pairs.device), pairs), return_inverse=True
    )
    turn, miss = misses.turn.double(), misses.miss.double()
    effect = torch.zeros(len(pairs), len(lower)).double()
    effect[torch.arange(len(pairs)), unknown] = 1.0
    found = torch.zeros(len(pairs)).double()
    motions = pose_motions(turn, points.double())
    for _ in range(ROUNDS):
        left = miss - turn[:, None, :, 2] * found[None, :, None]
        weight = (misses.facing > SEEN) / (left.norm(dim=-1) + SOFT)
        system, goal = torch.zeros(len(lower), len(lower)).double(), torch.zeros(len(lower)).double()
        for part in torch.arange(len(miss)).split(64):
            root = weight[part].sqrt()[..., None]
            rows = (root[..., None] * turn[part][:, None, :, 2, None] * effect[:, None]).flatten(1, 2)
            seen = (root * miss[part]).flatten(1)[..., None]
            both = _free_of((root[..., None] * motions[part]).flatten(1, 2), torch.cat([rows, seen], dim=-1))
            flat = both.flatten(0, 1)
            system += flat[:, :-1].T @ flat[:, :-1] / len(miss)
            goal += flat[:, :-1].T @ flat[:, -1] / len(miss)
        system += RIDGE * torch.eye(len(lower)).double()
        found = torch.linalg.solve(system, goal)[unknown]
    return (found - found.mean()).to(misses.miss.dtype)


def left_over(misses: Misses, points: Float[Tensor, "K 3"], deeper: Float[Tensor, "K"]) -> float:
    """Mean miss in per cent of the face, each photo at its best pose, with points `deeper` metres forward."""
    left = misses.miss - misses.turn[:, None, :, 2] * deeper[None, :, None]
    rest = _free_of(pose_motions(misses.turn, points).flatten(1, 2), left.flatten(1)[..., None])
    return float(rest.unflatten(1, left.shape[1:])[..., 0].norm(dim=-1).mean()) * 100


def main(arguments: list[str] | None = None) -> None:
    """Command line: measure depths, and write them (added to those of the head they were measured on)."""
    from occface_core.networks.checkpoints import load_encoder
    from occface_core.networks.mirrored import look_twice

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_photo_options(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON file to write; if it is there, found depths are added"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    packed, rows = drawn_photos(options)
    count = len(rows)
    before = read_depth_file(options.out) if options.out.exists() else np.zeros(468)
    head, network = HeadModel.load(), load_encoder(options.model, head="open").eval()
    misses = measure(look_twice({options.model: network})[options.model], head, packed, rows)
    points = head.landmarks(head.v_template[None], "468")[0]
    known = count * 3 // 4
    found = depths(misses[:known], points, torch.as_tensor(mirror_pairs(points.numpy())))
    rest = misses[known:]
    log.info(
        "%d other photos, each at its best pose: %.3f %% before, %.3f %% now",
        count - known,
        left_over(rest, points, 0 * found),
        left_over(rest, points, found),
    )
    write_depth_file(options.out, before + found.double().numpy(), f"{known} photos, {options.model}")


if __name__ == "__main__":
    main()

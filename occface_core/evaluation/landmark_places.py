"""Where MediaPipe's 468 points lie on the open head, measured on photos.

``python -m occface_core.evaluation.landmark_places --images FACES --out weights/open_head_landmarks.json``

`occface_core.morphable.open_head_landmarks` asks MediaPipe about pictures of the mean head, which is bald:
the forehead's points came out 4 mm low. Here a network places the head in many photos, and every point moves
along the surface to where MediaPipe's answers are on average. What no place on the surface explains (a head
too flat, a turn underestimated) is told apart by photos from several sides, and left alone.
"""

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from occface_core.data.batches import still_matrix, warp
from occface_core.data.landmarks import mirror_pairs
from occface_core.data.packed import PackedPhotos
from occface_core.errors import ConfigError
from occface_core.geometry.mesh import vertex_normals
from occface_core.geometry.transforms import axis_angle_to_matrix
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.mirrored import AnyEncoder
from occface_core.rendering.cameras import weak_perspective

log = logging.getLogger(__name__)

SEEN = 0.3  # cosine between a point's normal and the view from which on MediaPipe's answer counts
SOFT = 0.004  # of the face: errors beyond it count linearly, so that single bad photos move nothing
ROUNDS = 6  # of the reweighting
STIFF = 10.0  # how much dearer a move off the surface is than one along it


@dataclass(frozen=True)
class Misses:
    """How far MediaPipe's points lie from the head's, N photos.

    Attributes:
        miss: (N,K,2) from the head's point to MediaPipe's, in shares of the face's size.
        turn: (N,2,3) how a metre on the unturned head moves a point in the photo, in the same unit.
        facing: (N,K) cosine between the surface there and the view.
    """

    miss: Float[Tensor, "N K 2"]
    turn: Float[Tensor, "N 2 3"]
    facing: Float[Tensor, "N K"]

    def __getitem__(self, part: slice) -> "Misses":
        return Misses(self.miss[part], self.turn[part], self.facing[part])

    def nme(self, moves: Float[Tensor, "K 3"]) -> float:
        """Mean miss, in per cent of the face, once the points have moved by so much (metres)."""
        left = self.miss - torch.einsum("nij,kj->nki", self.turn, moves)
        return float(left.norm(dim=-1).mean()) * 100


def misses_of(params: FaceParameters, head: HeadModel, points: Float[Tensor, "N 468 2"]) -> Misses:
    """Compare heads with MediaPipe's points of the same crops, [-1,1]."""
    verts = head(params.betas, params.expression, params.pose).verts
    own = head.landmarks(weak_perspective(verts, params.camera), "468")[..., :2]
    facing = head.landmarks(vertex_normals(verts, head.faces), "468")[..., 2]
    size = (points.amax(1) - points.amin(1)).prod(-1).sqrt()[:, None, None]
    steps = torch.cat([verts.new_zeros(1, 3), torch.eye(3).to(verts)])
    turned = torch.einsum("nij,kj->nki", axis_angle_to_matrix(params.pose[:, :3]), steps)
    moved = weak_perspective(turned, params.camera)[..., :2]
    return Misses((points - own) / size, (moved[:, 1:] - moved[:, :1]).transpose(1, 2) / size, facing)


def surface_moves(
    misses: Misses, normals: Float[Tensor, "K 3"], pairs: Int[Tensor, "K"]
) -> Float[Tensor, "K 3"]:
    """How far each point must move along the surface of the unturned head, metres.

    Iteratively reweighted least squares over the photos that see the point, left and right averaged.

    Args:
        misses: what to explain. normals: of the surface at the points. pairs: index of the mirror image.
    """
    turn, miss = misses.turn.double(), misses.miss.double()
    seen = (misses.facing > SEEN).double()
    square = torch.einsum("nij,nik->njk", turn, turn)
    moves = normals.new_zeros(normals.shape).double()
    across = normals.double()[:, :, None] * normals.double()[:, None, :]
    for _ in range(ROUNDS):
        left = miss - torch.einsum("nij,kj->nki", turn, moves)
        weight = seen / (left.norm(dim=-1) + SOFT)
        system = torch.einsum("nk,nij->kij", weight, square)
        size = system.diagonal(dim1=1, dim2=2).sum(1)[:, None, None].clamp(min=1e-12)
        system = system + size * (1e-3 * torch.eye(3).double() + STIFF * across)
        goal = torch.einsum("nk,nij,nki->kj", weight, turn, miss)
        moves = torch.linalg.solve(system, goal)
    moves = moves.float()
    return (moves + moves[pairs] * moves.new_tensor([-1.0, 1.0, 1.0])) / 2


@torch.inference_mode()
def measure(network: AnyEncoder, head: HeadModel, packed: PackedPhotos, rows: np.ndarray) -> Misses:
    """Misses of a network's heads on clean photos.

    Args:
        network: places the head. head: the one it predicts.
        packed: photos with MediaPipe's points. rows: which of them.
    """
    size = network.config.input_size
    matrix = still_matrix(size, packed.size)
    parts = []
    for start in range(0, len(rows), 64):
        some = rows[start : start + 64]
        crops = np.stack([warp(packed.images[row], matrix, size) for row in some])
        image = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        points = packed.points[some][:, :468] @ matrix[:, :2].T + matrix[:, 2]
        target = torch.from_numpy(points.astype(np.float32)) * (2 / size) - 1
        parts.append(misses_of(network(image).params, head, target))
    return Misses(*(torch.cat([getattr(p, k) for p in parts]) for k in ("miss", "turn", "facing")))


def moved_places(
    misses: Misses, places: Path, head: HeadModel
) -> tuple[Int[np.ndarray, "468"], Float[np.ndarray, "468 3"], Float[Tensor, "468 3"]]:
    """New triangles (468,) and weights of the points, and how far each has moved, metres.

    Args:
        misses: what to explain. places: file with where the points were when they were measured.
        head: the head of the misses.
    """
    # They need the `anny` package, which only builders of the head have.
    from occface_core.morphable.open_head import DEPTH_FILE, deep_geometry
    from occface_core.morphable.open_head_embedding import read_landmark_file
    from occface_core.morphable.open_head_geometry import build_geometry
    from occface_core.morphable.open_head_landmarks import allowed_faces
    from occface_core.morphable.open_head_surface import embed, locate

    geometry = deep_geometry(build_geometry(), places, DEPTH_FILE)
    ids, weights = read_landmark_file(places, len(geometry.faces))
    faces = torch.from_numpy(geometry.faces)  # not the head's: the builder's geometry has no teeth
    normals = vertex_normals(torch.from_numpy(geometry.mean).float()[None], faces)[0]
    normals = (normals[geometry.faces[ids]] * torch.from_numpy(weights).float()[..., None]).sum(1)
    pairs = mirror_pairs(head.landmarks(head.v_template[None], "468")[0].numpy())
    moves = surface_moves(misses, normals / normals.norm(dim=-1, keepdim=True), torch.as_tensor(pairs))
    before = locate(geometry.mean, geometry.faces, ids, weights)
    ids, weights = embed(before + moves.numpy(), geometry.mean, geometry.faces, allowed_faces(geometry))
    after = locate(geometry.mean, geometry.faces, ids, weights)
    return ids, weights, torch.from_numpy(after - before).float()


def add_photo_options(parser: argparse.ArgumentParser) -> None:
    """Which photos, and the network that places heads in them."""
    add = parser.add_argument
    add("--images", type=Path, required=True, help="photos with MediaPipe's points (docs/data.md)")
    add("--split", default="train", help="shard prefix or sub-folder (default train)")
    add("--photos", type=int, default=4096, help="how many, drawn at random (default 4096)")
    add("--model", default="student", help="network that places the heads (default student)")
    add("--cache", type=Path, default=Path("runs/cache"))


def drawn_photos(options: argparse.Namespace) -> tuple[PackedPhotos, np.ndarray]:
    """The photos that `add_photo_options` names, and the rows that were drawn.

    Raises:
        ConfigError: too few of them.
    """
    from occface_core.data.packed import cached_pack
    from occface_core.data.photos import load_photo_set

    packed = cached_pack(load_photo_set(options.images, split=options.split), options.cache)
    count = min(options.photos, len(packed))
    if count < 8:
        raise ConfigError(f"--photos {options.photos}: {count} photos say too little; give at least 8")
    return packed, np.random.default_rng(0).choice(len(packed), count, replace=False)


def main(arguments: list[str] | None = None) -> None:
    """Command line: move the points of a landmark file, and write it anew."""
    from occface_core.networks.checkpoints import load_encoder

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_photo_options(parser)
    add = parser.add_argument
    add("--places", type=Path, help="landmark file of the shipped head (default: OUT)")
    add("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    packed, rows = drawn_photos(options)
    count = len(rows)
    head, network = HeadModel.load(), load_encoder(options.model, head="open").eval()
    misses, known = measure(network, head, packed, rows), count * 3 // 4
    places = options.places or options.out
    ids, weights, moves = moved_places(misses[:known], places, head)
    rest = misses[known:]
    log.info("moved by %.1f mm, at most %.1f", 1e3 * moves.norm(dim=1).mean(), 1e3 * moves.norm(dim=1).max())
    log.info(
        "%d other photos: %.3f %% before, %.3f %% now", count - known, rest.nme(0 * moves), rest.nme(moves)
    )
    record = json.loads(places.read_text(encoding="utf-8"))
    made = f"{record['made_by']}; moved by occface_core.evaluation.landmark_places, {known} photos"
    record |= {"made_by": made, "triangles": ids.tolist(), "weights": np.round(weights, 5).tolist()}
    options.out.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Finer triangles where they are wanted, without cracks: values per vertex then show finer detail."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Subdivision:
    """A mesh with vertices added in the middle of edges. The shape stays what it was.

    Letters: V vertices before, N added, F triangles before, G after.

    Attributes:
        count: V.
        faces: the triangles.
        parents: the two ends of each added vertex's edge; both come before it.
        source: the triangle each new one is a part of.
        corners: barycentric coordinates, in that triangle, of the corners of each new one.
    """

    count: int
    faces: Int[Tensor, "G 3"]
    parents: Int[Tensor, "N 2"]
    source: Int[Tensor, "G"]
    corners: Float[Tensor, "G 3 3"]

    def extend(self, values: Shaped[Tensor, "V *C"]) -> Shaped[Tensor, "W *C"]:
        """Values of the vertices before, and of the added ones the mean of their parents'."""
        done = values
        while len(done) < self.count + len(self.parents):
            rest = self.parents[len(done) - self.count :]
            # Parents of one round of cuts are all there; later rounds have parents among the added.
            ready = int((rest < len(done)).all(1).long().cumprod(0).sum())
            done = torch.cat([done, done[rest[:ready]].mean(1)])
        return done

    def at_vertices(self, corners: Float[Tensor, "F 3 C"]) -> Float[Tensor, "W C"]:
        """Values given per triangle corner (texture coordinates, say) at every vertex, old and new.

        Where triangles disagree, along a texture's seams, the first one has its way.
        """
        inside = self.corners @ corners[self.source]
        first = torch.full((self.count + len(self.parents),), self.faces.numel(), dtype=torch.long)
        first.scatter_reduce_(0, self.faces.flatten(), torch.arange(self.faces.numel()), "amin")
        # A vertex of no triangle takes what any has; nobody sees it.
        return inside.flatten(0, 1)[first.clamp(max=self.faces.numel() - 1)]


def whole(faces: Int[Tensor, "F 3"], count: int) -> Subdivision:
    """A mesh of `count` vertices before any cut."""
    corners = torch.eye(3).expand(len(faces), 3, 3)
    none = torch.empty(0, 2, dtype=torch.long)
    return Subdivision(count, faces.long(), none, torch.arange(len(faces)), corners)


def subdivide(mesh: Subdivision, chosen: Bool[Tensor, "G"]) -> Subdivision:
    """Cut the chosen triangles into four, and their neighbours so that no vertex lies on an edge uncut.

    Args:
        mesh: what is there.
        chosen: which of its triangles.
    """
    faces = mesh.faces
    ends = torch.stack([faces, faces.roll(-1, 1)], -1)  # edge k runs from corner k to corner k + 1
    edges, number = torch.unique(ends.sort(-1).values.flatten(0, 1), dim=0, return_inverse=True)
    number = number.unflatten(0, (-1, 3))
    cut = torch.zeros(len(edges), dtype=torch.bool)
    cut[number[chosen].flatten()] = True
    place = torch.cumsum(cut, 0) - 1 + mesh.count + len(mesh.parents)
    middle = torch.where(cut[number], place[number], -1)
    ids, part, weights = _cut(faces, middle, mesh.corners)
    return Subdivision(mesh.count, ids, torch.cat([mesh.parents, edges[cut]]), mesh.source[part], weights)


def _cut(
    faces: Int[Tensor, "G 3"], middle: Int[Tensor, "G 3"], corners: Float[Tensor, "G 3 3"]
) -> tuple[Int[Tensor, "H 3"], Int[Tensor, "H"], Float[Tensor, "H 3 3"]]:
    """New triangles: their vertices, the triangle each is a part of, and the corners' weights.

    Args:
        faces: triangles.
        middle: the vertex in the middle of each edge, -1 where the edge stays whole.
        corners: weights of the corners.
    """
    points = torch.cat([faces, middle], 1)  # corners 0-2, middles 3-5
    places = torch.cat([corners, (corners + corners.roll(-1, 1)) / 2], 1)
    turned = (middle >= 0).long() @ torch.tensor([1, 2, 4])
    made: list[tuple[Tensor, Tensor, Tensor]] = []
    for pattern, parts in _PATTERNS.items():
        rows = (turned == pattern).nonzero()[:, 0]
        for part in parts:
            made.append((points[rows][:, part], rows, places[rows][:, part]))
    ids, rows, weights = (torch.cat(column) for column in zip(*made, strict=True))
    return ids, rows, weights


def _patterns() -> dict[int, list[list[int]]]:
    """Parts of a triangle, as numbers of corners and middles, by which edges are cut (bit k: edge k)."""

    def shifted(parts: list[list[int]], k: int) -> list[list[int]]:
        return [[(i + k) % 3 if i < 3 else 3 + (i - 3 + k) % 3 for i in part] for part in parts]

    one, two = [[0, 3, 2], [3, 1, 2]], [[0, 3, 2], [3, 4, 2], [3, 1, 4]]
    patterns = {0: [[0, 1, 2]], 7: [[0, 3, 5], [3, 1, 4], [5, 4, 2], [3, 4, 5]]}
    for k in range(3):
        patterns[1 << k] = shifted(one, k)
        patterns[(1 << k) | (1 << (k + 1) % 3)] = shifted(two, k)
    return patterns


_PATTERNS = _patterns()

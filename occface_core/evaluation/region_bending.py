"""Bend a scan's region onto a prediction: non-rigid ICP (Amberg, Romdhani and Vetter, CVPR 2007).

Every vertex has its own affine map; neighbours' maps should agree, vertices should reach the closest of the
target points and keypoints theirs. Constants are those of REALY's published program, for lengths in its unit.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

Points = Float[np.ndarray, "N 3"]
Ids = Int[np.ndarray, " K"]

_STIFFNESS, _KEYPOINT_STIFFNESS, _KEYPOINT_WEIGHT = 50.0, 150.0, 50.0
_FIRST_BALANCE = np.array([2.0, 2.0, 3.0, 2.0])  # how much each column of a map counts while keypoints pull
_LEVELS = 3
_STEPS_WITH_KEYPOINTS, _STEPS = 11, 100
_FAR = 1.0  # units; a target further off than this and twice the mean is no target
_ANCHOR = 1e-8  # holds parts that nothing pulls at where they are


@dataclass
class _Problem:
    """The system that every step solves, for a fixed set of neighbours."""

    laplacian: sparse.csr_array  # (N,N)

    @classmethod
    def of(cls, count: int, faces: Int[np.ndarray, "F 3"]) -> "_Problem":
        pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        edges = np.unique(pairs, axis=0)
        rows = np.repeat(np.arange(len(edges)), 2)
        values = np.tile([1.0, -1.0], len(edges))
        incidence = sparse.csr_array((values, (rows, edges.ravel())), shape=(len(edges), count))
        return cls(sparse.csr_array(incidence.T @ incidence))

    def step(
        self,
        verts: Points,
        stiffness: float,
        balance: Float[np.ndarray, "4"],
        squared_weight: Float[np.ndarray, " N"],
        pull: Points,
    ) -> tuple[Points, Float[np.ndarray, "M 3"]]:
        """Moved vertices, and the maps' difference from doing nothing.

        Args:
            verts: where the vertices are.
            stiffness: weight of the agreement between neighbours.
            balance: weight of each column of a map in it.
            squared_weight: of the data terms at each vertex, summed.
            pull: their weighted sum of differences to the targets.
        """
        count = len(verts)
        ones = np.concatenate([verts, np.ones((count, 1))], axis=1)
        blocks = squared_weight[:, None, None] * ones[:, :, None] * ones[:, None, :]
        data = sparse.bsr_array(
            (blocks, np.arange(count), np.arange(count + 1)), shape=(4 * count, 4 * count)
        )
        smooth = sparse.kron(self.laplacian, sparse.diags_array((stiffness * balance) ** 2), format="csc")
        system = (smooth + data + _ANCHOR * sparse.eye_array(4 * count)).tocsc()
        right = (ones[:, :, None] * pull[:, None, :]).reshape(4 * count, 3)
        factor = splu(
            system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        change = factor.solve(right)
        return verts + (ones[:, :, None] * change.reshape(count, 4, 3)).sum(1), change


def bend(
    verts: Points,
    faces: Int[np.ndarray, "F 3"],
    targets: Points,
    keypoint_ids: Ids,
    keypoints: Float[np.ndarray, "K 3"],
) -> Points:
    """Vertices of a region moved onto target points.

    Args:
        verts: the region.
        faces: its triangles.
        targets: points to come near to; each vertex goes to the closest one, step by step.
        keypoint_ids: vertices that have a target of their own; may be empty.
        keypoints: those targets. A vertex named twice takes the last.
    """
    problem, tree = _Problem.of(len(verts), faces), KDTree(targets)
    own = targets.copy()
    own[keypoint_ids] = keypoints
    is_keypoint = np.zeros(len(verts))
    is_keypoint[keypoint_ids] = 1.0
    with_keypoints = len(keypoint_ids) > 0
    count = 0
    change = np.zeros((4 * len(verts), 3))
    moved, size = verts, np.inf
    if with_keypoints:
        squared = (is_keypoint * _KEYPOINT_WEIGHT) ** 2
        pull = squared[:, None] * (own - moved)
        moved, change = problem.step(moved, _KEYPOINT_STIFFNESS, _FIRST_BALANCE, squared, pull)
        count = 1
    for level in range(_LEVELS):
        stiffness, enough = _STIFFNESS * np.exp(-0.5 * level), 0.5**level
        for _ in range(_STEPS_WITH_KEYPOINTS if with_keypoints else _STEPS):
            if size <= enough:
                break
            distance, nearest = tree.query(moved)
            near = (distance < max(2 * distance.mean(), _FAR)).astype(float)
            squared = (is_keypoint * _KEYPOINT_WEIGHT * np.exp(-0.9 * count) / 10) ** 2
            pull = near[:, None] * (targets[nearest] - moved) + squared[:, None] * (own - moved)
            before = change
            moved, change = problem.step(moved, stiffness, np.ones(4), near + squared, pull)
            count += 1
            if count > 1:  # after the first step there is nothing to compare with
                size = float(np.linalg.norm(change - before))
    return moved

"""Joints, skinning weights and jaw corrective of the open head.

The jaw is fitted to the artist-made facial action ``jawOpen``: one rotation about the left-right axis
explains it best, its share at each vertex is the skinning weight, and what is left becomes a pose
corrective, so that turning the jaw by the fitted angle reproduces ``jawOpen`` on the mean head.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.open_head_assets import BaseMesh
from occface_core.morphable.open_head_topology import (
    LEFT_EYE,
    RIGHT_EYE,
    SKIN,
    HeadTopology,
    bone_share,
    smooth,
)

Array = NDArray[np.float64]

PARENTS = (-1, 0, 1, 1, 1)
JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
# How much of each neck bone's skinning goes to the neck joint (the rest to the root): the neck bends over
# its length.
CARRIED_SHARE = {"neck01": 0.0, "neck02": 0.34, "neck03": 0.67}
REGRESSOR_SIGMA = 0.025  # metres


@dataclass(frozen=True)
class Rig:
    """Skinning of the head: joints (5,3) metres, regressor (5,V), weights (V,5), posedirs (V,3,36)."""

    joints: Array
    regressor: Array
    weights: Array
    posedirs: Array
    jaw_open_angle: float


def rotation_about_x(angle: float) -> Array:
    """Rotation matrix (3,3) about +x; positive angles open the mouth."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def fit_jaw(mean: Array, jaw_open: Array, skin: NDArray[np.bool_]) -> tuple[Array, float]:
    """Fit the hinge (3,) and angle that carry the chin as ``jawOpen`` does (rigid, in the yz plane)."""
    size = np.linalg.norm(jaw_open, axis=1)
    chin = skin & (size > 0.7 * np.quantile(size[skin], 0.999))
    before, after = mean[chin][:, 1:], (mean + jaw_open)[chin][:, 1:]
    a, b = before - before.mean(0), after - after.mean(0)
    angle = float(np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum()))
    turn = rotation_about_x(angle)[1:, 1:]
    shift = after.mean(0) - turn @ before.mean(0)
    hinge = np.linalg.solve(np.eye(2) - turn, shift)
    return np.array([0.0, *hinge]), angle


def _jaw_weights(topology: HeadTopology, mean: Array, jaw_open: Array, hinge: Array, angle: float) -> Array:
    reach = (mean - hinge) @ (rotation_about_x(angle) - np.eye(3)).T
    share = (jaw_open * reach).sum(1) / ((reach**2).sum(1) + 0.003**2)
    return smooth(share.clip(0.0, 1.0), topology.faces, 2)


def _skin_weights(topology: HeadTopology, rig_weights: dict, jaw: Array, body_count: int) -> Array:
    outside = ("spine", "clavicle", "shoulder", "upperarm")
    carried = {
        name: 0.0 if name.startswith(outside) else CARRIED_SHARE.get(name, 1.0) for name in rig_weights
    }
    head = bone_share(rig_weights, carried, body_count)[topology.keep]
    head = smooth(head, topology.faces, 6).clip(0.0, 1.0)
    head[head > 0.995] = 1.0
    eye_left, eye_right = topology.component == LEFT_EYE, topology.component == RIGHT_EYE
    jaw = np.where(eye_left | eye_right | (jaw < 0.004), 0.0, jaw)
    jaw = np.minimum(jaw, head)
    weights = np.zeros((len(jaw), 5))
    weights[:, 0], weights[:, 1], weights[:, 2] = 1.0 - head, head - jaw, jaw
    weights[eye_left], weights[eye_right] = np.eye(5)[3], np.eye(5)[4]
    return weights


def regress(points: Array, target: Array, sigma: float) -> Array:
    """Non-negative weights (N,) summing to one whose mean of ``points`` (N,3) is exactly ``target`` (3,).

    The entropy-closest weights to a Gaussian around the target: exp(-d^2 / 2 sigma^2 + lambda . x), lambda
    by Newton.
    """
    arm = (points - target) / sigma
    start = -0.5 * (arm**2).sum(1)
    tilt = np.zeros(3)
    for _ in range(100):
        exponent = start + arm @ tilt
        weight = np.exp(exponent - exponent.max())
        weight /= weight.sum()
        error = weight @ arm
        hessian = (arm * weight[:, None]).T @ arm - np.outer(error, error)
        step = np.linalg.solve(hessian + 1e-12 * np.eye(3), error)
        tilt -= step * min(1.0, 1.0 / max(float(np.linalg.norm(step)), 1e-12))
    return weight


def _regressor(topology: HeadTopology, mean: Array, joints: Array) -> Array:
    regressor = np.zeros((5, len(mean)))
    for row, target in enumerate(joints):
        eye = {3: LEFT_EYE, 4: RIGHT_EYE}.get(row)
        chosen = np.flatnonzero(topology.component == (SKIN if eye is None else eye))
        sigma = 2 * REGRESSOR_SIGMA if eye is None else REGRESSOR_SIGMA
        regressor[row, chosen] = regress(mean[chosen], target, sigma)
    return regressor


def sphere_centre(points: Array) -> Array:
    """Least-squares centre (3,) of a sphere through points (N,3)."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    return np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0][:3]


def _jaw_corrective(mean: Array, jaw_open: Array, hinge: Array, angle: float, jaw: Array) -> Array:
    """Posedirs (V,3,36): what skinning misses of ``jawOpen``, on entries (1,2) and (2,1) of R - I."""
    turn = rotation_about_x(angle) - np.eye(3)
    missing = jaw_open - jaw[:, None] * ((mean - hinge) @ turn.T)
    blended = np.eye(3) + jaw[:, None, None] * turn  # the corrective is added before skinning
    rest = np.linalg.solve(blended, missing[..., None])[..., 0]
    posedirs = np.zeros((*mean.shape, 36))
    posedirs[..., 9 + 5] = -0.5 * rest / np.sin(angle)  # entry (1,2) = -sin
    posedirs[..., 9 + 7] = 0.5 * rest / np.sin(angle)  # entry (2,1) = +sin
    return posedirs


def bone_head(
    mesh: BaseMesh, bones: dict[str, dict], name: str, moved: Array, keep: NDArray[np.int64]
) -> Array:
    """Place a bone's head on the mean: its base position, carried along by the nearest kept skin vertices."""
    head = bones[name]["head"]
    ids = {
        "CUBE": lambda: mesh.groups[head["cube_name"]],
        "MEAN": lambda: np.array(head["vertex_indices"]),
        "VERTEX": lambda: np.array([head["vertex_index"]]),
    }[head["strategy"]]()
    base = mesh.vertices[ids].mean(0)
    shift = moved - mesh.vertices[keep]
    near = np.exp(-0.5 * ((mesh.vertices[keep] - base) ** 2).sum(1) / 0.03**2)
    return base + (near[:, None] * shift).sum(0) / near.sum()


def build_rig(
    mesh: BaseMesh,
    topology: HeadTopology,
    bones: dict[str, dict],
    rig_weights: dict[str, list[list[float]]],
    mean: Array,
    jaw_open: Array,
) -> Rig:
    """Build joints, regressor, skinning weights and the jaw corrective on the mean head (V,3)."""
    hinge, angle = fit_jaw(mean, jaw_open, topology.component == SKIN)
    eyes = [sphere_centre(mean[topology.component == eye]) for eye in (LEFT_EYE, RIGHT_EYE)]
    root = bone_head(mesh, bones, "neck01", mean, topology.keep)
    neck = bone_head(mesh, bones, "neck03", mean, topology.keep)
    root[0] = neck[0] = 0.0
    joints = np.stack([root, neck, hinge, *eyes])
    jaw = _jaw_weights(topology, mean, jaw_open, hinge, angle)
    weights = _skin_weights(topology, rig_weights, jaw, len(mesh.vertices))
    return Rig(
        joints=joints,
        regressor=_regressor(topology, mean, joints),
        weights=weights,
        posedirs=_jaw_corrective(mean, jaw_open, hinge, angle, weights[:, 2]),
        jaw_open_angle=angle,
    )

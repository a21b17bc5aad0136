"""Synthetic faces for the occlusion tests: the built-in mean face in random poses over noisy pictures."""

import numpy as np
import pytest
import torch

from occface_core.occlusion import face_mask_from_points
from occface_core.occlusion.canonical import canonical_points


def posed_faces(
    batch: int, height: int, width: int, seed: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (B,3,H,W), face masks (B,1,H,W) and points (B,468,3)."""
    rng = np.random.default_rng(seed)
    model = canonical_points().astype(np.float64) * [1, -1, -1]
    clouds = []
    for _ in range(batch):
        yaw, pitch = rng.uniform(-0.6, 0.6), rng.uniform(-0.25, 0.25)
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        cloud = model @ (turn @ nod).T * (min(height, width) / 0.22)
        clouds.append(cloud + np.array([width / 2, height / 2, 0.0]))
    points = torch.tensor(np.array(clouds), dtype=torch.float32)
    images = torch.tensor(rng.random((batch, 3, height, width)) * 0.2 + 0.4, dtype=torch.float32)
    return images, face_mask_from_points(points[..., :2].contiguous(), height, width), points


@pytest.fixture(scope="session")
def faces() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return posed_faces(6, 96, 96)


@pytest.fixture(scope="session")
def make_faces():  # type: ignore[no-untyped-def]
    return posed_faces


@pytest.fixture(scope="session")
def rendered(open_head, small_albedo):  # type: ignore[no-untyped-def]
    """Heads in several poses: images, face masks, points."""
    from occface_core.data.synthetic import SyntheticFaces

    batch = SyntheticFaces(open_head, small_albedo, 96).sample(8, generator=torch.Generator().manual_seed(0))
    return batch.image, batch.mask, batch.points

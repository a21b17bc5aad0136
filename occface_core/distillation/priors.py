"""What is known about the landmarks of a training crop before looking at it."""

import numpy as np
import torch

from occface_core.data.batches import TwinSampler, jitter_matrix
from occface_core.data.landmarks import IBUG68_FROM_MEDIAPIPE
from occface_core.data.synthetic import SyntheticFaces
from occface_core.distillation.scene import Scene
from occface_core.networks.evidence import PRIOR_SIZE, LandmarkPrior, spread_points
from occface_core.rendering.cameras import weak_perspective


def photo_prior(sampler: TwinSampler, *, count: int = 8000, seed: int = 7) -> LandmarkPrior:
    """Landmarks of a sampler's photos in random crops, as a Gaussian in [-1,1] coordinates."""
    rng = np.random.default_rng(seed)
    packed, config = sampler.packed, sampler.config
    points = []
    for row in rng.integers(0, len(packed), count):
        matrix = jitter_matrix(rng, config, packed.size)
        crop = (packed.points[row, :468] @ matrix[:, :2].T + matrix[:, 2]) * (2 / config.size) - 1
        points.append(crop)
        # The mirror image is as likely, and makes the prior symmetric.
        points.append(crop[sampler.mirror] * [-1, 1])
    return LandmarkPrior.fit(torch.from_numpy(np.stack(points)).float(), PRIOR_SIZE)


def render_prior(scene: Scene, *, count: int = 4000, seed: int = 7) -> LandmarkPrior:
    """The same for random heads in random crops, where no photos are at hand."""
    faces = SyntheticFaces(scene.head, scene.albedo, 112)
    head = scene.head.subset(scene.head.landmark_vertex_ids("68", "468"))  # a quarter of the vertices
    generator = torch.Generator().manual_seed(seed)
    points = []
    for _ in range(0, count, 250):
        betas = torch.randn(250, head.n_shape, generator=generator).to(scene.device)
        pose = faces.poses(250, generator).to(scene.device)
        verts = head(betas, faces.expressions(250, generator).to(scene.device), pose).verts
        camera = faces.framing(head.landmarks(verts, "68", global_pose=pose[:, :3]), generator)
        points.append(head.landmarks(weak_perspective(verts, camera), "468")[..., :2])
    return LandmarkPrior.fit(torch.cat(points), PRIOR_SIZE)


def points_to_find(prior: LandmarkPrior, count: int) -> torch.Tensor:
    """The inner 51 iBUG points, then others spread over the face.

    The first 17 iBUG points are the jaw line, which slides along the face as it turns.
    """
    return spread_points(prior.mean, IBUG68_FROM_MEDIAPIPE[17:], count)

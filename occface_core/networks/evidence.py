"""Landmarks found where they can be seen, and completed by what is known about faces.

A regression from pooled features lets an occluder spoil the position of everything. Here each landmark is
first looked for in the image by itself (soft-argmax of a heatmap, with an uncertainty of its own, as in Wood
et al., "3D Face Reconstruction with Dense Landmarks", ECCV 2022); then a Gaussian prior over whole faces
weighs the finds: the posterior mean follows the certain ones and fills in the rest. On dev photos, 468 points
told only where the visible ones are fill in the hidden ones to 0.4 % of the face.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from occface_core.networks.backbones import merge_pyramid

POINTS = 468
PRIOR_SIZE = 48  # components: 48 leave 0.16 % of the face unexplained


@dataclass(frozen=True)
class Evidence:
    """What the image says about landmarks; coordinates span [-1,1] over the crop, x right, y down.

    Attributes:
        points: (B,K,2) each landmark as found by itself. log_sigma: (B,K) log of its uncertainty.
        fused: (B,468,2) all landmarks, the posterior mean. z: (B,D) the same in the prior's coordinates.
        index: (K,) which of the 468 landmarks `points` are. heat: (B,K,H,W) logits of where each is.
    """

    points: Float[Tensor, "B K 2"]
    log_sigma: Float[Tensor, "B K"]
    fused: Float[Tensor, "B 468 2"]
    z: Float[Tensor, "B D"]
    index: Int[Tensor, "K"]
    heat: Float[Tensor, "B K H W"]


@dataclass(frozen=True)
class LandmarkPrior:
    """A Gaussian over 468 landmarks in a crop: points = mean + basis z, z ~ N(0, I)."""

    mean: Float[Tensor, "468 2"]
    basis: Float[Tensor, "468 2 D"]

    @staticmethod
    def fit(points: Float[Tensor, "N 468 2"], size: int) -> "LandmarkPrior":
        """Principal components of example landmarks."""
        mean = points.mean(0)
        variance, axes = torch.linalg.eigh(torch.cov((points - mean).flatten(1).double().T))
        scaled = axes[:, -size:].flip(1) * variance[-size:].flip(0).clamp(min=0).sqrt()
        return LandmarkPrior(mean, scaled.to(points.dtype).unflatten(0, (POINTS, 2)))


def spread_points(mean: Float[Tensor, "468 2"], first: Sequence[int], count: int) -> Int[Tensor, "K"]:
    """`count` landmarks: those of `first`, then always the one farthest from all chosen so far."""
    chosen = list(first)[:count]
    distance = torch.cdist(mean, mean[chosen]).amin(1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, torch.cdist(mean, mean[chosen[-1:]])[:, 0])
    return torch.tensor(chosen)


def _residual(width: int) -> nn.Sequential:
    norm = nn.BatchNorm2d(width)
    nn.init.zeros_(norm.weight)
    return nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False), norm)


class LandmarkEvidence(nn.Module):
    """Heatmaps, uncertainties and their fusion with the prior.

    Args:
        channels: of the backbone's maps at 1/4 to 1/32.
        count: landmarks looked for. size: components of the prior. width: channels of the fused map.
        blocks: residual convolutions between the fused map and the heatmaps; they start at zero.
    """

    index: Tensor
    mean: Tensor
    basis: Tensor

    def __init__(self, channels: list[int], count: int, size: int, width: int = 64, blocks: int = 0) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([nn.Conv2d(c, width, 1) for c in channels])
        self.blocks = nn.ModuleList([_residual(width) for _ in range(blocks)])
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * count, 1),
        )
        # Errors of neighbouring landmarks go together, so each find counts for less than a whole one.
        self.log_trust = nn.Parameter(torch.tensor(-2.0))
        self.register_buffer("index", torch.zeros(count, dtype=torch.long))
        self.register_buffer("mean", torch.zeros(POINTS, 2))
        self.register_buffer("basis", torch.zeros(POINTS, 2, size))

    def set_prior(self, prior: LandmarkPrior, index: Int[Tensor, "K"]) -> None:
        """Give it what is known about faces, and which landmarks to look for."""
        self.index.copy_(index)
        self.mean.copy_(prior.mean)
        self.basis.copy_(prior.basis)

    def forward(self, pyramid: list[Tensor]) -> Evidence:
        x = merge_pyramid(self.lateral, pyramid)
        for block in self.blocks:
            x = x + block(x)
        maps = self.smooth(x)
        with torch.autocast(maps.device.type, enabled=False):
            return self.read(maps.float())

    def read(self, maps: Float[Tensor, "B C H W"]) -> Evidence:
        """Soft-argmax of the first half of the maps, uncertainty from the second, and the posterior."""
        height, width = maps.shape[-2:]
        heat, doubt = maps.flatten(2).chunk(2, dim=1)
        share = heat.softmax(-1)
        ys = (torch.arange(height, device=maps.device) + 0.5) * (2 / height) - 1
        xs = (torch.arange(width, device=maps.device) + 0.5) * (2 / width) - 1
        grid = torch.stack([xs.repeat(height), ys.repeat_interleave(width)], dim=-1)
        points = share @ grid
        log_sigma = ((share * doubt).sum(-1) - 3.0).clamp(-5.5, 1.0)
        z = self.posterior(points, log_sigma)
        return Evidence(
            points, log_sigma, self.complete(z), z, self.index, heat.unflatten(2, (height, width))
        )

    def posterior(
        self, points: Float[Tensor, "B K 2"], log_sigma: Float[Tensor, "B K"]
    ) -> Float[Tensor, "B D"]:
        """argmin over z of |z|^2 + sum of trust |basis z + mean - point|^2 / sigma^2."""
        basis = self.basis[self.index].flatten(0, 1)
        weight = torch.exp(self.log_trust - 2 * log_sigma).repeat_interleave(2, dim=1)
        offset = (points - self.mean[self.index]).flatten(1)
        weighted = basis.T[None] * weight[:, None]
        normal = weighted @ basis + torch.eye(basis.shape[1], device=basis.device)
        return torch.linalg.solve(normal, (weighted @ offset[..., None]))[..., 0]

    def complete(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B 468 2"]:
        """All landmarks of prior coordinates."""
        return self.mean + (z @ self.basis.flatten(0, 1).T).unflatten(1, (POINTS, 2))


def evidence_nll(evidence: Evidence, points: Float[Tensor, "B 468 2"]) -> Float[Tensor, "B"]:
    """Negative log-likelihood of the true points under a Laplace-like density of each find, per image."""
    distance = (evidence.points - points[:, evidence.index]).square().sum(-1).add(1e-8).sqrt()
    return (distance * torch.exp(-evidence.log_sigma) + 2 * evidence.log_sigma).mean(-1)


def heatmap_divergence(
    evidence: Evidence, points: Float[Tensor, "B 468 2"], spread: float = 0.75
) -> Float[Tensor, "B"]:
    """Kullback-Leibler divergence of the heatmaps from Gaussians on the true points, per image.

    The soft-argmax alone is content with mass far away on both sides, and so every occluder pulls on it; a
    proper score of the whole map is not (compare Nibali et al., "Numerical Coordinate Regression", 2018).

    Args:
        evidence: what was found. points: where the landmarks are, [-1,1].
        spread: standard deviation of the target in cells.
    """
    height, width = evidence.heat.shape[-2:]
    true = points[:, evidence.index]
    across, down = (_soft_one_hot(true[..., i], n, spread) for i, n in ((0, width), (1, height)))
    cross = evidence.heat.flatten(2).logsumexp(-1) - torch.einsum(
        "bkyx,bky,bkx->bk", evidence.heat, down.exp(), across.exp()
    )
    entropy = -(across.exp() * across).sum(-1) - (down.exp() * down).sum(-1)
    return (cross - entropy).mean(-1)


def _soft_one_hot(position: Float[Tensor, "B K"], cells: int, spread: float) -> Float[Tensor, "B K N"]:
    """Log-probabilities of a Gaussian around `position`, normalised over the cells of one axis."""
    centres = (torch.arange(cells, device=position.device) + 0.5) * (2 / cells) - 1
    distance = (centres - position[..., None]) * (cells / 2 / spread)
    return (-0.5 * distance.square()).log_softmax(-1)

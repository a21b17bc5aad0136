"""Calibrate predicted uncertainty so that about 68 % of true errors lie within one sigma."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.batches import TwinSampler
from occface_core.evaluation.twins import EvaluationTwins
from occface_core.losses import region_rms_mm
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.regions import region_weight
from occface_core.networks.mirrored import AnyEncoder

ONE_SIGMA = 0.6827


def sigma_scale(
    error_mm: Float[Tensor, "N R"], sigma_mm: Float[Tensor, "N R"], level: float = ONE_SIGMA
) -> Float[Tensor, "R"]:
    """Factor per region by which sigma must grow so that a share `level` of errors is below it.

    A quantile of error/sigma: it assumes nothing about the shape of the error's distribution.
    """
    return torch.quantile(error_mm / sigma_mm.clamp(min=1e-6), level, dim=0).clamp(min=1e-3)


def within_one_sigma(error_mm: Float[Tensor, "N R"], sigma_mm: Float[Tensor, "N R"]) -> Float[Tensor, "R"]:
    """Share of errors below one sigma, per region."""
    return (error_mm <= sigma_mm).float().mean(0)


def correlation(error_mm: Float[Tensor, "N R"], sigma_mm: Float[Tensor, "N R"]) -> Float[Tensor, "R"]:
    """Pearson's correlation of errors and sigmas, per region."""
    error, sigma = ((x - x.mean(0)).double() for x in (error_mm, sigma_mm))
    return ((error * sigma).sum(0) / (error.norm(dim=0) * sigma.norm(dim=0)).clamp(min=1e-12)).float()


@torch.no_grad()
def region_errors(
    student: AnyEncoder,
    teacher: AnyEncoder,
    head: HeadModel,
    sampler: TwinSampler | EvaluationTwins,
    *,
    steps: Iterable[int] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[Float[Tensor, "N R"], Float[Tensor, "N R"]]:
    """Neutral-shape errors of the student on occluded photos against the teacher on clean ones, and its
    sigmas.

    Returns:
        error_mm, sigma_mm, both (N,R) in the order of the student's `sigma_regions`.
    """
    names = student.config.sigma_regions
    regions = torch.stack([region_weight(head, name) for name in names])
    errors, sigmas = [], []
    for step in progress(range(len(sampler)) if steps is None else steps):
        batch = sampler[step]
        out, goal = student(batch.occluded), teacher(batch.clean)
        assert out.log_sigma is not None, "the student has no uncertainty head"
        errors.append(region_rms_mm(head.neutral(out.params.betas), head.neutral(goal.params.betas), regions))
        sigmas.append(out.log_sigma.exp())
    return torch.cat(errors), torch.cat(sigmas)

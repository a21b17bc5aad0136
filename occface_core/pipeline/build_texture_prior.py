"""Learn what hidden skin looks like from photos: `assets texture-rows`, then `assets build-texture-prior`.

Every photo is covered, reconstructed from the covered picture, and the uncovered one laid over that head. So
the prior is about what it will be asked: colours of photos over the albedo that a student guesses under
covers. Rows of several processes, each with a part of the photos, are put together.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from safetensors.numpy import save_file
from torch import Tensor

from occface_core.data.archives import read_arrays
from occface_core.data.crop import crop_image
from occface_core.data.packed import PackedPhotos, points_box68
from occface_core.data.pixels import to_bytes
from occface_core.errors import ConfigError, DataError
from occface_core.evaluation.twins import EvaluationTwins, TwinSettings
from occface_core.networks.encoder import FaceEncoder
from occface_core.pipeline.laid_over import laid_over
from occface_core.pipeline.reconstructor import FaceReconstructor
from occface_core.pipeline.texels import averaged, log_ratio
from occface_core.pipeline.texture_prior import FORMAT, TRUST
from occface_core.pipeline.types import Reconstruction

log = logging.getLogger(__name__)

CELLS = 64  # to a side
_TEXELS = 256  # to a side, that a photo is lifted into
_SURE = 0.95  # share of a cell that must be seen to learn from it
_KNOWN = (0.15, 0.35)  # shares of the photos that show a cell, between which it becomes known
_FEWEST = 50  # photos to learn from
_FLOOR, _CEILING = 0.03, 0.4  # of sigma
_ITERATIONS = 12


def texture_rows(
    packed: PackedPhotos, network: str | Path, *, seed: int = 5
) -> Iterator[tuple[Float[np.ndarray, "S S 3"], Float[np.ndarray, "S S"]]]:
    """Of each photo log(photo / albedo) in cells of the texture, and how much of each cell it shows.

    Args:
        packed: photos with landmarks.
        network: as for `FaceReconstructor`; it sees them covered. seed: of the covers.

    Raises:
        ConfigError: the network is no student that looks again, or the head has no albedo.
    """
    reconstructor = FaceReconstructor(network)
    if reconstructor.albedo_model is None or reconstructor.encoder.config.guided_by is None:
        raise ConfigError(f"{network}: a prior of textures needs a student with the shipped head")
    points = reconstructor.head.landmarks(reconstructor.head.v_template[None], "468")[0].cpu()
    settings = TwinSettings(size=packed.size, coverage=(0.1, 0.6), second=0.2, seed=seed)
    twins = EvaluationTwins(packed, settings, mean_points=points, batch_size=8)
    for number in range(len(twins)):
        batch = twins[number]
        clean, covered = (list(to_bytes(images)) for images in (batch.clean, batch.occluded))
        boxes = [points_box68(one) for one in batch.points.numpy()]
        heads = reconstructor.reconstruct_batch(covered, boxes=boxes)
        for photo, head in zip(clean, heads, strict=True):
            if isinstance(head, Reconstruction):
                yield _row(reconstructor, photo, head)


def _row(
    reconstructor: FaceReconstructor, photo: UInt8[np.ndarray, "P P 3"], head: Reconstruction
) -> tuple[Float[np.ndarray, "S S 3"], Float[np.ndarray, "S S"]]:
    """The uncovered photo over the head found under the cover."""
    layouts, encoder = reconstructor.layouts, reconstructor.encoder
    lookup, chart = layouts.lookup(_TEXELS), layouts.chart(_TEXELS)
    assert lookup is not None
    assert chart is not None
    assert head.albedo is not None
    assert isinstance(encoder, FaceEncoder)  # `texture_rows` sees to it
    crop = torch.from_numpy(crop_image(photo, head.crop, encoder.config.input_size)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        mask = encoder.mask(crop.to(reconstructor.device) / 255).sigmoid()[0, 0].cpu().numpy()
    seen = laid_over(photo, head, mask, reconstructor.head, lookup)
    skin = chart.skin.astype(np.float32)
    colour, weight = averaged(seen.colour, seen.weight * skin, CELLS)
    albedo, _ = averaged(head.albedo, skin, CELLS)
    return log_ratio(colour, albedo), weight


def write_rows(
    path: Path, rows: Sequence[tuple[Float[np.ndarray, "S S 3"], Float[np.ndarray, "S S"]]]
) -> None:
    """Store rows for `read_rows`.

    Raises:
        DataError: there are none.
    """
    if not rows:
        raise DataError(f"{path}: no photo could be reconstructed, so there is nothing to learn from")
    gain, seen = (np.stack(values).astype(np.float16) for values in zip(*rows, strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, gain=gain, seen=seen)
    temporary.replace(path)


def read_rows(paths: Sequence[Path]) -> tuple[Float[np.ndarray, "N S S 3"], Float[np.ndarray, "N S S"]]:
    """Rows of several files.

    Raises:
        DataError: a file cannot be read, or holds something else.
    """
    parts = [read_arrays(path, "rows of textures", "gain", "seen") for path in paths]
    for path, part in zip(paths, parts, strict=True):
        count = len(part["seen"])
        if part["gain"].shape != (count, CELLS, CELLS, 3) or part["seen"].shape != (count, CELLS, CELLS):
            raise DataError(f"{path}: its rows are not {CELLS} x {CELLS} cells; make it again")
    gain, seen = (np.concatenate([part[name] for part in parts]) for name in ("gain", "seen"))
    return gain.astype(np.float32), seen.astype(np.float32)


def fit_prior(
    gain: Float[np.ndarray, "N S S 3"], seen: Float[np.ndarray, "N S S"], components: int = 64
) -> dict[str, np.ndarray]:
    """The tensors of a prior: principal components of rows with gaps.

    Gaps are filled with what the components so far expect there, and components are taken from the filled
    rows, in turn (a variant of EM for probabilistic PCA: Tipping and Bishop, 1999).

    Raises:
        ConfigError: too few rows for so many components.
    """
    count = len(gain)
    if count < max(_FEWEST, 2 * components):
        raise ConfigError(f"{count} rows are too few for {components} components; give twice as many")
    sure = seen > _SURE
    share = sure.mean(0)
    cells: Bool[np.ndarray, "S S"] = share > _KNOWN[0]
    known = np.clip((share[cells] - _KNOWN[0]) / (_KNOWN[1] - _KNOWN[0]), 0, 1)
    values = torch.from_numpy(gain[:, cells]).flatten(1)
    there = torch.from_numpy(sure[:, cells]).float().repeat_interleave(3, dim=1)
    mean = (values * there).sum(0) / there.sum(0)
    filled = torch.where(there > 0, values, mean)
    sigma = torch.full_like(mean, 0.12)
    basis = torch.zeros(len(mean), components)
    for _ in range(_ITERATIONS):
        mean = filled.mean(0)
        torch.manual_seed(0)
        _, scale, axes = torch.svd_lowrank(filled - mean, q=components + 10, niter=3)
        basis = axes[:, :components] * (scale[:components] / count**0.5)
        expected = mean + _coordinates(values - mean, there * (TRUST / sigma.square()), basis) @ basis.T
        left = (values - expected) * there
        sigma = (left.square().sum(0) / there.sum(0)).sqrt().clamp(_FLOOR, _CEILING)
        filled = torch.where(there > 0, values, expected)
    shape = (int(cells.sum()), 3)
    return {
        "cells": cells.astype(np.uint8),
        "known": known.astype(np.float16),
        "mean": mean.reshape(shape).numpy().astype(np.float16),
        "sigma": sigma.reshape(shape).numpy().astype(np.float16),
        "basis": basis.reshape(*shape, components).numpy().astype(np.float16),
    }


def _coordinates(
    offset: Float[Tensor, "N P"], precision: Float[Tensor, "N P"], basis: Float[Tensor, "P K"]
) -> Float[Tensor, "N K"]:
    """Posterior means of rows, see `TexturePrior.posterior`."""
    normal = torch.stack([basis.T @ (basis * row[:, None]) for row in precision])
    normal = normal + torch.eye(basis.shape[1])
    return torch.linalg.solve(normal, ((offset * precision) @ basis)[..., None])[..., 0]


def write_prior(tensors: dict[str, np.ndarray], path: Path, *, head: str, photos: int) -> None:
    """Write a prior as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"format": FORMAT, "version": "1", "head": head, "photos": str(photos)}
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path, metadata)

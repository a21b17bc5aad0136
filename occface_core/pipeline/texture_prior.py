"""What hidden skin looks like, given the skin that is seen.

Between a photo's skin and its albedo lie light, make-up, a beard, and whatever the albedo got wrong. Over
many faces these go together: a shadow on one cheek says what the chin looks like. A Gaussian over the
logarithm of that ratio, cell by cell of a coarse texture, says how; its posterior mean, given the cells that
a photo shows, brings the albedo of all others to the photo. Cells that do not go together with the rest, as
cloth beside a mask does not, count for little (iteratively reweighted, Geman-McClure).

Principal components as a prior for what cannot be seen: Moghaddam and Pentland, PAMI 1997; Blanz and Vetter,
"Reconstructing the complete 3D shape of faces from partial information", 2002.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from occface_core.assets import Shape, asset_path, load_safetensors
from occface_core.errors import AssetError
from occface_core.pipeline.texels import DARKEST, SeenTexture, averaged, blurred, fitted, log_ratio

FORMAT = "occface-texture-prior"
SCHEMA: dict[str, Shape] = {
    "mean": ("C", 3),
    "basis": ("C", 3, "K"),
    "sigma": ("C", 3),
    "known": ("C",),
    "cells": ("S", "S"),
}
TRUST = 0.05  # errors of neighbouring cells go together, so each counts for less than a whole one
_SEEN = 0.5  # share of a cell that must be seen
_ROUNDS = 4  # of leaving out what does not go together with the rest
_OUTLIER = 3.0  # deviations from which on a cell counts for little
_REACH = 0.06  # of the side: how far cells beyond those known take over from them
_OVERALL = 0.02  # weight of all cells beside the near ones


@dataclass(frozen=True, eq=False)
class TexturePrior:
    """A Gaussian over log(photo / albedo) of skin, in cells of a texture layout.

    Attributes:
        cells: (S,S) which cells it knows. mean: (C,3) of those, per channel.
        basis: (C,3,K) change per unit of each component. sigma: (C,3) what the components leave.
        known: (C,) in [0,1], less than 1 where few photos show a cell: beyond, its neighbours are asked too.
        head_name: name of the head whose texture layout this is.
    """

    cells: Bool[np.ndarray, "S S"]
    mean: Float[np.ndarray, "C 3"]
    basis: Float[np.ndarray, "C 3 K"]
    sigma: Float[np.ndarray, "C 3"]
    known: Float[np.ndarray, " C"]
    head_name: str = ""

    @classmethod
    def load(cls, path: Path | None = None) -> "TexturePrior":
        """The shipped prior, or one in `path`.

        Raises:
            AssetError: The file is missing, damaged or of another format.
        """
        path = asset_path("texture_prior") if path is None else path
        tensors, metadata = load_safetensors(path, schema=SCHEMA)
        if metadata.get("format") != FORMAT:
            raise AssetError(f"{path} is not an {FORMAT} file; build one with `assets build-texture-prior`")
        cells = tensors.pop("cells").numpy() > 0
        if cells.sum() != len(tensors["mean"]):
            raise AssetError(f"{path} marks {cells.sum()} cells and holds {len(tensors['mean'])}")
        if not (tensors["sigma"] > 0).all():
            raise AssetError(f"{path}: sigma must be positive; build the file again")
        values = {name: value.float().numpy() for name, value in tensors.items()}
        return cls(cells, **values, head_name=metadata.get("head", ""))

    def expected(
        self,
        seen: SeenTexture,
        albedo: Float[np.ndarray, "A A 3"],
        part: UInt8[np.ndarray, "U U"] | None = None,
    ) -> Float[np.ndarray, "U U 3"]:
        """Colours of the skin, seen or not, that go together with what is seen.

        Args:
            seen: what a photo shows.
            albedo: of the face, of any size.
            part: as in `Chart`; only skin (0) tells anything. None: all is skin.
        """
        side = len(seen.weight)
        skin = np.ones_like(seen.weight) if part is None else (part == 0).astype(np.float32)
        below = fitted(albedo, side)
        colour, weight = averaged(np.clip(seen.colour, 0, 1), seen.weight * skin, len(self.cells))
        bare, _ = averaged(below, skin, len(self.cells))
        gain = log_ratio(colour, bare)
        weight = np.where(weight > _SEEN, weight, 0)[self.cells]
        field = self._everywhere(self.posterior(gain[self.cells], weight))
        lit = fitted(np.exp(field), side)
        return np.clip((below + DARKEST) * lit - DARKEST, 0, 1).astype(np.float32)

    def posterior(
        self, gain: Float[np.ndarray, "C 3"], weight: Float[np.ndarray, " C"]
    ) -> Float[np.ndarray, "C 3"]:
        """The mean of all cells' gains, given some; without any, the prior's mean.

        argmin over z of |z|^2 + sum of trust weight |basis z + mean - gain|^2 / sigma^2, in rounds: after
        each, a cell that is far from what the others say counts for less.
        """
        offset, size = gain - self.mean, self.basis.shape[-1]
        flat = self.basis.reshape(-1, size)
        precision = TRUST / np.square(self.sigma)
        agree = np.ones_like(weight)
        field = np.zeros_like(offset)
        for _ in range(_ROUNDS):
            trusted = ((weight * agree)[:, None] * precision).reshape(-1, 1)
            normal = flat.T @ (flat * trusted) + np.eye(size, dtype=np.float32)
            z = np.linalg.solve(normal, flat.T @ (trusted[:, 0] * offset.reshape(-1)))
            field = (flat @ z).reshape(offset.shape)
            off = np.square((offset - field) / self.sigma).sum(-1)
            agree = 1 / np.square(1 + off / _OUTLIER**2)
        return self.mean + field

    def _everywhere(self, field: Float[np.ndarray, "C 3"]) -> Float[np.ndarray, "S S 3"]:
        """A field over the cells known, smoothly gone on with over all others."""
        size = self.cells.shape
        whole, known = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
        whole[self.cells], known[self.cells] = field, self.known
        share = known[..., None]
        near = fitted(blurred(np.concatenate([whole * share, share], axis=-1), _REACH), size[0])
        overall = (self.known[:, None] * field).sum(0) / max(float(self.known.sum()), 1e-6)
        beyond = (near[..., :3] + _OVERALL * overall) / (near[..., 3:] + _OVERALL)
        return share * whole + (1 - share) * beyond

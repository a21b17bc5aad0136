"""Clean photos and their covered twins for benchmarks, each a pure function of the photo's place in the set.

A photo's covers depend neither on the batch size nor on how many photos follow it, so a run over the first
hundred photos sees exactly the twins of the full run. Pixels are whole 255ths: whoever reads the exported PNG
files sees what a network in this process sees.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.batches import TwinBatch, still_matrix, uncovered, warp
from occface_core.data.cuts import cut_off
from occface_core.data.degrade import shrunk
from occface_core.data.draws import number_people
from occface_core.data.harsh import harsh
from occface_core.data.packed import PackedPhotos
from occface_core.data.ranges import check_share_range
from occface_core.errors import ConfigError
from occface_core.occlusion.api import occlude
from occface_core.occlusion.face_points import estimate_depth, face_mask_from_points
from occface_core.occlusion.types import Occlusion

VERSION = 5  # raise it when the same settings give other pixels: predictions made before then fit no more

LATER = ("harsh", "stretch", "cut")  # settings that came after VERSION: twins without them are what they were


@dataclass(frozen=True)
class TwinSettings:
    """How photos are covered.

    Attributes:
        size: side of the crops, pixels.
        family: an occluder family or group.
        coverage: range of the share of the face that is hidden.
        covers: different covers of each photo; the first is the twin, the others measure consistency.
        seed: of the covers.
        second: share of the covers with a second object on top.
        pixels: pixels across that are left of covered pictures, as of a face far away; 0: all of them.
        harsh: covered pictures in harsh light or retouched, each in its own way.
        stretch: width over height of the photos is so many times what it was.
        cut: covered pictures as of photos that end close to the face, each in its own way.
    """

    size: int = 112
    family: str = "random"
    coverage: tuple[float, float] = (0.2, 0.5)
    covers: int = 1
    seed: int = 0
    second: float = 0.0
    pixels: int = 0
    harsh: bool = False
    stretch: float = 1.0
    cut: bool = False

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 1024:
            raise ConfigError(f"size {self.size} is outside 32..1024")
        check_share_range("coverage", self.coverage, may_be_one_value=True)
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} must be at least 0")
        if not 0.0 <= self.second <= 1.0:
            raise ConfigError(f"second {self.second} must be a share within 0..1")
        if self.pixels and not 8 <= self.pixels <= self.size:
            raise ConfigError(f"pixels {self.pixels} is outside 8..{self.size}, the size of the crops")
        if not 0.5 <= self.stretch <= 2.0:
            raise ConfigError(f"stretch {self.stretch} is outside 0.5..2")
        if self.covers < 1:
            raise ConfigError(f"covers {self.covers} must be at least 1")

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the pictures made of each photo: clean, occluded, cover2, cover3, ..."""
        return ("clean", "occluded", *(f"cover{k + 1}" for k in range(1, self.covers)))


@dataclass(frozen=True)
class ViewBatch(TwinBatch):
    """A batch of twins with further covers of the same photos, (B,3,S,S) each."""

    covers: tuple[Tensor, ...] = ()

    def to(self, device: torch.device | str) -> "ViewBatch":
        """The same batch on `device`."""
        moved = {
            k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in vars(self).items()
        }
        moved["covers"] = tuple(cover.to(device, non_blocking=True) for cover in self.covers)
        return ViewBatch(**moved)  # type: ignore[arg-type]


def views_of(batch: TwinBatch) -> dict[str, Float[Tensor, "B 3 S S"]]:
    """Pictures of a batch by view name, as `TwinSettings.views` has them."""
    further = batch.covers if isinstance(batch, ViewBatch) else ()
    return {
        "clean": batch.clean,
        "occluded": batch.occluded,
        **{f"cover{k}": cover for k, cover in enumerate(further, start=2)},
    }


class EvaluationTwins:
    """Map-style dataset: item i is batch i of the twins, photos in the set's order.

    Args:
        packed: crops with at least 468 MediaPipe landmarks each.
        settings: how they are covered.
        mean_points: (468,3) landmarks of the mean head, metres, to give 2D landmarks a depth.
        batch_size: photos per item; changes no pixel.

    Attributes:
        points: (N,468,2) annotated landmarks of every photo, crop pixels.

    Raises:
        ConfigError: fewer than 468 landmarks per photo.
    """

    def __init__(
        self,
        packed: PackedPhotos,
        settings: TwinSettings,
        *,
        mean_points: Float[Tensor, "468 3"],
        batch_size: int = 32,
    ) -> None:
        if packed.points.shape[1] < 468:
            raise ConfigError(f"covers need 468 MediaPipe landmarks per photo, got {packed.points.shape[1]}")
        if batch_size < 1:
            raise ConfigError(f"batch_size {batch_size} must be at least 1")
        self.packed, self.settings, self.batch_size = packed, settings, batch_size
        self.mean_points = mean_points
        self._person, _ = number_people(packed.identities)
        self._matrix = still_matrix(settings.size, packed.size, settings.stretch)
        moved = packed.points[:, :468] @ self._matrix[:, :2].T + self._matrix[:, 2]
        self.points: Float[Tensor, "N 468 2"] = torch.from_numpy(moved.astype(np.float32))

    def __len__(self) -> int:
        return -(-len(self.packed) // self.batch_size)

    @property
    def identifier(self) -> str:
        """Names these very twins: photos, landmarks, settings and the version of the recipe."""
        settings = asdict(self.settings)
        for name in LATER:
            if settings[name] == getattr(TwinSettings, name):
                del settings[name]
        digest = hashlib.sha256(json.dumps([VERSION, settings, self.packed.names]).encode())
        digest.update(np.ascontiguousarray(self.packed.points[:, :468]).tobytes())
        return digest.hexdigest()[:16]

    @property
    def hidden_identifier(self) -> str | None:
        """Names what is known to cover the faces in the photos; masks depend on it, pictures do not."""
        hidden = self.packed.hidden
        return None if hidden is None else hashlib.sha256(hidden.tobytes()).hexdigest()[:16]

    def __getitem__(self, step: int) -> ViewBatch:
        rows = range(step * self.batch_size, min((step + 1) * self.batch_size, len(self.packed)))
        if not rows:
            raise IndexError(step)
        clean = torch.cat([self._crop(row) for row in rows])
        points = self.points[rows.start : rows.stop]
        outline = face_mask_from_points(points, self.settings.size, self.settings.size)
        bare = torch.from_numpy(np.stack([self._uncovered(row) for row in rows]))[:, None]
        deep = estimate_depth(points, mean_points=self.mean_points)
        made = [
            [
                self._cover(row, k, clean[i : i + 1], outline[i : i + 1], deep[i : i + 1])
                for i, row in enumerate(rows)
            ]
            for k in range(self.settings.covers)
        ]
        pictures = [torch.cat([_whole(one.image) for one in cover]) for cover in made]
        twin = made[0]
        return ViewBatch(
            clean=clean,
            occluded=pictures[0],
            outline=outline,
            face_mask=outline * bare,
            visible=torch.cat([one.mask for one in twin]) * bare,
            points=points,
            coverage=torch.cat([one.coverage for one in twin]),
            family=[one.family[0] for one in twin],
            index=torch.tensor(list(rows)),
            person=torch.from_numpy(self._person[rows.start : rows.stop]),
            covers=tuple(pictures[1:]),
        )

    def _crop(self, row: int) -> Float[Tensor, "1 3 S S"]:
        image = warp(self.packed.images[row], self._matrix, self.settings.size)
        return torch.from_numpy(image).permute(2, 0, 1)[None].float().contiguous() / 255

    def _uncovered(self, row: int) -> Float[np.ndarray, "S S"]:
        return uncovered(self.packed, row, self._matrix, self.settings.size)

    def _cover(self, row: int, number: int, clean: Tensor, face: Tensor, points: Tensor) -> Occlusion:
        rng = np.random.default_rng([self.settings.seed, 4, row, number])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        # Pieces of other people come from earlier photos only: those are there whatever the limit.
        other = self._crop(int(rng.integers(row))) if row else None
        made = occlude(
            clean,
            face,
            points=points,
            family=self.settings.family,
            coverage=self.settings.coverage,
            generator=generator,
            other_images=other,
            second=self.settings.second,
        )
        image, mask = made.image, made.mask
        if self.settings.harsh:
            image = harsh(image, 1.0, np.random.default_rng([self.settings.seed, 10, row, number]))
        if self.settings.pixels:
            image = shrunk(image, self.settings.pixels, 0.0, generator)
        if self.settings.cut:
            image, inside = cut_off(image, points, 1.0, [self.settings.seed, 11, row, number])
            mask = mask * inside
        return replace(made, image=image, mask=mask)


def _whole(image: Tensor) -> Tensor:
    return (image * 255).round().clamp(0, 255) / 255

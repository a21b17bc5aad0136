"""Training batches of clean photos and their occluded twins, a pure function of (seed, step).

Because a batch depends on nothing but the seed and the step, a killed run resumes with exactly the batch it
would have seen next, whatever the number of workers.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occface_core.data.crop import CROP_SCALE
from occface_core.data.degrade import as_shown
from occface_core.data.draws import PhotoDraw
from occface_core.data.packed import PACK_SCALE, PackedPhotos
from occface_core.data.ranges import check_share_range
from occface_core.errors import ConfigError
from occface_core.occlusion.api import occlude
from occface_core.occlusion.face_points import estimate_depth, face_mask_from_points


@dataclass(frozen=True)
class BatchConfig:
    """How a batch is drawn. Angles in degrees, shifts and scales relative to the crop's side.

    `person_share`: part of the batch that comes as two photos of one person each, where the photos tell.
    `closed_eyes_share`: part of the batch whose eyes are all but closed, where there are such photos.
    `stretch_share`: part of the crops that are wider or narrower than they should be, see `draw_stretch`.
    """

    batch_size: int = 64
    size: int = 112
    scale_jitter: float = 0.14
    shift_jitter: float = 0.06
    roll_jitter: float = 15.0
    colour_jitter: float = 0.25
    occlude: bool = False
    family: str = "random"
    clean_share: float = 0.2
    coverage: tuple[float, float] = (0.1, 0.6)
    second_share: float = 0.0
    poor_share: float = 0.0
    harsh_share: float = 0.0
    duplicates: int = 1
    person_share: float = 0.0
    closed_eyes_share: float = 0.0
    stretch_share: float = 0.0
    cut_share: float = 0.0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size {self.batch_size} must be at least 1")
        shown = ("clean_share", "second_share", "poor_share", "harsh_share", "cut_share")
        for name in (*shown, "person_share", "closed_eyes_share", "stretch_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} {getattr(self, name)} must be within 0..1")
        check_share_range("coverage", self.coverage, may_be_one_value=False)
        if self.duplicates < 1:
            raise ConfigError(f"duplicates {self.duplicates} must be at least 1")
        if self.person_share and self.duplicates > 1:
            raise ConfigError("a batch has either several photos of a person or duplicates of a photo")
        if self.batch_size % self.duplicates:
            raise ConfigError(
                f"batch_size {self.batch_size} is not a multiple of duplicates {self.duplicates}"
            )


@dataclass(frozen=True)
class TwinBatch:
    """Clean crops, occluded twins (equal to the clean ones where `occlude` is off), masks and landmarks.

    Attributes:
        clean, occluded: (B,3,S,S) RGB in [0,1].
        outline: (B,1,S,S) 1 = inside the outline of the landmarks, the whole face.
        face_mask: (B,1,S,S) 1 = face skin in the clean crop: the outline less what is known to lie under hair
            and the like. `visible`: what the occluder leaves of it.
        points: (B,468,2) MediaPipe landmarks, crop pixels.
        coverage: (B,) share of the face hidden. `family`: name per image, "clean" where nothing was painted.
        index: (B,) row in the pack. person: (B,) number of the person, photos of one person share it.
        turned: (B,) photos turned out of their plane (data/profiling.py). fit: (B,236) their codes, else 0.
    """

    clean: Float[Tensor, "B 3 S S"]
    occluded: Float[Tensor, "B 3 S S"]
    outline: Float[Tensor, "B 1 S S"]
    face_mask: Float[Tensor, "B 1 S S"]
    visible: Float[Tensor, "B 1 S S"]
    points: Float[Tensor, "B 468 2"]
    coverage: Float[Tensor, "B"]
    family: list[str]
    index: Tensor
    person: Tensor
    turned: Bool[Tensor, "B"] | None = None
    fit: Float[Tensor, "B 236"] | None = None

    def to(self, device: torch.device | str) -> "TwinBatch":
        """The same batch on `device`."""
        moved = {
            k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in vars(self).items()
        }
        return TwinBatch(**moved)  # type: ignore[arg-type]


def jitter_matrix(rng: np.random.Generator, config: BatchConfig, pack_size: int) -> np.ndarray:
    """2x3 affine from pack pixels to crop pixels: scale, roll and shift around the standard crop."""
    scale = np.exp(rng.uniform(-1, 1) * config.scale_jitter)
    side = pack_size * CROP_SCALE / PACK_SCALE * scale
    angle = np.deg2rad(np.clip(rng.normal(0, 0.5), -1, 1) * config.roll_jitter)
    shift = rng.uniform(-1, 1, 2) * config.shift_jitter * side
    zoom = config.size / side
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    if config.stretch_share and rng.random() < config.stretch_share:
        linear = linear @ widening(draw_stretch(rng))
    return _centred(linear, config.size, pack_size / 2 + shift)


def draw_stretch(rng: np.random.Generator) -> float:
    """Change of a picture's aspect ratio: 10 to 40 %, three times in four wider.

    Many photos on the web were made to fit a frame of other proportions, wide ones above all.
    """
    return rng.uniform(1.1, 1.4) ** (1 if rng.random() < 0.75 else -1)


def widening(factor: float) -> np.ndarray:
    """2x2 matrix that makes width over height `factor` times as large.

    The area stays, as the side of a crop is the mean of both sides of a face's box.
    """
    return np.diag([factor**0.5, factor**-0.5])


def still_matrix(size: int, pack_size: int, stretch: float = 1.0) -> np.ndarray:
    """2x3 affine from pack pixels to those of the standard crop, `size` pixels wide, perhaps widened."""
    zoom = size / (pack_size * CROP_SCALE / PACK_SCALE)
    return _centred(zoom * widening(stretch), size, np.full(2, pack_size / 2))


def _centred(linear: np.ndarray, size: int, centre: np.ndarray) -> np.ndarray:
    """2x3 affine that brings `centre` to the middle of a crop."""
    offset = size / 2 - linear @ centre
    return np.concatenate([linear, offset[:, None]], axis=1)


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Warp with pixel centres at +0.5 (OpenCV puts them at integers)."""
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(
        image, shifted, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def uncovered(
    packed: PackedPhotos, row: int, matrix: np.ndarray, size: int
) -> Float[np.ndarray, "{size} {size}"]:
    """1 where nothing covers the face in the photo itself, as far as the pack knows, in the warped crop."""
    if packed.hidden is None:
        return np.ones((size, size), np.float32)
    return 1 - warp(packed.hidden_mask(row), matrix, size).astype(np.float32) / 255


def colour_jitter(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Gain, channel cast, gamma, saturation, now and then blur or noise: float32 in [0,1]."""
    x = image.astype(np.float32) * np.float32(1 / 255)
    if strength <= 0:
        return x
    gain = np.exp(rng.uniform(-1, 1) * strength) * np.exp(rng.normal(0, 0.25 * strength, 3))
    x = np.clip(x * gain.astype(np.float32), 0, 1)
    if rng.random() < 0.4:
        x = x ** np.float32(np.exp(rng.uniform(-1, 1) * strength))
    saturation = 0.0 if rng.random() < 0.06 else 1 + rng.uniform(-1, 1) * strength
    grey = x.mean(axis=2, keepdims=True)
    x = grey + np.float32(saturation) * (x - grey)
    if rng.random() < 0.15:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.5, 1.6))
    if rng.random() < 0.25:
        x = x + rng.normal(0, rng.uniform(0.005, 0.04), x.shape).astype(np.float32)
    return np.clip(x, 0, 1)


class TwinSampler:
    """Map-style dataset whose item i is the whole batch of step i.

    Args:
        packed: crops with at least 468 MediaPipe landmarks each.
        config: batch settings.
        seed: run seed.
        mirror: (468,) index of each landmark's mirror image, for horizontal flips.
        mean_points: (468,3) landmarks of the mean head, metres, to give 2D landmarks a depth.
        augment: off for evaluation: no jitter, no flips, photos in order.
    """

    def __init__(
        self,
        packed: PackedPhotos,
        config: BatchConfig,
        *,
        seed: int,
        mirror: np.ndarray,
        mean_points: Tensor,
        augment: bool = True,
    ) -> None:
        if packed.points.shape[1] < 468:
            raise ConfigError(
                f"training needs 468 MediaPipe landmarks per photo, got {packed.points.shape[1]}"
            )
        self.packed, self.config, self.seed, self.augment = packed, config, seed, augment
        self.mirror, self.mean_points = mirror, mean_points
        self.photos_per_batch = config.batch_size // config.duplicates
        self.draw = PhotoDraw(
            packed.identities,
            packed.points,
            person_share=config.person_share,
            closed_eyes_share=config.closed_eyes_share,
            seed=seed,
        )

    def __len__(self) -> int:
        return -(-len(self.packed) // self.photos_per_batch)

    def indices(self, step: int) -> np.ndarray:
        """Rows of the pack in this step's batch, see `PhotoDraw`; in order where nothing is augmented."""
        n, k = len(self.packed), self.photos_per_batch
        rows = self.draw(step, k) if self.augment else np.arange(step * k, min((step + 1) * k, n))
        return np.repeat(rows, self.config.duplicates)

    def _crop(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (S,S,3) in [0,1], landmarks (468,2), and (S,S) 1 where nothing covers the face."""
        config, pack_size = self.config, self.packed.size
        still = still_matrix(config.size, pack_size)
        matrix = jitter_matrix(rng, config, pack_size) if self.augment else still
        image = warp(self.packed.images[row], matrix, config.size)
        points = self.packed.points[row, :468] @ matrix[:, :2].T + matrix[:, 2]
        bare = uncovered(self.packed, row, matrix, config.size)
        if self.augment and rng.random() < 0.5:
            image, bare = image[:, ::-1], bare[:, ::-1]
            points = points[self.mirror]
            points[:, 0] = config.size - points[:, 0]
        strength = config.colour_jitter if self.augment else 0.0
        return colour_jitter(image, rng, strength), points.astype(np.float32), bare

    def __getitem__(self, step: int) -> TwinBatch:
        rows = self.indices(step)
        crops: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for i, row in enumerate(rows):
            # Duplicates of one photo share their crop: only the occluder differs.
            key = i // self.config.duplicates
            if i % self.config.duplicates:
                crops.append(crops[-1])
            else:
                crops.append(self._crop(int(row), np.random.default_rng([self.seed, 2, step, key])))
        clean = torch.from_numpy(np.stack([c[0] for c in crops])).permute(0, 3, 1, 2).contiguous()
        points = torch.from_numpy(np.stack([c[1] for c in crops]))
        bare = torch.from_numpy(np.stack([c[2] for c in crops]))[:, None]
        outline = face_mask_from_points(points, self.config.size, self.config.size)
        face = outline * bare
        family, person = ["clean"] * len(rows), torch.from_numpy(self.draw.person[rows])
        index, zero = torch.from_numpy(rows), torch.zeros(len(rows))
        batch = TwinBatch(clean, clean, outline, face, face, points, zero, family, index, person)
        return self._occluded(step, batch, bare) if self.config.occlude else batch

    def _occluded(self, step: int, batch: TwinBatch, bare: Tensor) -> TwinBatch:
        generator = torch.Generator().manual_seed(
            int(np.random.default_rng([self.seed, 3, step]).integers(2**62))
        )
        result = occlude(
            batch.clean,
            batch.outline,
            points=estimate_depth(batch.points, mean_points=self.mean_points),
            family=self.config.family,
            coverage=self.config.coverage,
            second=self.config.second_share,
            generator=generator,
            other_images=batch.clean.flip(0),
        ).sparing(batch.clean, batch.outline, self.config.clean_share, generator)
        shown, inside = as_shown(
            result.image,
            batch.points,
            poor_share=self.config.poor_share,
            harsh_share=self.config.harsh_share,
            cut_share=self.config.cut_share,
            seed=[self.seed, 7, step],
        )
        return replace(
            batch,
            occluded=shown,
            visible=result.mask * bare * inside,
            coverage=result.coverage,
            family=result.family,
        )

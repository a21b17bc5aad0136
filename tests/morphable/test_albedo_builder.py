"""Building the albedo model: alignment, light, components, and the whole without and with photos."""

from pathlib import Path

import numpy as np
import pytest

from occface_core.errors import AssetError, ConfigError, DataError
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.albedo_basis import learn_face
from occface_core.morphable.albedo_builder import AlbedoArrays, build_albedo, write_albedo
from occface_core.morphable.albedo_chart import SIZE, FaceChart, face_chart, inside_polygon
from occface_core.morphable.albedo_photos import (
    FaceSampler,
    FaceSamples,
    align,
    fit_light,
    light_basis,
    relative_shading,
    sample,
    usable,
    warp_weights,
)
from occface_core.morphable.head_model import HeadModel


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return HeadModel.load()


@pytest.fixture(scope="module")
def chart(head: HeadModel) -> FaceChart:
    return face_chart(head)


@pytest.fixture(scope="module")
def photo_free(head: HeadModel) -> AlbedoArrays:
    return build_albedo(head, size=128, component_size=64)


def turned(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])


def photo_points(chart: FaceChart, rotation: np.ndarray, scale: float = 900.0) -> np.ndarray:
    return scale * (chart.landmarks @ rotation.T)[:, :2] * np.array([1, -1]) + np.array([120, 125])


def test_polygon_distance_is_signed() -> None:
    square = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    points = np.array([[1.0, 1], [1, 0.5], [3, 1], [-3, -4]])
    np.testing.assert_allclose(inside_polygon(points, square), [1, 0.5, -1, -5])
    np.testing.assert_allclose(inside_polygon(points, square[::-1]), [1, 0.5, -1, -5])


def test_chart_is_symmetric_and_reads_back(chart: FaceChart) -> None:
    np.testing.assert_array_equal(chart.face, chart.face[:, ::-1])
    np.testing.assert_allclose(chart.position[..., 0], -chart.position[:, ::-1, 0], atol=2e-3)
    cells = chart.cells
    read = chart.lookup(chart.position, chart.position[cells])
    solid = chart.face[cells] > 0.9
    assert np.median(np.linalg.norm(read - chart.position[cells], axis=1)[solid]) < 1e-4
    behind = np.array([[0.0, 0.0, -0.1]])
    assert not chart.lookup(np.ones((SIZE, SIZE, 1)), behind).any()


def test_alignment_recovers_a_pose(chart: FaceChart) -> None:
    pose = align(photo_points(chart, turned(0.2)), chart.landmarks)
    np.testing.assert_allclose(pose.rotation, turned(0.2), atol=1e-6)
    assert pose.scale == pytest.approx(900)
    np.testing.assert_allclose(pose.residual, 0, atol=1e-6)


def test_only_calm_frontal_large_faces_are_used(chart: FaceChart) -> None:
    def verdict(points: np.ndarray) -> bool:
        return usable(points, align(points, chart.landmarks))

    good = photo_points(chart, turned(0.1))
    assert verdict(good)
    assert not verdict(photo_points(chart, turned(0.6)))
    assert not verdict(photo_points(chart, turned(0.1), scale=300))
    open_mouth = good.copy()
    open_mouth[14, 1] += 12
    assert not verdict(open_mouth)


def test_warp_passes_through_landmarks(chart: FaceChart, rng: np.random.Generator) -> None:
    weights = warp_weights(chart.landmarks, chart.landmarks, smoothing=1e-9)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    residual = rng.normal(size=(468, 2))
    np.testing.assert_allclose(weights @ residual, residual, atol=1e-3)


def test_bilinear_sampling() -> None:
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    image[0, 1], image[1, 1] = 255, 51
    places = np.array([[1.5, 0.5], [1.5, 1.0], [1.0, 0.5], [-5, -5]])
    np.testing.assert_allclose(sample(image, places)[:, 0], [1, 0.6, 0.5, 0], atol=2e-3)


def test_light_is_recovered_despite_outliers(rng: np.random.Generator) -> None:
    normals = rng.normal(size=(800, 3)) + np.array([0, 0, 1.5])
    basis = light_basis(normals / np.linalg.norm(normals, axis=1, keepdims=True))
    albedo, weights = rng.uniform(0.4, 0.7, (800, 3)), np.ones(800)
    light = rng.normal(size=(9, 3)) * 0.08
    light[0] = [0.9, 0.8, 1.0]
    colours = (basis @ light) * albedo
    colours[:60] = 0.05
    found = relative_shading(fit_light(colours, albedo, basis, weights), basis, weights)
    error = np.abs(found - relative_shading(light, basis, weights))
    # Higher bands are held back on purpose, so the rare sideways normals are off by more.
    assert error.mean() < 0.015
    assert np.quantile(error, 0.9) < 0.03
    np.testing.assert_allclose(found.mean(0), 1, atol=1e-6)


def test_components_are_learned_from_lit_photos(chart: FaceChart, rng: np.random.Generator) -> None:
    """60 photos that differ in light, tone and one symmetric patch: the first component is the patch."""
    rows, columns = chart.cells
    patch = np.exp(-((rows - SIZE * 0.66) ** 2 + (np.abs(columns - SIZE / 2) - 20) ** 2) / 90)[:, None]
    patch = patch * [0.02, -0.10, -0.08]
    normals = chart.normal[chart.cells]
    colours, amounts = [], rng.normal(size=60)
    for amount in amounts:
        light = np.array([0.9, *rng.normal(size=3) * 0.15, *rng.normal(size=5) * 0.03])[:, None]
        albedo = np.array([0.66, 0.5, 0.42]) * (1 + 0.15 * rng.normal()) + amount * patch
        colours.append((albedo * (light_basis(normals) @ light)).clip(0, 1) * 255)
    samples = FaceSamples(np.stack(colours).astype(np.uint8), np.tile(np.eye(3), (60, 1, 1)))
    basis = learn_face(chart, samples, 3)
    first = basis.residuals[0][chart.cells].ravel()
    assert abs(np.corrcoef(first, patch.ravel())[0, 1]) > 0.9
    assert basis.explained[0] > 0.5
    assert basis.tone[0] > basis.tone[1] > basis.tone[2]
    np.testing.assert_allclose(basis.mean, basis.mean[:, ::-1], atol=1e-9)


def test_photo_free_model_is_whole(photo_free: AlbedoArrays) -> None:
    assert photo_free.mean.shape == (3, 128, 128)
    assert photo_free.components.shape == (50, 3, 64, 64)
    assert photo_free.names[:4] == ("melanin", "haemoglobin", "undertone", "iris")
    assert photo_free.photos == 0
    assert (np.abs(photo_free.components).max((1, 2, 3)) == 127).all()
    # Melanin colours the whole skin, residual components only the face.
    touched = [(np.abs(c).max(0) > 2).mean() for c in photo_free.components]
    assert touched[0] > 2 * max(touched[4:])
    assert (photo_free.components[0] <= 0).all()


def test_written_file_reads_back(head: HeadModel, photo_free: AlbedoArrays, tmp_path: Path) -> None:
    path = tmp_path / "out" / "albedo.safetensors"
    write_albedo(photo_free, head, path)
    model = AlbedoModel.load(path)
    assert (model.size, model.n_components, model.head_name) == (128, 50, head.name)
    np.testing.assert_allclose(model.mean, photo_free.mean / 255, atol=1e-6)
    assert model.names == photo_free.names


def test_unusable_input_is_refused(head: HeadModel, chart: FaceChart, tiny_head: HeadModel) -> None:
    grey = np.full((250, 240, 3), 128, dtype=np.uint8)
    points = photo_points(chart, turned(0.0))
    assert not FaceSampler(chart).add(grey, points)
    assert FaceSampler(chart).add(grey + np.array([40, 0, 0], dtype=np.uint8), points)
    with pytest.raises(DataError, match="no photo shows"):
        build_albedo(head, [(grey, points)])
    with pytest.raises(ConfigError, match="too few"):
        build_albedo(head, n_components=4)
    with pytest.raises(AssetError):
        build_albedo(tiny_head)

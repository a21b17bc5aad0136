"""From photo to Reconstruction: geometry back in photo pixels, masks, bad input."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.data.crop import square_from_box
from occface_core.errors import (
    AssetError,
    BoxError,
    CheckpointError,
    ConfigError,
    ImageError,
    NoFaceError,
    OccFaceError,
)
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.pipeline.loading import check_fit
from occface_core.pipeline.reconstructor import FaceReconstructor, Reconstruction

Maker = Callable[..., FaceReconstructor]
EncoderMaker = Callable[..., FaceEncoder]
BOX = [80.0, 50.0, 150.0, 130.0]


def test_a_small_face_has_a_texture_as_small_as_the_albedo(make: Maker, photo: np.ndarray) -> None:
    reconstructor = make()
    small = reconstructor.reconstruct(photo, box=[100.0, 80.0, 130.0, 112.0])
    large = reconstructor.reconstruct(photo, box=BOX)
    assert small.texture is not None
    assert large.texture is not None
    assert (len(small.texture), len(large.texture)) == (48, 96)
    assert large.texture_visibility is not None
    assert large.texture_visibility.shape == (96, 96)


def test_fields_have_the_promised_shapes(make: Maker, photo: np.ndarray, egg_head: HeadModel) -> None:
    result = make().reconstruct(photo, box=BOX)
    count = egg_head.n_vertices
    shapes = {
        "verts": (count, 3),
        "verts_neutral": (count, 3),
        "verts_image": (count, 3),
        "faces": tuple(egg_head.faces.shape),
        "landmarks68_2d": (68, 2),
        "landmarks_now7": (7, 3),
        "face_mask": (180, 240),
        "vertex_visibility": (count,),
        "albedo": (48, 48, 3),
        "texture": (96, 96, 3),  # the face is larger in the photo than the albedo could show it
        "code": (236,),
    }
    assert {name: getattr(result, name).shape for name in shapes} == shapes
    assert result.face_mask.dtype == np.uint8
    assert set(np.unique(result.face_mask)) == {0, 1}
    assert result.code_layout == "deca236"
    assert result.vertex_sigma_mm is None
    assert result.parameters["exp"].shape == (50,)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.code = result.code  # type: ignore[misc]


def test_vertices_land_where_camera_and_crop_say(make: Maker, photo: np.ndarray) -> None:
    result = make().reconstruct(photo, box=BOX)
    square = square_from_box(np.array(BOX))
    scale = result.parameters["cam"][0] * square.side / 2
    np.testing.assert_allclose(
        result.verts_image[:, 0], square.centre_x + scale * result.verts[:, 0], atol=1e-3
    )
    np.testing.assert_allclose(
        result.verts_image[:, 1], square.centre_y - scale * result.verts[:, 1], atol=1e-3
    )
    np.testing.assert_allclose(result.verts_image[:, 2], -scale * result.verts[:, 2], atol=1e-3)
    corner = result.crop_to_original @ [0, 0, 1]
    np.testing.assert_allclose(corner[:2], [square.left, square.top], atol=1e-9)


def test_landmarks_follow_the_vertices(
    fixed_encoder: EncoderMaker, make: Maker, photo: np.ndarray, egg_head: HeadModel
) -> None:
    result = make(encoder=fixed_encoder(turn=0.3)).reconstruct(photo, box=BOX)
    pose = torch.from_numpy(result.parameters["pose"])[None, :3]
    verts = torch.from_numpy(result.verts_image)[None]
    expected = egg_head.landmarks(verts, "68", global_pose=pose)[0, :, :2]
    np.testing.assert_allclose(result.landmarks68_2d, expected.numpy(), atol=1e-3)


def test_the_networks_mask_limits_what_counts_as_seen(make: Maker, photo: np.ndarray) -> None:
    result = make().reconstruct(photo, box=BOX)
    middle = round(square_from_box(np.array(BOX)).centre_x)
    assert result.face_mask[:, middle + 2 :].sum() == 0
    assert result.face_mask[80:100, middle - 10 : middle - 2].all()
    assert 0.4 < result.visible_fraction < 0.6
    x = result.verts_image[:, 0]
    front = result.verts[:, 2] > 0.07
    assert result.vertex_visibility[front & (x < middle - 3)].min() > 0.9
    assert result.vertex_visibility[x > middle + 3].max() < 0.01
    assert result.vertex_visibility[result.verts[:, 2] < -0.02].max() == 0


def test_without_a_mask_head_the_rendered_face_is_the_mask_and_a_note_says_so(
    fixed_encoder: EncoderMaker, make: Maker, photo: np.ndarray
) -> None:
    result = make(encoder=fixed_encoder(mask=False)).reconstruct(photo, box=BOX)
    assert result.visible_fraction == 1
    assert any("predicts no occlusion" in note for note in result.notes)


def test_the_rim_of_a_covering_thing_stays_out_of_the_texture(make: Maker) -> None:
    square = square_from_box(np.array(BOX))
    middle = square.left + square.side / 2  # the network says that everything right of it is covered
    blue = np.zeros((180, 240, 3), np.uint8)
    blue[..., 0] = 200
    blue[:, round(middle - square.side / 56) :] = (0, 0, 255)  # and is one cell late
    result = make().reconstruct(blue, box=BOX)
    assert result.texture is not None
    assert result.texture_visibility is not None
    seen = result.texture_visibility > 0.05
    assert seen.mean() > 0.05
    assert result.texture[seen][:, 2].max() < 0.51  # the grey albedo where half seen, nowhere blue


def test_texture_shows_the_photo_where_seen_then_its_mirror_image_then_albedo(make: Maker) -> None:
    red = np.zeros((180, 240, 3), np.uint8)
    red[..., 0] = 255
    result = make().reconstruct(red, box=BOX)
    assert result.texture is not None
    assert result.texture_visibility is not None
    seen, hidden = result.texture_visibility > 0.99, result.texture_visibility < 0.01
    np.testing.assert_allclose(result.texture[seen], np.broadcast_to([1.0, 0, 0], (seen.sum(), 3)), atol=0.02)
    # The other side of the face, where that is seen.
    mirrored = hidden & (result.texture_visibility[:, ::-1] > 0.99)
    assert mirrored.sum() > 200
    other_side = result.texture[mirrored][:, 1:]
    assert (other_side < 0.02).mean() > 0.6  # its border fades out
    assert other_side.max() < 0.15
    # Else the grey albedo, as red as light may make it, and nearer to the photo's red beside what is known.
    filled = result.texture[hidden & (result.texture_visibility[:, ::-1] < 0.01)]
    np.testing.assert_allclose(filled[:, 0], 1, atol=0.03)
    np.testing.assert_allclose(np.median(filled, 0), [1.0, 0.2, 0.2], atol=0.01)
    assert 0.05 < filled[:, 1:].min() < 0.12
    assert filled[:, 1:].max() < 0.21
    assert 0.05 < seen.mean() < 0.3
    assert result.mesh("posed").texture is not None
    assert make(albedo=False).reconstruct(red, box=BOX).texture is None


def test_sigma_is_spread_from_regions_and_nan_elsewhere(
    fixed_encoder: EncoderMaker, make: Maker, photo: np.ndarray
) -> None:
    result = make(encoder=fixed_encoder(sigma=True)).reconstruct(photo, box=BOX)
    sigma = result.vertex_sigma_mm
    assert sigma is not None
    assert np.isnan(sigma[result.verts_neutral[:, 2] < 0]).all()
    assert {1.5, 2.0} >= set(np.round(sigma[np.isfinite(sigma)], 3))
    assert "sigma_mm" in result.mesh().vertex_properties


def test_a_given_box_is_kept_and_the_detector_not_asked(make: Maker, photo: np.ndarray) -> None:
    model = make([10, 10, 50, 60])
    result = model.reconstruct(photo, box=BOX)
    np.testing.assert_array_equal(result.box, BOX)
    assert (result.detection_score, model.detector.seen) == (None, 0)


def test_a_detected_box_is_corrected_by_its_landmarks(make: Maker, photo: np.ndarray) -> None:
    model = make(BOX)
    result = model.reconstruct(photo)
    assert model.encoder.calls == [1, 1]
    assert result.detection_score == pytest.approx(0.9)
    first = make(BOX).reconstruct(photo, refine=False)
    lowest, highest = first.landmarks68_2d.min(0), first.landmarks68_2d.max(0)
    np.testing.assert_allclose(result.box, [*lowest, *highest], atol=1e-3)


def test_a_correction_that_strays_is_dropped_with_a_note(
    fixed_encoder: EncoderMaker, make: Maker, photo: np.ndarray
) -> None:
    encoder = fixed_encoder()
    encoder.code[encoder.layout.slices["cam"].start + 1] = 0.09  # far to the side
    result = make(BOX, encoder=encoder).reconstruct(photo)
    np.testing.assert_array_equal(result.box, BOX)
    assert any("strayed" in note for note in result.notes)


def test_the_largest_of_several_faces_is_taken_and_said(make: Maker, photo: np.ndarray) -> None:
    result = make([10, 10, 30, 30], BOX, [200, 10, 220, 40]).reconstruct(photo, refine=False)
    np.testing.assert_array_equal(result.box, BOX)
    assert "3 faces were found; the largest was taken" in result.notes


def test_no_face_is_an_error_with_a_cure(make: Maker, photo: np.ndarray) -> None:
    with pytest.raises(NoFaceError, match="no face was found; give its box"):
        make().reconstruct(photo)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([300, 10, 400, 90], "outside the 240x180 image"),
        ([50, 50, 40, 90], "empty"),
        ([0, 0, float("nan"), 5], "not finite"),
        ([1, 2, 3], "give x0, y0, x1, y1"),
        (["a", 2, 3, 4], "not numbers"),
    ],
)
def test_bad_boxes(make: Maker, photo: np.ndarray, box: list, words: str) -> None:
    with pytest.raises(BoxError, match=words):
        make().reconstruct(photo, box=box)


def test_a_face_cut_by_the_border_works(make: Maker, photo: np.ndarray) -> None:
    result = make().reconstruct(photo, box=[-30, -40, 50, 60])
    assert np.isfinite(result.verts_image).all()
    outside = (result.verts_image[:, :2] < 0).any(1)
    assert outside.any()
    assert result.vertex_visibility[outside].max() == 0


@pytest.mark.parametrize(
    "image", [np.zeros((180, 240), np.uint8), np.zeros((180, 240, 4), np.uint8), np.zeros((180, 240, 3))]
)
def test_grey_transparent_and_float_arrays(make: Maker, image: np.ndarray) -> None:
    assert isinstance(make().reconstruct(image, box=BOX), Reconstruction)


def test_bad_arrays_are_refused(make: Maker) -> None:
    with pytest.raises(ImageError, match="NaN"):
        make().reconstruct(np.full((180, 240, 3), np.nan), box=BOX)
    with pytest.raises(ImageError, match="1x1"):
        make().reconstruct(np.zeros((1, 1, 3), np.uint8), box=BOX)


def test_a_very_wide_photo(make: Maker) -> None:
    wide = np.zeros((64, 20_000, 3), np.uint8)
    result = make().reconstruct(wide, box=[15_000, 10, 15_050, 60])
    assert result.face_mask.shape == (64, 20_000)
    assert result.face_mask[:, 14_990:15_060].any()


def test_a_batch_is_the_same_as_one_by_one_and_keeps_errors_in_place(make: Maker, photo: np.ndarray) -> None:
    model = make()
    encoder = FaceEncoder(EncoderConfig("mobilenet_v3_small", 64, head="egg", mask_size=16))
    model = make(encoder=encoder)
    tiny = np.zeros((3, 3, 3), np.uint8)
    images, boxes = [photo, tiny, photo[:, ::-1], photo], [BOX, BOX, BOX, None]
    results = model.reconstruct_batch(images, boxes=boxes)
    assert [type(r) for r in results] == [Reconstruction, ImageError, Reconstruction, NoFaceError]
    alone = model.reconstruct(images[2], box=BOX)
    assert isinstance(results[2], Reconstruction)
    np.testing.assert_allclose(results[2].verts_image, alone.verts_image, atol=1e-3)


def test_a_head_that_does_not_fit_the_network_is_refused(
    fixed_encoder: EncoderMaker, egg_head: HeadModel
) -> None:
    with pytest.raises(CheckpointError, match="trained for head 'egg', not 'open'"):
        check_fit(fixed_encoder(), egg_head, "custom", "open")


def test_unknown_devices_and_heads(
    fixed_encoder: EncoderMaker, egg_head: HeadModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="warp"):
        FaceReconstructor(fixed_encoder(), egg_head, "warp")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA"):
            FaceReconstructor(fixed_encoder(), egg_head, "cuda")
    monkeypatch.setenv("OCCFACE_FLAME", str(tmp_path / "none.safetensors"))
    with pytest.raises(OccFaceError, match="import-flame"):
        FaceReconstructor(fixed_encoder(), "flame", "cpu")


def test_a_head_without_landmarks_is_refused_at_once(
    fixed_encoder: EncoderMaker, egg_head: HeadModel
) -> None:
    names = ("v_template", "faces", "joint_regressor", "skin_weights")
    arrays = {name: getattr(egg_head, name) for name in names}
    arrays |= {"shapedirs": egg_head.shapedirs, "expressiondirs": egg_head.expressiondirs}
    arrays |= {"posedirs": egg_head.posedirs, "parents": torch.tensor([-1, 0, 1, 1, 1])}
    with pytest.raises(AssetError, match=r"no '68' landmarks; import it again .*--landmarks"):
        FaceReconstructor(fixed_encoder(), HeadModel.from_arrays(arrays), "cpu")

"""68-point errors: what a known prediction scores, streaming, and photos that cannot be measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.cli import main
from occface_core.data.synthetic import SyntheticFaces
from occface_core.errors import ConfigError, DataError, ImageError, OcclusionError
from occface_core.evaluation.landmark_covers import LandmarkCovers
from occface_core.evaluation.landmarks import (
    MEAN_HEAD,
    AnnotatedPhoto,
    evaluate_landmarks,
    fit_mean_head,
    predict68,
)
from occface_core.networks.checkpoints import save_encoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.rendering.cameras import to_pixels, weak_perspective


@pytest.fixture(scope="module")
def network() -> FaceEncoder:
    torch.manual_seed(0)
    net = FaceEncoder(EncoderConfig(input_size=64, mask_size=16)).eval()
    torch.nn.init.normal_(net.layers[2].weight, std=0.05)  # untrained ones say the same of every picture
    return net


@pytest.fixture(scope="module")
def photos(open_head, small_albedo) -> list[AnnotatedPhoto]:
    batch = SyntheticFaces(open_head, small_albedo, 80).sample(5, generator=torch.Generator().manual_seed(2))
    verts = open_head(batch.params.betas, batch.params.expression, batch.params.pose).verts
    points = to_pixels(weak_perspective(open_head.landmarks(verts, "68_static"), batch.params.camera), 80)
    images = (batch.image.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    return [
        AnnotatedPhoto(f"{i}", lambda i=i: images[i], points[i, :, :2].double().numpy()) for i in range(5)
    ]


def test_batches_do_not_change_the_figures(network: FaceEncoder, open_head, photos) -> None:
    whole = evaluate_landmarks({"net": network}, open_head, photos)
    parts = evaluate_landmarks({"net": network}, open_head, iter(photos), batch_size=2)
    assert whole.names == parts.names == ["0", "1", "2", "3", "4"]
    assert set(whole.columns) == {
        f"{name}{part}" for name in ("net", "net, mean shape", MEAN_HEAD) for part in ("", "/inner")
    }
    for name, values in whole.columns.items():
        np.testing.assert_allclose(values, parts.columns[name], rtol=1e-4)


def test_covered_twins_are_measured_beside_the_photos(network: FaceEncoder, open_head, photos) -> None:
    covers = LandmarkCovers(network, open_head, "stripes", (0.3, 0.5), seed=4)
    whole = evaluate_landmarks({"a": network, "b": network}, open_head, photos, covers=covers)
    parts = evaluate_landmarks({"a": network}, open_head, photos, covers=covers, batch_size=2)
    assert whole.names == parts.names
    np.testing.assert_allclose(whole.columns["a, covered"], parts.columns["a, covered"], rtol=1e-4)
    np.testing.assert_array_equal(whole.columns["a, covered"], whole.columns["b, covered"])  # same pixels
    np.testing.assert_array_equal(
        whole.columns["a"], evaluate_landmarks({"a": network}, open_head, photos).columns["a"]
    )
    assert not np.allclose(whole.columns["a"], whole.columns["a, covered"])
    (shares,) = whole.hidden.values()
    assert shares.shape == (5,)
    assert ((shares > 0.2) & (shares < 0.6)).all()


def test_a_photo_that_cannot_be_read_does_not_move_the_others_covers(
    network: FaceEncoder, open_head, photos
) -> None:
    def broken() -> np.ndarray:
        raise ImageError("truncated")

    covers = LandmarkCovers(network, open_head, "irrational", seed=1)
    holed = [photos[0], AnnotatedPhoto("bad", broken, photos[1].points), *photos[2:]]
    whole = evaluate_landmarks({"a": network}, open_head, photos, covers=covers)
    rest = evaluate_landmarks({"a": network}, open_head, holed, covers=covers)
    kept = [0, 2, 3, 4]
    np.testing.assert_allclose(rest.columns["a, covered"], whole.columns["a, covered"][kept], rtol=1e-4)


def test_covers_refuse_what_they_cannot_make(network: FaceEncoder, open_head) -> None:
    with pytest.raises(ConfigError, match="coverage"):
        LandmarkCovers(network, open_head, coverage=(0.6, 0.2))
    with pytest.raises(ConfigError, match="seed -1"):
        LandmarkCovers(network, open_head, seed=-1)
    with pytest.raises(OcclusionError, match="veil"):
        LandmarkCovers(network, open_head, family="veil")


def test_the_mean_head_fits_itself(open_head) -> None:
    own = open_head.landmarks(open_head.v_template[None], "68_static")[..., :2] * torch.tensor([500.0, -500])
    torch.testing.assert_close(fit_mean_head(open_head, own + 30), own + 30, atol=0.05, rtol=0)


def test_only_the_visible_contour_slides(network: FaceEncoder, open_head) -> None:
    crops = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    fixed = predict68(network, open_head, crops, 64, contour="fixed")
    seen = predict68(network, open_head, crops, 64)
    torch.testing.assert_close(fixed[:, 17:], seen[:, 17:])


def test_bad_photos_are_named(network: FaceEncoder, open_head, photos) -> None:
    def broken() -> np.ndarray:
        raise ImageError("'x' is damaged")

    nan = AnnotatedPhoto("nan", photos[0].load, photos[0].points * np.nan)
    flat = AnnotatedPhoto("flat", photos[0].load, np.full((68, 2), 5.0))
    bad = [AnnotatedPhoto("x", broken, photos[0].points), nan, flat]
    scores = evaluate_landmarks({"net": network}, open_head, [*photos[:1], *bad])
    assert scores.names == ["0"]
    assert [name for name, _ in scores.left_out] == ["x", "nan", "flat"]
    with pytest.raises(DataError, match="'x' is damaged"):
        evaluate_landmarks({"net": network}, open_head, bad)


def test_the_command(photo_folder: Path, network: FaceEncoder, tmp_path: Path) -> None:
    save_encoder(network, tmp_path / "net.safetensors")
    model = f"net={tmp_path / 'net.safetensors'}"
    arguments = ["benchmark", "landmarks", "--images", str(photo_folder), "--limit", "3", "--model", model]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "landmarks.json").read_text())
    assert report["count"] == 3
    assert "ratio" not in report
    low, high = report["summary"]["net"]["ci95"]
    assert low <= report["summary"]["net"]["mean"] <= high
    assert "3 photos; 0 left out" in (tmp_path / "landmarks.md").read_text()

    covered = [*arguments, "--occlude", "irrational", "--reference", model[4:]]
    assert main([*covered, "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "landmarks.json").read_text())
    means = [report["summary"][name]["mean"] for name in ("net, covered", "net")]
    assert report["ratio"]["net"] == pytest.approx(means[0] / means[1])
    assert "NME covered / clean: net" in (tmp_path / "landmarks.md").read_text()
    assert main([*arguments, "--occlude", "veil", "--out", str(tmp_path)]) == 2


def test_the_annotation_can_be_moved_and_networks_look_both_ways(
    photo_folder: Path, network: FaceEncoder, tmp_path: Path
) -> None:
    save_encoder(network, tmp_path / "net.safetensors")
    model = f"net={tmp_path / 'net.safetensors'}"
    arguments = ["benchmark", "landmarks", "--images", str(photo_folder), "--limit", "4", "--model", model]

    def measured(*options: str) -> dict:
        assert main([*arguments, *options, "--out", str(tmp_path)]) == 0
        return json.loads((tmp_path / "landmarks.json").read_text())

    plain, moved, mirrored = measured(), measured("--shift", "40", "0"), measured("--mirrored")
    assert (plain["shift"], moved["shift"], mirrored["mirrored"]) == ([0, 0], [40, 0], True)
    # The crop follows the annotation, so the untrained network sees another one.
    assert moved["summary"]["net"]["mean"] != pytest.approx(plain["summary"]["net"]["mean"], rel=1e-3)
    assert mirrored["summary"]["net"]["mean"] != pytest.approx(plain["summary"]["net"]["mean"], rel=1e-4)


def test_predictions_of_others_are_no_network(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    np.savez(tmp_path / "others.npz", name=np.array(["a"]))
    arguments = ["benchmark", "landmarks", "--images", str(photo_folder), "--out", str(tmp_path)]
    assert main([*arguments, "--model", f"net={tmp_path / 'others.npz'}"]) == 2
    assert "others.npz" in capsys.readouterr().err

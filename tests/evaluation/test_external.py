"""Predictions from files: what is taken, what is named, what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.data.landmarks import mirror_pairs
from occface_core.errors import DataError
from occface_core.evaluation.external import External
from occface_core.evaluation.occlusion_rows import Rows
from occface_core.evaluation.predictions import Network, ibug68_of
from occface_core.evaluation.robustness import RobustnessBenchmark
from occface_core.evaluation.twins import EvaluationTwins, views_of

Arrays = dict[str, np.ndarray]
FIELDS = {
    "verts_neutral": "neutral",
    "verts_posed": "posed",
    "albedo": "albedo",
    "landmarks468": "landmarks468",
    "mask": "mask",
}


@pytest.fixture(scope="module")
def twins(make_twins: Callable) -> EvaluationTwins:
    return make_twins(4, covers=2)


@pytest.fixture(scope="module")
def network(open_head, small_albedo, made_up_network: Callable) -> Network:
    return Network(made_up_network(0.5), open_head, small_albedo)


@pytest.fixture(scope="module")
def told(twins: EvaluationTwins, network: Network) -> Arrays:
    """What the network says of every picture, as an outsider would store it, in another order."""
    parts: dict[str, list[np.ndarray]] = {}
    for step in range(len(twins)):
        for view in views_of(twins[step]):
            prediction = network.predict(twins[step], view)
            for field, attribute in FIELDS.items():
                parts.setdefault(f"{field}_{view}", []).append(getattr(prediction, attribute).numpy())
    arrays = {key: np.concatenate(values)[::-1] for key, values in parts.items()}
    # The made-up network does not look where the face is; landmarks must lie on it to be taken for pixels.
    for view in views_of(twins[0]):
        arrays[f"landmarks468_{view}"] = twins.points.numpy()[::-1] + np.float32(0.5)
    return arrays | {"twins": np.array(twins.identifier), "names": np.array(twins.packed.names[::-1])}


@pytest.fixture
def load(twins: EvaluationTwins, told: Arrays, open_head, tmp_path: Path) -> Callable[..., External]:
    def make(drop: tuple[str, ...] = (), **changed: np.ndarray) -> External:
        arrays = {k: v for k, v in (told | changed).items() if not k.startswith(drop or ("-",))}
        np.savez(tmp_path / "told.npz", **arrays)
        return External(tmp_path / "told.npz", twins, open_head)

    return make


@pytest.fixture
def measure(twins: EvaluationTwins, open_head, small_albedo, made_up_network: Callable, network: Network):
    def run(external: External) -> Rows:
        models = {"teacher": made_up_network(), "inside": network, "outside": external}
        return RobustnessBenchmark(open_head, small_albedo, models, reference="teacher").run(twins)

    return run


def changed(array: np.ndarray, place: object, value: object) -> np.ndarray:
    copy = array.copy()
    copy[place] = value
    return copy


def test_a_file_measures_like_the_network_that_wrote_it(load: Callable, measure: Callable) -> None:
    external = load()
    assert (external.problems, external.unusable, external.same_head) == ([], 0, True)
    rows = measure(external)
    figures = [name for name in rows.metrics if name.startswith("inside/") and "nme" not in name]
    assert len(figures) == 3 + 5 + 4 + 5 + 2
    for name in figures:
        outside = rows.array(name.replace("inside/", "outside/"))
        np.testing.assert_allclose(outside, rows.array(name), rtol=1e-4, atol=1e-6)
    # Half a pixel right and down of the truth.
    np.testing.assert_allclose(rows.array("outside/clean/nme"), rows.array("outside/occluded/nme"), rtol=1e-5)
    assert rows.array("outside/clean/nme68").max() < 0.03
    assert rows.array("outside/occluded/drift_nme68").max() < 1e-6


def test_half_precision_and_small_soft_masks_will_do(load: Callable, twins: EvaluationTwins) -> None:
    soft = np.zeros((10, 16, 16), np.float16)
    soft[:, :, :8] = 0.9
    external = load(mask_clean=soft, mask_occluded=soft, mask_cover2=soft)
    mask = external.predict(twins[0], "clean").mask
    assert mask.shape == (4, 64, 64)
    assert mask[:, :, :31].all()
    assert not mask[:, :, 33:].any()


def test_landmarks_alone_are_enough(load: Callable, measure: Callable, told: Arrays) -> None:
    external = load(drop=("verts", "albedo", "mask", "landmarks468_cover2"))
    rows = measure(external)
    own = {name.removeprefix("outside/") for name in rows.metrics if name.startswith("outside/")}
    assert own == {"clean/nme", "clean/nme68", "occluded/nme", "occluded/nme68", "occluded/drift_nme68"}
    assert "outside/clean" not in rows.sums


def test_another_mesh_is_compared_with_itself_only(
    load: Callable, measure: Callable, told: Arrays, open_head
) -> None:
    keep = np.flatnonzero(open_head.regions["face"].numpy() > 0.5)[::2]
    own = {k: v[:, keep] for k, v in told.items() if k.startswith(("verts_neutral", "albedo"))}
    own |= {"face_region": np.ones(len(keep)), "faces": np.array([[0, 1, 2]])}
    external = load(drop=("verts_posed",), **own)
    assert not external.same_head
    rows = measure(external)
    names = {name for name in rows.metrics if name.startswith("outside/")}
    assert not any(name.endswith(("shape_mm", "posed_mm", "/texture")) for name in names)
    assert {
        "outside/occluded/drift_mm",
        "outside/covers/identity_mm",
        "outside/covers/identity_texture",
    } < names
    np.testing.assert_allclose(
        rows.array("outside/occluded/drift_mm"), rows.array("inside/occluded/drift_mm"), rtol=0.1
    )
    assert rows.sums["outside/clean"].spread_mm == pytest.approx(rows.sums["inside/clean"].spread_mm, rel=0.1)
    assert not rows.sums["outside/clean"].errors.size
    with pytest.raises(DataError, match=r"face_region \(\d+,\) with 1 on the face"):
        load(drop=("verts_posed", "face_region"), **{k: v for k, v in own.items() if k != "face_region"})


def test_bad_photos_are_named_and_not_measured(load: Callable, measure: Callable, told: Arrays) -> None:
    external = load(
        names=changed(told["names"], 0, "someone else"),
        verts_neutral_occluded=changed(told["verts_neutral_occluded"], (3, 7, 1), np.nan),
        mask_clean=changed(told["mask_clean"].astype(np.float32), (4, 0, 0), np.inf),
    )
    names = told["names"].tolist()
    assert sorted(external.problems) == sorted(
        [
            (names[0], "no prediction"),
            ("someone else", "no such photo among the twins"),
            (names[3], "verts_neutral_occluded is not finite"),
            (names[4], "mask_clean is not finite"),
        ]
    )
    assert external.unusable == 3
    rows = measure(external)
    hollow = np.isnan(rows.array("outside/clean/shape_mm"))
    assert np.flatnonzero(hollow).tolist() == [5, 6, 9]
    assert rows.sums["outside/clean"].count == 7


def test_odd_landmarks_of_single_photos_are_named_and_measured(
    load: Callable, measure: Callable, told: Arrays, twins: EvaluationTwins
) -> None:
    swap = mirror_pairs(twins.mean_points.numpy())
    points = told["landmarks468_clean"].copy()
    points[2] = points[2][swap]
    external = load(
        landmarks468_clean=points,
        landmarks468_occluded=changed(told["landmarks468_occluded"], 5, 32.0),
    )
    names = told["names"].tolist()
    assert external.unusable == 0
    assert sorted(external.problems) == [
        (names[5], "landmarks468_occluded is degenerate (points on one line or spot)"),
        (names[2], "landmarks468_clean looks mirrored (left and right exchanged)"),
    ]
    assert measure(external).array("outside/clean/nme")[10 - 1 - 2] > 0.2


def test_wrong_conventions_are_refused(load: Callable, told: Arrays, twins: EvaluationTwins) -> None:
    swap = mirror_pairs(twins.mean_points.numpy())
    points, verts = told["landmarks468_clean"], told["verts_neutral_clean"]
    for message, key, value in (
        ("mirrored on 10 of 10", "landmarks468_clean", points[:, swap]),
        ("far off the faces", "landmarks468_clean", points / 64),
        ("far off the faces", "landmarks468_clean", points * 5 + 100),
        ("metres are expected", "verts_neutral_clean", verts * 1000),
        ("from the head's template", "verts_neutral_clean", verts * np.float32([1, -1, 1])),
        ("0..1 is expected", "albedo_clean", told["albedo_clean"] * 255),
    ):
        with pytest.raises(DataError, match=message):
            load(**{key: value})


def test_68_points_are_checked_by_their_own_order(load: Callable, twins: EvaluationTwins) -> None:
    points = ibug68_of(twins.points).numpy()[::-1]
    good = load(landmarks68_clean=points, landmarks68_occluded=points)
    assert good.problems == []
    torch.testing.assert_close(good.predict(twins[0], "clean").landmarks68, ibug68_of(twins.points[:4]))
    flipped = np.float32([64, 0]) + np.float32([-1, 1]) * points
    with pytest.raises(DataError, match="mirrored"):
        load(landmarks68_clean=flipped, landmarks68_occluded=points)


def test_malformed_files_are_refused_with_every_fault(load: Callable, told: Arrays) -> None:
    for message, drop, arrays in (
        ("was made for twins elsewhere", (), {"twins": np.array("elsewhere")}),
        ("lacks twins", ("twins",), {}),
        ("lacks albedo_clean", ("albedo_clean",), {}),
        ("unknown key landmark68_clean; lacks mask_occluded", ("mask_occluded",),
         {"landmark68_clean": np.zeros(1)}),
        ("holds no predictions", ("verts", "albedo", "mask", "landmarks"), {}),
        (r"landmarks468_clean has shape \(10, 468, 3\), expected \(10, 468, 2\)", (),
         {"landmarks468_clean": np.zeros((10, 468, 3))}),
        (r"verts_posed_cover2 has shape \(10, 9, 3\)", (), {"verts_posed_cover2": np.zeros((10, 9, 3))}),
        ("albedo_clean is int64", (), {"albedo_clean": np.ones((10, 5181, 3), np.int64)}),
        ("names must be", (), {"names": np.arange(10)}),
        ("1 names are there twice", (), {"names": changed(told["names"], 0, told["names"][1])}),
        ("not an npz of plain arrays", (), {"names": told["names"].astype(object)}),
        ("within 0..5180", (), {"faces": np.array([[0, 1, 5181]])}),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            load(drop=drop, **arrays)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_files_that_are_no_npz_are_refused(
    content: bytes, tmp_path: Path, twins: EvaluationTwins, open_head
) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npz: not an npz"):
        External(tmp_path / "x.npz", twins, open_head)
    with pytest.raises(DataError, match=r"none\.npz: not an npz"):
        External(tmp_path / "none.npz", twins, open_head)

"""People benchmark: the share between people of known mixtures, their directions, and who is left out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.cli import main
from occface_core.data.packed import PackedPhotos
from occface_core.errors import DataError
from occface_core.evaluation.people import (
    distance_to_person,
    person_spread,
    with_several_photos,
    without_size,
)
from occface_core.morphable.head_model import HeadModel


def sample(between: np.ndarray, within: float, people: int = 400, photos: int = 4) -> tuple:
    """Vectors of people (standard deviation `between` per axis) with photo noise; who is on which."""
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(people), photos)
    middle = rng.normal(size=(people, len(between))) * between
    return middle[person] + within * rng.normal(size=(len(person), len(between))), person


@pytest.mark.parametrize("within", [0.5, 1.0, 2.0])
def test_share_is_the_variance_between_people(within: float) -> None:
    spread = person_spread(*sample(np.ones(20), within))
    true = 1 / (1 + within**2)
    assert spread.share == pytest.approx(true, abs=0.02)
    assert spread.share_ci95[0] < true < spread.share_ci95[1]
    assert spread.within == pytest.approx(within * 20**0.5, rel=0.03)
    assert spread.total == pytest.approx((20 * (1 + within**2)) ** 0.5, rel=0.03)


def test_directions_ignore_what_differs_between_photos() -> None:
    one = person_spread(*sample(np.array([3.0] + [0.0] * 19), 1.0))
    five = person_spread(*sample(np.array([3.0] * 5 + [0.0] * 15), 1.0))
    assert one.directions == pytest.approx(1, abs=0.2)
    assert five.directions == pytest.approx(5, abs=0.4)


def test_albums_of_any_thickness_and_order_give_the_same_share() -> None:
    values, person = sample(np.ones(10), 1.0, photos=6)
    rng = np.random.default_rng(0)
    keep = rng.permutation(len(person))[: len(person) // 2]
    keep = keep[np.bincount(person[keep], minlength=400)[person[keep]] > 1]
    spread = person_spread(values[keep], person[keep])
    assert spread.share == pytest.approx(0.5, abs=0.04)


def test_photos_taken_together_come_nearer_to_the_person() -> None:
    values, person = sample(np.ones(20), 1.0, photos=12)
    found = [distance_to_person(values, values, person, k).mean() for k in (1, 2, 3)]
    # Noise of k photos and of the six of the reference, in twenty axes.
    expected = [(20 * (1 / k + 1 / 6)) ** 0.5 for k in (1, 2, 3)]
    np.testing.assert_allclose(found, expected, rtol=0.03)
    assert len(distance_to_person(values, values, person, 1)) == 400
    few, whose = sample(np.ones(20), 1.0, photos=5)
    assert len(distance_to_person(few, few, whose, 1)) == 0


def pack(identities: list[str]) -> PackedPhotos:
    n = len(identities)
    names = [f"{i}.jpg" for i in range(n)]
    images, points = np.zeros((n, 8, 8, 3), np.uint8), np.zeros((n, 468, 2), np.float32)
    images[:, 0, 0, 0] = np.arange(n)
    return PackedPhotos(images, points, names, identities, [""] * n, [])


def test_only_people_with_several_photos_take_part() -> None:
    packed = pack(["a", "", "b", "a", "c", "", "b"])
    rows = with_several_photos(packed)
    assert rows.tolist() == [0, 2, 3, 6]
    few = packed.rows(rows)
    assert few.names == ["0.jpg", "2.jpg", "3.jpg", "6.jpg"]
    assert few.identities == ["a", "b", "a", "b"]
    assert few.images[:, 0, 0, 0].tolist() == [0, 2, 3, 6]
    with pytest.raises(DataError, match="fewer than two people with several photos"):
        with_several_photos(pack(["a", "a", "b", ""]))


def test_size_and_place_do_not_count() -> None:
    head = HeadModel.load()
    weight = head.regions["face"]
    verts = head.v_template[None]
    moved = torch.cat([verts, verts * 1.3 + torch.tensor([0.1, 0.0, -0.2])])
    same = without_size(moved, weight, 0.06)
    assert float((same[0] - same[1]).abs().max()) < 1e-6
    share = (weight / weight.sum())[:, None]
    assert float((same[0].square() * share).sum().sqrt()) == pytest.approx(0.06, rel=1e-5)


def test_command_writes_a_table(photo_folder: Path, tmp_path: Path) -> None:
    where = ["--images", str(photo_folder), "--split", "", "--cache", str(tmp_path / "cache")]
    code = main(["benchmark", "people", *where, "--model", "student", "--out", str(tmp_path)])
    assert code == 0
    summary = json.loads((tmp_path / "people.json").read_text())["summary"]
    assert set(summary) == {"student, clean", "student, covered"}
    clean = summary["student, clean"]["shape_mm"]
    assert clean["within"] > 0
    assert clean["share_ci95"][0] <= clean["share"] <= clean["share_ci95"][1]
    text = (tmp_path / "people.md").read_text()
    assert "between people" in text
    assert "Nobody has 6 photos" in text

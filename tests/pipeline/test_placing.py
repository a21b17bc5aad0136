"""Heads that lie in the picture: found, looked at upright, and carried back to where they are."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from skimage import data

from occface_core.morphable.head_model import HeadModel
from occface_core.networks.encoder import EncoderOutput, FaceEncoder
from occface_core.networks.evidence import Evidence
from occface_core.pipeline.fitting import Target, turned, upright_box
from occface_core.pipeline.placing import Placer, wrapped
from occface_core.pipeline.reconstructor import FaceReconstructor


@pytest.fixture(scope="module", params=["student", "teacher"])
def network(request: pytest.FixtureRequest) -> FaceReconstructor:
    return FaceReconstructor(request.param, device="cpu")


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_lying_head_is_the_upright_one_turned(network: FaceReconstructor, quarters: int) -> None:
    """scikit-image's portrait, whole, on its side and upside down, detector and all."""
    photo = data.astronaut()
    size = len(photo)
    upright = network.reconstruct(photo)
    lying = network.reconstruct(np.ascontiguousarray(np.rot90(photo, -quarters)))  # clockwise
    assert any("turned" in note for note in lying.notes)
    assert not any("turned" in note for note in upright.notes)
    turn = np.array([[0, -1], [1, 0]])  # a quarter clockwise, x right, y down
    expected = upright.landmarks68_2d - size / 2
    for _ in range(quarters):
        expected = expected @ turn.T
    face = float(np.mean(upright.box[2:] - upright.box[:2]))
    off = np.linalg.norm(lying.landmarks68_2d - expected - size / 2, axis=1).mean()
    assert off < 0.02 * face
    shape = np.linalg.norm(lying.verts_neutral - upright.verts_neutral, axis=1)
    assert shape.mean() < 0.0006
    seen, was = np.rot90(lying.face_mask, quarters) > 0, upright.face_mask > 0
    assert (seen & was).sum() > 0.93 * (seen | was).sum()


def test_a_given_box_is_kept_and_its_head_turned(network: FaceReconstructor) -> None:
    photo = np.ascontiguousarray(np.rot90(data.astronaut()))
    box = [85.0, 245.0, 190.0, 335.0]
    result = network.reconstruct(photo, box=box)
    assert result.box.tolist() == box
    (degrees,) = [int(found[1]) for note in result.notes if (found := re.search(r"by (-?\d+) degrees", note))]
    assert -100 < degrees < -79


class Sure(FaceEncoder):
    """Says every head is turned by half a radian; its doubt at each look is scripted."""

    def __init__(self, made: FaceEncoder, doubts: list[float]) -> None:
        super().__init__(made.config)
        self.made, self.doubts = made, doubts

    def forward(self, image: torch.Tensor) -> EncoderOutput:
        out = self.made(image)
        out.code[:, self.layout.slices["pose"].start + 2] = -0.5
        count, places = len(image), torch.zeros(len(image), 468, 2)
        doubt = torch.full((count, 5), self.doubts.pop(0))
        found = Evidence(
            places[:, :5], doubt, places, torch.zeros(count, 4), torch.arange(5), torch.zeros(count, 5, 2, 2)
        )
        return dataclasses.replace(out, evidence=found)


@pytest.mark.parametrize(("second", "roll"), [(-5.0, 0.5), (-3.9, 0.0)])
def test_a_turn_is_kept_if_the_network_is_surer(
    fixed_encoder: type[FaceEncoder], egg_head: HeadModel, second: float, roll: float
) -> None:
    made = fixed_encoder()
    network = Sure(made, [-4.0, second, -4.0, -4.0])
    placer = Placer(network, egg_head, torch.device("cpu"), last=network, batch_size=4)
    image = np.zeros((100, 100, 3), np.uint8)
    target = Target(image, np.array([30.0, 30.0, 70.0, 70.0]), None, (), 1.5)
    placed, looks = placer.upright([target])
    assert placed[0].roll == pytest.approx(roll, abs=1e-5)
    assert len(looks) == 1


@pytest.mark.parametrize(("turned_doubt", "roll"), [(-3.6, math.radians(45)), (-3.2, 0.0)])
def test_the_best_of_bad_looks_is_given_up_for_the_upright_one(
    fixed_encoder: type[FaceEncoder], egg_head: HeadModel, turned_doubt: float, roll: float
) -> None:
    """Covered profiles are unsure however they are turned; most photos are upright."""
    # Upright, the other turns, and once each time a crop is to be turned a little more.
    network = Sure(fixed_encoder(), [-2.5, turned_doubt, turned_doubt, -2.5])
    placer = Placer(network, egg_head, torch.device("cpu"), last=network, batch_size=4)
    image = np.zeros((100, 100, 3), np.uint8)
    target = Target(image, np.array([30.0, 30.0, 70.0, 70.0]), None, (), 1.5)
    placed, looks = placer.upright([target])
    assert placed[0].roll == pytest.approx(roll, abs=1e-5)
    assert looks[0].doubt == pytest.approx(turned_doubt if roll else -2.5)


def test_the_box_of_a_turned_head_is_the_standing_one() -> None:
    """Wider than high when it stands, higher than wide when it lies; the same centre."""
    corners = np.array([[-20.0, -10.0], [20.0, -10.0], [20.0, 10.0], [-20.0, 10.0]])
    roll = 0.7
    turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    box = upright_box(corners @ turn.T + [50.0, 80.0], roll)
    np.testing.assert_allclose(box, [30.0, 70.0, 70.0, 90.0], atol=1e-9)


def test_what_a_detector_moved_down_is_moved_along_the_head() -> None:
    """Upside down, the landmarks lie as far above the detector's box as they would lie below."""
    target = Target(
        np.zeros((9, 9, 3), np.uint8), np.array([0.0, 10.0, 20.0, 30.0]), 0.9, (), 1.5, lowered=4.0
    )
    over = turned(target, math.pi)
    assert over.upright is not None
    np.testing.assert_allclose(over.upright, [0.0, 2.0, 20.0, 22.0], atol=1e-9)
    assert over.box.tolist() == target.box.tolist()


def test_angles_are_compared_around_the_circle() -> None:
    assert wrapped(math.radians(350)) == pytest.approx(math.radians(-10))
    assert wrapped(math.radians(-200)) == pytest.approx(math.radians(160))

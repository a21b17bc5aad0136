"""The app without trained weights: the shipped head, networks that answer by rule, a known face box."""

from collections.abc import Callable

import gradio as gr
import numpy as np
import pytest
import torch
from torch import Tensor

from demo.callbacks import Callbacks
from demo.engine import Engine, Photo
from demo.examples import Example, astronaut
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderConfig, EncoderOutput, FaceEncoder
from occface_core.pipeline.detection import Detection
from occface_core.pipeline.reconstructor import FaceReconstructor

FACE_BOX = np.array([195.0, 150.0, 325.0, 300.0])


class RuledEncoder(FaceEncoder):
    """A face in the middle of its crop; its shape depends on the crop's brightness."""

    def __init__(self, name: str, head: HeadModel) -> None:
        super().__init__(EncoderConfig("resnet18", 64, mask_size=56))
        points = head.landmarks(head.v_template[None], "68")[0, :, :2]
        low, high = points.amin(0), points.amax(0)
        self.camera = torch.cat([2 / (1.5 * (high - low).mean()[None]), -(low + high) / 2])
        self.sensitivity = {"teacher": 3.0, "student": 1.0}[name]

    def forward(self, image: Tensor) -> EncoderOutput:
        batch = len(image)
        parameters = FaceParameters(
            betas=self.sensitivity * (image.mean((1, 2, 3)) - 0.5)[:, None].expand(batch, 100),
            albedo=torch.zeros(batch, 50),
            expression=torch.full((batch, 50), 0.05),
            pose=torch.tensor([[0.05, 0.2, 0.0, 0.1, 0.0, 0.0]]).repeat(batch, 1),
            camera=self.camera.repeat(batch, 1),
            sh_coeffs=torch.zeros(batch, 9, 3),
        )
        mask = torch.full((batch, 1, 56, 56), 9.0)
        return EncoderOutput(parameters, parameters.to_code(), torch.zeros(batch, 8), mask)


class GreyAlbedo:
    """A constant albedo texture."""

    def texture(self, coeffs: Tensor) -> Tensor:
        return torch.full((len(coeffs), 3, 48, 48), 0.5)


class ScriptedDetector:
    """Finds the faces it was told to."""

    def __init__(self, *boxes: np.ndarray) -> None:
        self.found = [Detection(box, 0.9) for box in boxes]

    def detect(self, image: np.ndarray) -> list[Detection]:
        return self.found


def make_engine(*boxes: np.ndarray) -> Engine:
    """An engine whose detector finds `boxes`."""

    def reconstructor(name: str) -> FaceReconstructor:
        head = HeadModel.load()
        detector = ScriptedDetector(*boxes)
        network, albedo = RuledEncoder(name, head), GreyAlbedo()  # its answers do not turn with the picture
        return FaceReconstructor(network, head, "cpu", detector=detector, albedo=albedo, mirrored=False)

    return Engine(reconstructor, lambda: ScriptedDetector(*boxes), HeadModel.load)


def one_example(engine: Engine) -> list[Example]:
    """A second example that needs no rendering: the portrait mirrored."""
    return [Example("Mirrored", np.ascontiguousarray(astronaut().pixels[:, ::-1]))]


@pytest.fixture(scope="session")
def engine_finding() -> Callable[..., Engine]:
    """Make an engine whose detector finds the given boxes."""
    return make_engine


@pytest.fixture(scope="session")
def face_box() -> np.ndarray:
    return FACE_BOX


@pytest.fixture(scope="session")
def engine() -> Engine:
    return make_engine(FACE_BOX)


@pytest.fixture(scope="session")
def callbacks(engine: Engine) -> Callbacks:
    return Callbacks(engine, make_examples=one_example)


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    return astronaut().pixels


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shown: list[str] = []
    for kind in ("Info", "Warning"):
        monkeypatch.setattr(gr, kind, lambda message, *_, **__: shown.append(message))
    return shown


@pytest.fixture(scope="session")
def photo(engine: Engine, portrait: np.ndarray) -> Photo:
    return engine.open_photo(portrait)

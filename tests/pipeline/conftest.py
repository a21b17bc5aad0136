"""A made-up world for the pipeline: an egg-shaped head, networks without training, a scripted detector."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from occface_core.errors import CheckpointError
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderConfig, EncoderOutput, FaceEncoder
from occface_core.pipeline import reconstructor
from occface_core.pipeline.detection import Detection
from occface_core.pipeline.reconstructor import FaceReconstructor

ROWS, COLUMNS = 24, 32
RADII = torch.tensor([0.075, 0.11, 0.09])


def _egg() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vertices, triangles, texture coordinates and their triangles of an ellipsoid cut open at the back."""
    v, u = torch.meshgrid(torch.linspace(0.02, 0.98, ROWS), torch.linspace(0, 1, COLUMNS + 1), indexing="ij")
    uv = torch.stack([u.flatten(), v.flatten()], 1)
    latitude, longitude = (v - 0.5) * math.pi, (u - 0.5) * 2 * math.pi
    sphere = [latitude.cos() * longitude.sin(), latitude.sin(), latitude.cos() * longitude.cos()]
    verts = torch.stack(sphere, -1).reshape(-1, 3) * RADII
    corner = torch.arange(ROWS * (COLUMNS + 1)).reshape(ROWS, COLUMNS + 1)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    faces = torch.cat([torch.stack([a, b, c], -1).reshape(-1, 3), torch.stack([a, c, d], -1).reshape(-1, 3)])
    return verts, faces, uv, faces


def _ibug_layout() -> Tensor:
    """68 points (x, y) in [-1,1], iBUG order, roughly where they lie on a face."""
    turn = torch.linspace(math.pi, 2 * math.pi, 17)
    jaw = torch.stack([0.9 * turn.cos(), 0.2 + 1.0 * turn.sin()], 1)
    brows = torch.stack([torch.linspace(-0.6, 0.6, 10), torch.full((10,), 0.5)], 1)
    rest = torch.rand(41, 2, generator=torch.Generator().manual_seed(0)) * 0.8 - 0.4
    return torch.cat([jaw, brows, rest])


@pytest.fixture(scope="session")
def egg_head() -> HeadModel:
    verts, faces, uv, uv_faces = _egg()
    generator = torch.Generator().manual_seed(3)
    count = len(verts)

    def directions(n: int, size: float) -> Tensor:
        frequency = torch.randn(n, 3, generator=generator) * 20
        wave = torch.sin(verts @ frequency.T)[:, None, :]  # smooth, so that triangles keep their orientation
        return wave * torch.randn(1, 3, n, generator=generator) * size

    flat = verts[:, :2] / RADII[:2]
    front = torch.where(verts[:, 2:].T > 0, 0.0, 9.0)
    nearest = (torch.cdist(_ibug_layout(), flat) + front).argmin(1)
    first = torch.stack([(faces == vertex).any(1).nonzero()[0, 0] for vertex in nearest])
    bary = (faces[first] == nearest[:, None]).float()
    weights = torch.zeros(count, 5)
    weights[:, 1] = 1
    arrays = {
        "v_template": verts,
        "faces": faces,
        "uv": uv,
        "uv_faces": uv_faces,
        "shapedirs": directions(100, 0.0003),
        "expressiondirs": directions(50, 0.0005),
        "posedirs": torch.zeros(count, 3, 36),
        "joint_regressor": torch.full((5, count), 1 / count),
        "skin_weights": weights,
        "parents": torch.tensor([-1, 0, 1, 1, 1]),
        "region_face": ((verts[:, 2] > 0.02) & (verts[:, 1].abs() < 0.09)).float(),
        "region_nose": (verts[:, 2] > 0.08).float(),
        "lmk68_faces": first,
        "lmk68_bary": bary,
        "lmk68_dynamic_faces": first[None, :17].repeat(79, 1),
        "lmk68_dynamic_bary": bary[None, :17].repeat(79, 1, 1),
        "now7_faces": first[27:34],
        "now7_bary": bary[27:34],
    }
    return HeadModel.from_arrays(arrays, {"name": "egg"})


class FixedEncoder(FaceEncoder):
    """Answers every crop with the same code: an upright head in the middle of the square."""

    def __init__(self, *, mask: bool = True, sigma: bool = False, turn: float = 0.0) -> None:
        regions = ("nose", "face") if sigma else ()
        config = EncoderConfig("resnet18", 64, head="egg", mask_size=56 if mask else 0, sigma_regions=regions)
        super().__init__(config)
        self.code = self.code_mean.clone()
        self.code[self.layout.slices["pose"].start + 1] = turn
        self.calls: list[int] = []

    def forward(self, image: Tensor) -> EncoderOutput:
        batch = len(image)
        self.calls.append(batch)
        code = self.code.repeat(batch, 1)
        mask = None
        if self.config.mask_size:
            mask = torch.full((batch, 1, 56, 56), 9.0)
            mask[..., 28:] = -9.0  # the right half of every crop is covered
        sigma = torch.tensor([[1.0, 2.0]]).log().repeat(batch, 1) if self.config.sigma_regions else None
        return EncoderOutput(FaceParameters.from_code(code), code, torch.zeros(batch, 8), mask, sigma)


class ScriptedDetector:
    """Returns the faces it was given."""

    def __init__(self, *boxes: list[float]) -> None:
        self.found = [Detection(np.array(box, dtype=np.float64), 0.9) for box in boxes]
        self.seen = 0

    def detect(self, image: np.ndarray) -> list[Detection]:
        self.seen += 1
        return self.found


class GreyAlbedo:
    """A constant albedo texture."""

    def texture(self, coeffs: Tensor) -> Tensor:
        return torch.full((len(coeffs), 3, 48, 48), 0.5)


@pytest.fixture
def fixed_encoder() -> type[FixedEncoder]:
    return FixedEncoder


Maker = Callable[..., FaceReconstructor]


@pytest.fixture
def make(egg_head: HeadModel) -> Maker:
    """Build a reconstructor: boxes for the detector, options for the encoder."""

    def build(
        *boxes: list[float],
        encoder: FaceEncoder | None = None,
        albedo: bool = True,
        mirrored: bool = False,  # fixed answers are not those to a mirrored picture
    ) -> FaceReconstructor:
        return FaceReconstructor(
            encoder or FixedEncoder(),
            egg_head,
            "cpu",
            detector=ScriptedDetector(*boxes),
            albedo=GreyAlbedo() if albedo else None,
            mirrored=mirrored,
        )

    return build


@pytest.fixture
def photo(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, size=(180, 240, 3), dtype=np.uint8)


@pytest.fixture
def built(make: Maker, monkeypatch: pytest.MonkeyPatch) -> list[FaceReconstructor]:
    """Let the command line build the made-up reconstructor; lists those that were built."""
    made: list[FaceReconstructor] = []

    def build(model: str, head: str, device: str, *, batch_size: int) -> FaceReconstructor:
        if model == "broken":
            raise CheckpointError("weights/broken.safetensors does not match its SHA-256; fetch it again")
        made.append(make([80.0, 50.0, 150.0, 130.0]))
        made[-1].model_name, made[-1].head_name = model, head
        return made[-1]

    monkeypatch.setattr(reconstructor, "FaceReconstructor", build)
    return made


@pytest.fixture
def folder(tmp_path: Path, photo: np.ndarray) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    Image.fromarray(photo).save(path / "one.png")
    Image.fromarray(photo[:, ::-1]).save(path / "two.jpg")
    return path

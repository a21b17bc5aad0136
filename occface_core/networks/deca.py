"""Networks with DECA's tensor names and arithmetic, so that a user's own `deca_model.tar` can be the teacher.

Architecture as published (Feng et al., SIGGRAPH 2021): two ResNet-50 encoders with a 2048-1024-N
regression head
(236 coarse numbers, 128 detail), and a generator that turns [jaw 3, expression 50, detail 128] into a 256
x 256 UV
displacement in metres of at most 1 cm. DECA's weights are licensed for research by MPI and are not shipped.
"""

import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet50

from occface_core.errors import CheckpointError
from occface_core.morphable.parameters import DECA_236, FaceParameters
from occface_core.networks.encoder import EncoderConfig, EncoderOutput

DECA_SIZE = 224
DETAIL_SIZE = 128
DECA_CROP_SCALE = 1.1 * 1.25  # its landmark box is enlarged by 1.1, its crop by 1.25 (decalib/datasets)


class DecaEncoder(nn.Module):
    """ResNet-50 trunk and a two-layer head; RGB in [0,1], no further normalisation."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = resnet50(weights=None)
        self.encoder.fc = nn.Identity()  # type: ignore[assignment]
        self.layers = nn.Sequential(nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, size))

    def forward(
        self, image: Float[Tensor, "B 3 224 224"]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B 2048"]]:
        """Code and pooled features."""
        features = self.encoder(image)
        return self.layers(features), features


class DecaDetailGenerator(nn.Module):
    """[jaw, expression, detail] (B,181) to a UV displacement map (B,1,256,256), metres."""

    def __init__(self, latent: int = 3 + 50 + DETAIL_SIZE) -> None:
        super().__init__()
        self.l1 = nn.Sequential(nn.Linear(latent, 128 * 8 * 8))
        # The second argument of BatchNorm2d is eps, and DECA's blocks really run with 0.8.
        blocks: list[nn.Module] = [nn.BatchNorm2d(128)]
        for source, target in ((128, 128), (128, 64), (64, 64), (64, 32), (32, 16)):
            blocks += [
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(source, target, 3, padding=1),
                nn.BatchNorm2d(target, 0.8),
                nn.LeakyReLU(0.2),
            ]
        blocks += [nn.Conv2d(16, 1, 3, padding=1), nn.Tanh()]
        self.conv_blocks = nn.Sequential(*blocks)

    def forward(self, latent: Float[Tensor, "B 181"]) -> Float[Tensor, "B 1 256 256"]:
        """Displacement along the normals, metres, within +-0.01."""
        grid = self.l1(latent).view(-1, 128, 8, 8)
        return 0.01 * self.conv_blocks(grid)


class DecaTeacher(nn.Module):
    """DECA's coarse encoder behind the interface of `FaceEncoder`; it needs an imported FLAME head.

    Attributes:
        config: describes the network to the pipeline (input 224, head "flame", no mask, no uncertainty).
    """

    def __init__(self) -> None:
        super().__init__()
        self.E_flame = DecaEncoder(DECA_236.size)
        self.E_detail = DecaEncoder(DETAIL_SIZE)
        self.D_detail = DecaDetailGenerator()
        self.config = EncoderConfig(backbone="resnet50", input_size=DECA_SIZE, head="flame",
        crop_scale=DECA_CROP_SCALE)
        self.layout = DECA_236

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> EncoderOutput:
        """Coarse parameters of RGB crops in [0,1]."""
        code, features = self.E_flame(self.resize(image))
        return EncoderOutput(FaceParameters.from_code(code, DECA_236), code, features)

    def displacement(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 256 256"]:
        """Detail displacement of RGB crops, metres along the normals, in UV."""
        resized = self.resize(image)
        code = self.E_flame(resized)[0]
        detail = self.E_detail(resized)[0]
        groups = DECA_236.split(code)
        return self.D_detail(torch.cat([groups["pose"][:, 3:], groups["exp"], detail], dim=1))

    @staticmethod
    def resize(image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 224 224"]:
        """DECA's input size."""
        if image.shape[-1] == DECA_SIZE:
            return image
        size = (DECA_SIZE, DECA_SIZE)
        return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def load_deca(path: Path, device: torch.device | str = "cpu") -> DecaTeacher:
    """Read `deca_model.tar` (a PyTorch archive with E_flame, E_detail, D_detail) without unpickling objects.

    Raises:
        CheckpointError: not such an archive, or entries are missing, extra or of another shape.
    """
    path = Path(path)
    try:
        archive = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise CheckpointError(f"{path}: not a readable DECA archive (deca_model.tar): {error}") from error
    teacher = DecaTeacher()
    problems: list[str] = []
    for name in ("E_flame", "E_detail", "D_detail"):
        part = archive.get(name) if isinstance(archive, dict) else None
        if not isinstance(part, dict):
            problems.append(f"no {name}")
            continue
        own = getattr(teacher, name).state_dict()
        missing, extra = sorted(own.keys() - part.keys()), sorted(part.keys() - own.keys())
        wrong = [k for k in sorted(own.keys() & part.keys()) if own[k].shape != part[k].shape]
        tensors = {k: v for k, v in sorted(part.items()) if isinstance(v, torch.Tensor)}
        broken = [k for k, v in tensors.items() if not bool(v.isfinite().all())]
        if broken:
            problems.append(f"{name}: NaN or infinite values in {broken[:3]}")
        elif missing or extra or wrong:
            problems.append(f"{name}: missing {missing[:3]}, unexpected {extra[:3]}, wrong shape {wrong[:3]}")
        else:
            getattr(teacher, name).load_state_dict(part)
    if problems:
        raise CheckpointError(f"{path}: does not hold DECA's networks ({'; '.join(problems)})")
    return teacher.to(device).eval().requires_grad_(False)

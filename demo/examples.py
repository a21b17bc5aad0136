"""Example photos: a public-domain portrait from scikit-image and renders of the open head.

Nothing is downloaded and no photo is part of this repository.
"""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from occface_core.data.synthetic import SyntheticConfig, SyntheticFaces
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel

RENDER_SIZE = 384
# Seeds whose faces differ well in age, sex and skin colour.
RENDER_SEEDS = (3, 5, 8, 13)


@dataclass(frozen=True)
class Example:
    """One example: a name for the gallery and the picture."""

    name: str
    pixels: UInt8[np.ndarray, "H W 3"]


def astronaut() -> Example:
    """NASA's portrait of Eileen Collins (public domain), head and shoulders, read from scikit-image's wheel.

    The file is opened where it lies: `skimage.data.astronaut()` would ask a server if it were missing.
    """
    source = files("skimage").joinpath("data", "astronaut.png")
    with source.open("rb") as stream, Image.open(stream) as picture:
        portrait = picture.convert("RGB").crop((110, 0, 350, 240))
        return Example("Astronaut", np.array(portrait.resize((512, 512), Image.Resampling.LANCZOS)))


def renders(head: HeadModel, albedo: AlbedoModel, seeds: tuple[int, ...] = RENDER_SEEDS) -> list[Example]:
    """Computer-made faces: the open head with random shape, expression, light and hair colour."""
    sampler = SyntheticFaces(head, albedo, RENDER_SIZE, SyntheticConfig(yaw=14.0, pitch=6.0, roll=3.0))
    return [Example(f"Render {k + 1}", _render(sampler, seed)) for k, seed in enumerate(seeds)]


def _render(sampler: SyntheticFaces, seed: int) -> UInt8[np.ndarray, "S S 3"]:
    generator = torch.Generator().manual_seed(seed)
    head, albedo = sampler.head, sampler.albedo
    with torch.inference_mode():
        betas = torch.randn(1, head.n_shape, generator=generator).clamp(-2, 2)
        colour = albedo.vertex_albedo(torch.randn(1, len(albedo.components), generator=generator), head)
        pose = sampler.poses(1, generator)
        verts = head(betas, sampler.expressions(1, generator) * 0.7, pose).verts
        camera = sampler.cameras(verts, pose, generator)
        camera[:, 0] *= 0.72  # further away than a training crop, so that the whole head is in the picture
        drawn = sampler.renderer(verts, camera, colour, sampler.lights(1, generator))
        picture = drawn.mask * drawn.image.clamp(0, 1) + (1 - drawn.mask) * _backdrop(generator)
    return (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def _backdrop(generator: torch.Generator) -> Float[Tensor, "1 3 S S"]:
    """A studio backdrop: one muted colour, lighter in the middle."""
    colour = 0.35 + 0.3 * torch.rand(1, 3, 1, 1, generator=generator)
    axis = torch.linspace(-1, 1, RENDER_SIZE)
    distance = (axis[None, :] ** 2 + (axis[:, None] + 0.2) ** 2).clamp(max=2)
    return (colour * (1.25 - 0.3 * distance)[None, None]).clamp(0, 1)

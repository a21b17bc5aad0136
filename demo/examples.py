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

from occface_core.data.pixels import to_bytes
from occface_core.data.synthetic import SyntheticConfig, SyntheticFaces
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel

RENDER_SIZE = 384
# Seeds whose faces differ well in age, sex and skin colour.
RENDER_SEEDS = (6, 3, 14, 13)
FROM_THE_SIDE = (6, -1.05)  # seed of one that is shown again, and its yaw, radians


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
    made = [Example(f"Render {k + 1}", _render(sampler, seed)) for k, seed in enumerate(seeds)]
    seed, yaw = FROM_THE_SIDE
    return [*made, Example("Render from the side", _render(sampler, seed, yaw))]


def _render(sampler: SyntheticFaces, seed: int, yaw: float | None = None) -> UInt8[np.ndarray, "S S 3"]:
    generator = torch.Generator().manual_seed(seed)
    head, albedo = sampler.head, sampler.albedo
    with torch.inference_mode():
        betas = torch.randn(1, head.n_shape, generator=generator).clamp(-2, 2)
        coeffs = torch.randn(1, albedo.n_components, generator=generator).clamp(-1.5, 1.5)
        colour = _short_hair(albedo.vertex_albedo(coeffs, head), head, generator)
        pose = sampler.poses(1, generator)
        pose[:, 3:] = 0
        if yaw is not None:
            pose[:, 1] = yaw
        verts = head(betas, _friendly(head, generator), pose).verts
        camera = sampler.cameras(verts, pose, generator)
        camera[:, 0] *= 0.72  # further away than a training crop, so that the whole head is in the picture
        drawn = sampler.renderer(verts, camera, colour, _studio_light(generator))
        picture = drawn.mask * drawn.image.clamp(0, 1) + (1 - drawn.mask) * _backdrop(generator)
    return to_bytes(picture[0])


def _friendly(head: HeadModel, generator: torch.Generator) -> Float[Tensor, "1 E"]:
    """A smile of random strength: random actions together look like grimaces."""
    expression = torch.zeros(1, head.n_expression)
    smile = 0.7 * float(torch.rand(1, generator=generator))
    for name in ("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft", "cheekSquintRight"):
        if name in head.expression_names:
            expression[:, head.expression_names.index(name)] = smile
    return expression


def _studio_light(generator: torch.Generator) -> Float[Tensor, "1 9 3"]:
    """Even light from the front and above, and a little from one side; bands as in the renderer."""
    light = torch.zeros(1, 9, 3)
    light[:, 0] = 2.9
    side = 0.45 if torch.rand(1, generator=generator) < 0.5 else -0.45
    light[:, 1:4] = torch.tensor([side, 0.35, 0.45])[None, :, None]
    return light


def _short_hair(
    colour: Float[Tensor, "1 V 3"], head: HeadModel, generator: torch.Generator
) -> Float[Tensor, "1 V 3"]:
    """Colour the scalp: the open head has no hair of its own."""
    scalp = head.regions.get("scalp")
    if scalp is None:
        return colour
    shades = torch.tensor([[0.07, 0.05, 0.04], [0.22, 0.14, 0.09], [0.42, 0.31, 0.19], [0.45, 0.44, 0.43]])
    shade = shades[int(torch.randint(len(shades), (1,), generator=generator))]
    grain = 1 + 0.12 * torch.randn(1, head.n_vertices, 1, generator=generator)
    return colour + scalp[None, :, None] * (shade * grain - colour)


def _backdrop(generator: torch.Generator) -> Float[Tensor, "1 3 S S"]:
    """A studio backdrop: one muted colour, lighter in the middle."""
    colour = 0.48 + 0.12 * torch.rand(1, 3, 1, 1, generator=generator)
    axis = torch.linspace(-1, 1, RENDER_SIZE)
    distance = (axis[None, :] ** 2 + (axis[:, None] + 0.2) ** 2).clamp(max=2)
    return (colour * (1.25 - 0.3 * distance)[None, None]).clamp(0, 1)

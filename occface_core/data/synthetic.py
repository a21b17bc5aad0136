"""Rendered heads with exact truth, drawn on the fly on the training device.

Identity, expression, pose, albedo, hair and brow colour, light, background and sensor noise vary; the crop
obeys the same convention as photos (square of 1.5 times the 68-point box, jittered).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occface_core.data.crop import CROP_SCALE
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.rendering.cameras import to_pixels, weak_perspective
from occface_core.rendering.renderer import Renderer


@dataclass(frozen=True)
class SyntheticConfig:
    """Ranges of the random faces. Angles are standard deviations in degrees."""

    yaw: float = 25.0
    pitch: float = 11.0
    roll: float = 8.0
    scale_jitter: float = 0.12
    shift_jitter: float = 0.06
    jaw_max: float = 0.35  # radians
    noise: float = 0.02


@dataclass(frozen=True)
class SyntheticBatch:
    """Renders and the numbers that made them.

    Attributes:
        image: (B,3,S,S) RGB in [0,1].
        params: exact parameters.
        mask: (B,1,S,S) 1 = face skin.
        points: (B,468,3) landmarks, crop pixels and depth in pixels.
    """

    image: Float[Tensor, "B 3 S S"]
    params: FaceParameters
    mask: Float[Tensor, "B 1 S S"]
    points: Float[Tensor, "B 468 3"]


def _normal(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    # Drawn on the CPU so that one seed gives one batch on any device.
    return torch.randn(shape, generator=generator).to(device)


def _uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator).to(device)


class SyntheticFaces:
    """Sampler of synthetic faces. One instance per process; every draw takes its generator."""

    def __init__(
        self, head: HeadModel, albedo: AlbedoModel, size: int, config: SyntheticConfig | None = None
    ) -> None:
        self.head, self.albedo, self.size = head, albedo, size
        self.config = config or SyntheticConfig()
        self.renderer = Renderer(head, size)
        names = list(head.expression_names)
        self._partner = torch.tensor([_mirror_index(names, i) for i in range(len(names))])
        self._lookers = torch.tensor([name.startswith("eyeLook") for name in names])

    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator,
        backgrounds: Float[Tensor, "N 3 H W"] | None = None,
        zoom: float = 1.0,
    ) -> SyntheticBatch:
        """Draw `count` random faces; the arguments are those of :meth:`photograph`."""
        device = self.head.v_template.device
        betas = _normal((count, self.head.shapedirs.shape[-1]), generator, device).clamp(-3, 3)
        tex = _normal((count, self.albedo.components.shape[0]), generator, device).clamp(-2.5, 2.5)
        expression = self.expressions(count, generator).to(device)
        pose = self.poses(count, generator).to(device)
        return self.photograph(
            betas, tex, expression, pose, generator=generator, backgrounds=backgrounds, zoom=zoom
        )

    def sample_views(
        self,
        count: int,
        views: int,
        *,
        generator: torch.Generator,
        backgrounds: Float[Tensor, "N 3 H W"] | None = None,
        zoom: float = 1.0,
    ) -> SyntheticBatch:
        """Draw `count // views` faces, each photographed `views` times in a row from other directions.

        Identity, expression and jaw are those of one moment; head turn, camera and background differ.
        """
        groups = count // views
        device = self.head.v_template.device
        betas = _normal((groups, self.head.shapedirs.shape[-1]), generator, device).clamp(-3, 3)
        tex = _normal((groups, self.albedo.components.shape[0]), generator, device).clamp(-2.5, 2.5)
        expression = self.expressions(groups, generator).to(device)
        jaw = self.poses(groups, generator)[:, 3:].repeat_interleave(views, dim=0)
        turns = self.poses(groups * views, generator)[:, :3]
        return self.photograph(
            betas.repeat_interleave(views, dim=0),
            tex.repeat_interleave(views, dim=0),
            expression.repeat_interleave(views, dim=0),
            torch.cat([turns, jaw], dim=1).to(device),
            generator=generator,
            backgrounds=backgrounds,
            zoom=zoom,
        )

    def photograph(
        self,
        betas: Float[Tensor, "B S"],
        tex: Float[Tensor, "B T"],
        expression: Float[Tensor, "B E"],
        pose: Float[Tensor, "B 6"],
        *,
        generator: torch.Generator,
        backgrounds: Float[Tensor, "N 3 H W"] | None = None,
        zoom: float = 1.0,
    ) -> SyntheticBatch:
        """Draw given people; camera, light, hair, background and noise are random.

        Args:
            betas, tex, expression, pose: parameters of each face.
            generator: source of all randomness.
            backgrounds: any photos, used behind half of the faces when given.
            zoom: below 1 the face is smaller than in a training crop, as in a photo of the whole head.
        """
        count, device = len(betas), betas.device
        verts = self.head(betas, expression, pose).verts
        camera = self.cameras(verts, pose, generator)
        camera = torch.cat([camera[:, :1] * zoom, camera[:, 1:]], dim=1)
        light = self.lights(count, generator).to(device)
        params = FaceParameters(
            betas=betas, albedo=tex, expression=expression, pose=pose, camera=camera, sh_coeffs=light
        )
        colour = self._paint_hair(self.albedo.vertex_albedo(tex, self.head), generator)
        out = self.renderer(verts, camera, colour, light)
        background = self._backgrounds(count, generator, backgrounds, device)
        image = out.mask * out.image.clamp(0, 1) + (1 - out.mask) * background
        image = (
            image
            + self.config.noise
            * _uniform((count, 1, 1, 1), generator, device)
            * _normal(tuple(image.shape), generator, device)
        ).clamp(0, 1)
        landmarks = self.head.landmarks(verts, "468")
        points = to_pixels(weak_perspective(landmarks, camera), self.size)
        return SyntheticBatch(image, params, self._face_mask(out), points)

    def expressions(self, count: int, generator: torch.Generator) -> Float[Tensor, "B E"]:
        """A few active units per face; left and right units mostly move together."""
        units = len(self._partner)
        active = torch.rand(count, units, generator=generator) < 0.09
        values = torch.rand(count, units, generator=generator).pow(1.3) * active
        paired = values[:, self._partner]
        together = torch.rand(count, units, generator=generator) < 0.8
        values = torch.where(together, torch.maximum(values, paired), values)
        values = values * torch.where(self._lookers, 0.4, 1.0)
        neutral = torch.rand(count, 1, generator=generator) < 0.15
        return torch.where(neutral, torch.zeros_like(values), values)

    def poses(self, count: int, generator: torch.Generator) -> Float[Tensor, "B 6"]:
        """Global axis-angle from yaw, pitch and roll, and jaw opening, radians."""
        c = self.config
        sd = torch.tensor([c.pitch, c.yaw, c.roll]) * (math.pi / 180)
        angles = (torch.randn(count, 3, generator=generator) * sd).clamp(-1.2, 1.2)
        jaw = torch.zeros(count, 3)
        opened = torch.rand(count, generator=generator) < 0.5
        jaw[:, 0] = torch.rand(count, generator=generator).square() * c.jaw_max * opened
        jaw[:, 1] = torch.randn(count, generator=generator) * 0.02
        # Small enough angles that the axis-angle of their sum stands for the composed rotation.
        return torch.cat([angles, jaw], dim=1)

    def cameras(
        self, verts: Float[Tensor, "B V 3"], pose: Float[Tensor, "B 6"], generator: torch.Generator
    ) -> Float[Tensor, "B 3"]:
        """Weak-perspective cameras that frame the 68-point box as the photo crops do, with jitter."""
        return self.framing(self.head.landmarks(verts, "68", global_pose=pose[:, :3]), generator)

    def framing(
        self, landmarks: Float[Tensor, "B 68 3"], generator: torch.Generator
    ) -> Float[Tensor, "B 3"]:
        """Cameras as :meth:`cameras`, from the posed heads' 68 points."""
        count, device = len(landmarks), landmarks.device
        low, high = landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)
        side = (high - low).mean(-1)
        jitter = (self.config.scale_jitter * (2 * _uniform((count,), generator, device) - 1)).exp()
        scale = 2.0 / (CROP_SCALE * side) * jitter
        shift = (
            (2 * _uniform((count, 2), generator, device) - 1) * self.config.shift_jitter * 2 / scale[:, None]
        )
        return torch.cat([scale[:, None], -(low + high) / 2 + shift], dim=1)

    def lights(self, count: int, generator: torch.Generator) -> Float[Tensor, "B 9 3"]:
        """Ambient plus one soft directional light, slightly coloured, DECA's band order."""
        light = torch.zeros(count, 9, 3)
        level = 3.5 * torch.exp(0.22 * torch.randn(count, 1, generator=generator))
        tint = torch.exp(0.06 * torch.randn(count, 3, generator=generator))
        light[:, 0] = level * tint
        direction = torch.randn(count, 3, 1, generator=generator) * torch.tensor([0.55, 0.4, 0.3])[:, None]
        light[:, 1:4] = direction * tint[:, None]
        light[:, 4:] = 0.15 * torch.randn(count, 5, 1, generator=generator)
        return light

    def _paint_hair(
        self, colour: Float[Tensor, "B V 3"], generator: torch.Generator
    ) -> Float[Tensor, "B V 3"]:
        """Most heads get a hair colour on the scalp, so that a bald rim is not a cue."""
        scalp = self.head.regions.get("scalp")
        if scalp is None:
            return colour
        count, device = len(colour), colour.device
        darkness = _uniform((count, 1, 1), generator, device) ** 2
        hair = 0.04 + darkness * torch.tensor([0.65, 0.5, 0.35], device=device)
        noise = 1 + 0.15 * _normal((count, colour.shape[1], 1), generator, device)
        has_hair = (_uniform((count, 1, 1), generator, device) < 0.85).float()
        blend = scalp[None, :, None] * has_hair
        return colour * (1 - blend) + (hair * noise).clamp(0, 1) * blend

    def _backgrounds(
        self, count: int, generator: torch.Generator, photos: Tensor | None, device: torch.device
    ) -> Float[Tensor, "B 3 S S"]:
        coarse = _uniform((count, 3, 5, 5), generator, device)
        fine = _uniform((count, 3, 28, 28), generator, device)
        size = (self.size, self.size)
        smooth = F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
        texture = F.interpolate(fine, size=size, mode="bilinear", align_corners=False) - 0.5
        made = (smooth + 0.4 * texture * _uniform((count, 1, 1, 1), generator, device)).clamp(0, 1)
        if photos is None or len(photos) == 0:
            return made
        rows = torch.randint(len(photos), (count,), generator=generator)
        # Enlarged and mirrored, so that the borrowed picture shows no second face of normal size.
        borrowed = F.interpolate(
            photos[rows.to(photos.device)].to(device)[:, :, :, : self.size // 3].flip(3),
            size=size,
            mode="bilinear",
            align_corners=False,
        )
        pick = _uniform((count, 1, 1, 1), generator, device) < 0.5
        return torch.where(pick, borrowed, made)

    def _face_mask(self, out) -> Float[Tensor, "B 1 S S"]:
        region = self.head.regions.get("face")
        if region is None:
            return out.mask
        inside = region[self.head.faces].mean(-1) > 0.5
        face = out.fragments.pix_to_face
        return (inside[face.clamp(min=0)] & (face >= 0)).float()[:, None]


def _mirror_index(names: list[str], i: int) -> int:
    name = names[i]
    for a, b in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(a) and name[: -len(a)] + b in names and not name.startswith(("jaw", "mouthLeft")):
            return names.index(name[: -len(a)] + b)
    return i

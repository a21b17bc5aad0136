"""Several photos of one person: one shape and one skin, and textures that fill each other's gaps.

Every photo is reconstructed by itself first. What belongs to the person is then agreed on; what belongs to
the moment (expression, pose, camera, light) stays the photo's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.errors import OccFaceError
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import CodeLayout, FaceParameters
from occface_core.networks.encoder import EncoderOutput
from occface_core.pipeline.types import Reconstruction
from occface_core.rendering.cameras import weak_perspective

_SEEN = 0.5  # share of a texel that counts as seen when colours of two photos are compared
_ENOUGH = 200  # texels that two photos must share before their light is compared
_GAIN = (0.4, 2.5)  # of one photo's colours to the other's; beyond these it is not light that differs


@runtime_checkable
class PersonReconstructor(Protocol):
    """What `OnePerson` needs of `FaceReconstructor`."""

    def reconstruct_person(
        self, images: list[np.ndarray], *, boxes: list[list[float] | None]
    ) -> list[Reconstruction | OccFaceError]: ...


@dataclass(frozen=True)
class OnePerson:
    """Takes every batch for photos of one person, for programs that reconstruct in batches."""

    model: PersonReconstructor

    def reconstruct_batch(
        self, images: list[np.ndarray], *, boxes: list[list[float] | None]
    ) -> list[Reconstruction | OccFaceError]:
        """See `FaceReconstructor.reconstruct_person`."""
        return self.model.reconstruct_person(images, boxes=boxes)


def join_outputs(parts: Sequence[EncoderOutput]) -> EncoderOutput:
    """The answers to several batches as one, without the landmark evidence."""

    def joined(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)

    code, features = (torch.cat([getattr(part, name) for part in parts]) for name in ("code", "features"))
    groups = [vars(part.params) for part in parts]
    merged = {name: torch.cat([group[name] for group in groups]) for name in groups[0]}
    params = parts[0].params.replace(**merged)
    return EncoderOutput(params, code, features, joined("mask_logits"), joined("log_sigma"))


def pick(output: EncoderOutput, rows: Sequence[int]) -> EncoderOutput:
    """Some rows of an output of `join_outputs`."""
    index = torch.tensor(rows, device=output.code.device)
    mask, sigma = output.mask_logits, output.log_sigma
    return EncoderOutput(
        output.params.index(index),
        output.code[index],
        output.features[index],
        None if mask is None else mask[index],
        None if sigma is None else sigma[index],
    )


def agree(output: EncoderOutput, head: HeadModel, layout: CodeLayout) -> EncoderOutput:
    """The answers for N photos of one person with one shape, one albedo and cameras that fit the new shape.

    Shape and albedo are plain means. Weights 1 / sigma², per photo or per region, were no better: two photos
    of one person differ by more than an occluder adds. Sigma becomes the smallest of each region.

    Args:
        output: of a network, one row per photo. head: the head model. layout: of the code.
    """
    params, sigma = output.params, output.log_sigma
    if len(params.betas) == 1:
        return output
    middle = {
        name: getattr(params, name).mean(0).expand_as(getattr(params, name)) for name in ("betas", "albedo")
    }
    changed = params.replace(**middle)
    changed = changed.replace(camera=_refitted_camera(params, changed, head))
    sigma = None if sigma is None else sigma.amin(0).expand_as(sigma)
    return replace(output, params=changed, code=changed.to_code(layout), log_sigma=sigma)


def _refitted_camera(before: FaceParameters, after: FaceParameters, head: HeadModel) -> Float[Tensor, "N 3"]:
    """Scale and shift that bring the changed faces nearest to where the photos' own faces lay."""
    face = head.regions["face"] if "face" in head.regions else torch.ones_like(head.v_template[:, 0])
    share = (face / face.sum())[:, None]
    old = weak_perspective(head(before.betas, before.expression, before.pose).verts, before.camera)[..., :2]
    new = head(after.betas, after.expression, after.pose).verts[..., :2] * old.new_tensor([1, -1])
    old_middle, new_middle = (old * share).sum(1), (new * share).sum(1)
    old, new = old - old_middle[:, None], new - new_middle[:, None]
    scale = (old * new * share).sum((1, 2)) / (new.square() * share).sum((1, 2))
    shift = old_middle / scale[:, None] - new_middle
    return torch.cat([scale[:, None], shift * shift.new_tensor([1, -1])], dim=1)


def share_textures(results: Sequence[Reconstruction]) -> list[Reconstruction]:
    """The same heads, each texture's gaps filled from the other photos, and from the albedo where none looks.

    Photos differ in light, so another photo's colours are multiplied by what its seen texels differ from this
    one's on average, channel by channel.

    Args:
        results: photos of one person with one albedo; those without a texture are given back as they are.
    """
    sources = [_Seen.of(one) for one in results]
    return [
        one if own is None else replace(one, texture=_filled(own, [s for s in sources if s and s is not own]))
        for one, own in zip(results, sources, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one photo shows of the skin: colours times visibility, and visibility."""

    texture: Float[np.ndarray, "U U 3"]
    albedo: Float[np.ndarray, "U U 3"]
    weight: Float[np.ndarray, "U U 1"]

    @classmethod
    def of(cls, one: Reconstruction) -> "_Seen | None":
        if one.texture is None or one.albedo is None or one.texture_visibility is None:
            return None
        return cls(one.texture, one.albedo, one.texture_visibility[..., None])

    @property
    def colour(self) -> Float[np.ndarray, "U U 3"]:
        # A texture is weight * photo + (1 - weight) * albedo.
        return self.texture - (1 - self.weight) * self.albedo


def _filled(own: _Seen, others: Sequence[_Seen]) -> Float[np.ndarray, "U U 3"]:
    total, colour = np.zeros_like(own.weight), np.zeros_like(own.texture)
    for other in others:
        total += other.weight
        colour += other.colour * _gain(own, other)
    behind = np.clip(colour / np.maximum(total, 1e-6), 0, 1)
    trust = np.clip(total, 0, 1)
    return (own.texture + (1 - own.weight) * trust * (behind - own.albedo)).astype(np.float32)


def _gain(own: _Seen, other: _Seen) -> Float[np.ndarray, "3"]:
    both = (np.minimum(own.weight, other.weight) > _SEEN)[..., 0]
    if both.sum() < _ENOUGH:
        return np.ones(3, np.float32)
    mine, theirs = ((s.colour[both] / s.weight[both]).mean(0) for s in (own, other))
    return np.clip(mine / np.maximum(theirs, 1e-3), *_GAIN).astype(np.float32)

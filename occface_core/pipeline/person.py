"""Several photos of one person: one shape and one skin, and textures that fill each other's gaps.

Every photo is reconstructed by itself first. What belongs to the person is then agreed on; what belongs to
the moment (expression, pose, camera, light) stays the photo's own.
"""

from collections.abc import Callable, Sequence
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
from occface_core.pipeline.textures import Chart, SeenTexture, complete_texture
from occface_core.pipeline.types import Reconstruction
from occface_core.rendering.cameras import weak_perspective


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

    @property
    def head(self) -> HeadModel | None:
        """The model's head."""
        return getattr(self.model, "head", None)

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


def share_textures(
    results: Sequence[Reconstruction], chart: Callable[[int], Chart | None]
) -> list[Reconstruction]:
    """The same heads of one person, each texture's gaps filled from the other photos before anything else.

    Args:
        results: of one person.
        chart: of textures, by their side.
    """
    # Half seen texels hold some of what once filled them, in the photo's own light: near enough to it.
    seen = [
        SeenTexture(one.texture, one.texture_visibility)
        if one.texture is not None and one.texture_visibility is not None
        else None
        for one in results
    ]
    shared = []
    for one, own in zip(results, seen, strict=True):
        others = [other for other in seen if other is not None and other is not own]
        if own is not None and one.albedo is not None and others:
            layout = chart(len(own.weight))
            one = replace(one, texture=complete_texture(own, one.albedo, others, chart=layout))
        shared.append(one)
    return shared

"""From a photo to a 3D head: detect, crop, encode, pose, and carry everything back to the photo's pixels."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from occface_core.data.crop import check_box
from occface_core.data.images import as_image
from occface_core.errors import BoxError, CheckpointError, ConfigError, NoFaceError, OccFaceError
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.regions import region_weight
from occface_core.networks.encoder import EncoderOutput
from occface_core.networks.looks import looking_first
from occface_core.pipeline.boxes import BoxLike, as_box
from occface_core.pipeline.detection import Detection, FaceDetector
from occface_core.pipeline.fitting import Fit, Target, pose_heads, to_numpy
from occface_core.pipeline.layouts import TextureLayouts
from occface_core.pipeline.loading import (
    FaceNetwork,
    both_ways,
    check_fit,
    load_albedo,
    load_texture_prior,
    resolve_device,
    resolve_head,
    resolve_network,
)
from occface_core.pipeline.person import agree, join_outputs, pick, share_textures
from occface_core.pipeline.placing import Placer
from occface_core.pipeline.projection import gather_evidence, texture_side
from occface_core.pipeline.remnants import without_remnants
from occface_core.pipeline.textures import SeenTexture, complete_texture
from occface_core.pipeline.types import Reconstruction

__all__ = ["FaceReconstructor", "Reconstruction"]


@runtime_checkable
class Albedo(Protocol):
    """What the reconstructor needs of an albedo model (`occface_core.morphable.albedo.AlbedoModel`)."""

    def texture(self, coeffs: Float[Tensor, "B T"]) -> Float[Tensor, "B 3 U U"]: ...


@runtime_checkable
class Detector(Protocol):
    """What the reconstructor needs of a face detector."""

    def detect(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Detection]: ...


class FaceReconstructor:
    """A network, a head model and a face detector, ready for photos.

    Args:
        model: "student" (robust to occlusion), "teacher", a .safetensors file, DECA's `deca_model.tar` (with
            the "flame" head), or a network.
        head: "open" (shipped), "flame" (once imported), a .safetensors file, or a head model.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        detector: Face detector; the default one is loaded when first needed.
        albedo: Albedo model; the shipped one by default when the head is the shipped one.
        batch_size: Crops per network call.
        mirrored: Let the network look at the mirror image too and average: closer, for one more network pass
            (not with heads that are not symmetric).

    Raises:
        AssetError: A file is missing, damaged, or belongs to another head (CheckpointError).
        ConfigError: The device does not exist.
    """

    def __init__(
        self,
        model: str | Path | FaceNetwork = "student",
        head: str | Path | HeadModel = "open",
        device: str = "auto",
        *,
        detector: Detector | None = None,
        albedo: Albedo | None = None,
        batch_size: int = 16,
        mirrored: bool = True,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1")
        self.device = resolve_device(device)
        self.head = resolve_head(head).to(self.device)
        self.head_name = head if isinstance(head, str) and head in ("open", "flame") else self.head.name
        self.model_name = str(model) if isinstance(model, str | Path) else "custom"
        self.encoder = resolve_network(model, self.device).to(self.device).eval()
        check_fit(self.encoder, self.head, self.model_name, self.head_name)
        self.albedo_model: Albedo | None = albedo
        prior = None  # it goes with the shipped head and albedo alone
        if albedo is None and head == "open":
            self.albedo_model, prior = load_albedo(self.device), load_texture_prior()
        self.detector: Detector = detector or FaceDetector()
        last = both_ways(self.encoder, self.head, self.albedo_model) if mirrored else None
        # Where to look a guided network's first look tells as well, in half of the time.
        first = looking_first(self.encoder)
        self.placer = Placer(
            first, self.head, self.device, last=last or self.encoder, batch_size=batch_size
        )
        self.layouts = TextureLayouts(self.head, prior)

    def reconstruct(
        self, image: np.ndarray, *, box: BoxLike | None = None, refine: bool | None = None
    ) -> Reconstruction:
        """Reconstruct the (largest) face of one photo.

        Args:
            image: (H,W,3) uint8 RGB; see `occface_core.data.images.as_image` for what else is accepted.
            box: x0, y0, x1, y1 of the 68 landmarks, pixels; detected when absent.
            refine: Crop again around the landmarks found at first, and fit again. By default for detected
                boxes only, since a given box always wins.

        Raises:
            ImageError: The array is not a usable image.
            NoFaceError: No box was given and no face was found.
            BoxError: The box is empty, not finite, or its centre lies outside the image.
        """
        result = self.reconstruct_batch([image], boxes=[box], refine=refine)[0]
        if isinstance(result, OccFaceError):
            raise result
        return result

    @torch.inference_mode()
    def reconstruct_batch(
        self,
        images: Sequence[np.ndarray],
        *,
        boxes: Sequence[BoxLike | None] | None = None,
        refine: bool | None = None,
    ) -> list[Reconstruction | OccFaceError]:
        """Reconstruct many photos; arguments as in `reconstruct`.

        Returns:
            One entry per photo, in order: its reconstruction, or the error that one photo raised. A bad photo
            never stops the others.
        """
        results, targets = self._targets(images, boxes)
        made = (
            self._assemble(target, fit, i)
            for placed, fit in self.placer.placed(targets.values(), refine)
            for i, target in enumerate(placed)
        )
        results.update(zip(targets, made, strict=True))
        return [results[i] for i in range(len(images))]

    @torch.inference_mode()
    def reconstruct_person(
        self,
        images: Sequence[np.ndarray],
        *,
        boxes: Sequence[BoxLike | None] | None = None,
        refine: bool | None = None,
    ) -> list[Reconstruction | OccFaceError]:
        """Reconstruct several photos of one person; arguments as in `reconstruct_batch`.

        Shape and albedo are agreed on (`occface_core.pipeline.person`), and what one photo's texture lacks
        comes from the others. Sigma is per region that of the photo which is surest: combining makes it no
        larger.

        Returns:
            As in `reconstruct_batch`. Photos that fail take no part.
        """
        results, targets = self._targets(images, boxes)
        parts = list(self.placer.placed(targets.values(), refine))
        if parts:
            placed = [target for some, _ in parts for target in some]
            output = join_outputs([fit.output for _, fit in parts])
            results.update(zip(targets, self._agreed(placed, output), strict=True))
        return [results[i] for i in range(len(images))]

    def _agreed(self, targets: list[Target], output: EncoderOutput) -> list[Reconstruction | OccFaceError]:
        heads: list[Reconstruction | OccFaceError] = [self._unusable() for _ in targets]
        good = output.code.isfinite().all(dim=1).nonzero()[:, 0].tolist()
        if not good:
            return heads
        joint = agree(pick(output, good), self.head, self.encoder.layout)
        fit = pose_heads(joint, self.head, self.encoder.config.input_size)
        notes = (f"shape and skin agreed over {len(good)} photos",) if len(good) > 1 else ()
        for place, i in enumerate(good):
            target = replace(targets[i], notes=(*targets[i].notes, *notes))
            heads[i] = self._assemble(target, fit, place)
        made = [head for head in heads if isinstance(head, Reconstruction)]
        shared = iter(share_textures(made, self.layouts.chart))
        return [next(shared) if isinstance(head, Reconstruction) else head for head in heads]

    def _targets(
        self, images: Sequence[np.ndarray], boxes: Sequence[BoxLike | None] | None
    ) -> tuple[dict[int, Reconstruction | OccFaceError], dict[int, Target]]:
        """Faces to fit, and the errors of photos that have none, by the photos' numbers."""
        if boxes is not None and len(boxes) != len(images):
            raise BoxError(f"{len(boxes)} boxes for {len(images)} images; give one (or None) for each")
        errors: dict[int, Reconstruction | OccFaceError] = {}
        targets: dict[int, Target] = {}
        for i, image in enumerate(images):
            try:
                targets[i] = self._target(image, None if boxes is None else boxes[i])
            except OccFaceError as error:
                errors[i] = error
        return errors, targets

    def _target(self, image: np.ndarray, box: BoxLike | None) -> Target:
        pixels = as_image(image)
        if box is not None:
            given = as_box(box)
            check_box(given, *pixels.shape[:2])
            return Target(pixels, given, None, (), self.encoder.config.crop_scale)
        found = self.detector.detect(pixels)
        if not found:
            raise NoFaceError(
                "no face was found; give its box, or a photo where the face is larger and upright"
            )
        best = max(found, key=lambda item: float(np.prod(item.box[2:] - item.box[:2])))
        notes = (f"{len(found)} faces were found; the largest was taken",) if len(found) > 1 else ()
        box, scale = best.box.astype(np.float64), self.encoder.config.crop_scale
        return Target(pixels, box, best.score, notes, scale, lowered=best.lowered)

    def _assemble(self, target: Target, fit: Fit, i: int) -> Reconstruction | OccFaceError:
        """Carry fit number `i` back to its photo."""
        output, crop = fit.output, target.crop
        code = to_numpy(output.code[i])
        verts_px = to_numpy(fit.verts_px[i])
        if not (np.isfinite(code).all() and np.isfinite(verts_px).all()):
            return self._unusable()
        verts_image = crop.inverse(verts_px, fit.size).astype(np.float32)
        crop_mask = None if output.mask_logits is None else to_numpy(output.mask_logits[i, 0].sigmoid())
        notes = target.notes
        if target.roll:
            notes += (f"the head is turned by {math.degrees(target.roll):.0f} degrees in the photo",)
        if crop_mask is None:
            notes += ("this network predicts no occlusion: face_mask is the whole face as rendered",)
        albedo = None
        if self.albedo_model is not None:
            albedo = to_numpy(self.albedo_model.texture(output.params.albedo[i : i + 1])[0].permute(1, 2, 0))
        lookup = None if albedo is None else self.layouts.lookup(texture_side(crop, albedo.shape[0]))
        seen = gather_evidence(target.image, verts_image, crop, crop_mask, self.head, lookup=lookup)
        head, shown = self.head, self._shown(seen.seen_texture, albedo)
        return Reconstruction(
            verts=to_numpy(fit.verts[i]),
            verts_neutral=to_numpy(fit.neutral[i]),
            verts_image=verts_image,
            faces=head.faces.cpu().numpy().astype(np.int32),
            landmarks68_2d=crop.inverse(to_numpy(fit.landmarks_px[i, :, :2]), fit.size).astype(np.float32),
            landmarks_now7=to_numpy(fit.now7[i]),
            face_mask=seen.face_mask,
            vertex_visibility=seen.vertex_visibility,
            code=code,
            code_layout=self.encoder.config.layout,
            parameters={name: code[part] for name, part in self.encoder.layout.slices.items()},
            expression_names=tuple(head.expression_names),
            crop=crop,
            crop_size=fit.size,
            box=target.box,
            detection_score=target.score,
            visible_fraction=seen.visible_fraction,
            model=self.model_name,
            head=self.head_name,
            vertex_sigma_mm=self._vertex_sigma(output, i),
            albedo=albedo,
            texture=self._texture(shown, albedo),
            texture_visibility=None if shown is None else shown.weight,
            uv=None if head.uv is None else to_numpy(head.uv),
            uv_faces=None if head.uv_faces is None else head.uv_faces.cpu().numpy(),
            notes=notes,
        )

    def _unusable(self) -> CheckpointError:
        return CheckpointError(
            f"network {self.model_name} answered with NaN or infinite values; its weights are unusable"
        )

    def _shown(self, seen: SeenTexture | None, albedo: np.ndarray | None) -> SeenTexture | None:
        """What the photo shows of the surface, less what is left of things before the face."""
        chart = None if seen is None else self.layouts.chart(len(seen.weight))
        if seen is None or albedo is None or chart is None:
            return seen
        return without_remnants(seen, albedo, chart)

    def _texture(self, shown: SeenTexture | None, albedo: np.ndarray | None) -> np.ndarray | None:
        if shown is None or albedo is None:
            return None
        return complete_texture(shown, albedo, chart=self.layouts.chart(len(shown.weight)))

    def _vertex_sigma(self, output: EncoderOutput, i: int) -> Float[np.ndarray, " V"] | None:
        """Spread the per-region uncertainty over the vertices; NaN where no named region reaches."""
        if output.log_sigma is None:
            return None
        names = self.encoder.config.sigma_regions
        weights = np.stack([to_numpy(region_weight(self.head, name)) for name in names])
        total = weights.sum(axis=0)
        mixed = to_numpy(output.log_sigma[i].exp()) @ weights
        return np.where(total > 1e-3, mixed / np.maximum(total, 1e-3), np.nan).astype(np.float32)

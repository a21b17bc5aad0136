"""From a photo to a 3D head: detect, crop, encode, pose, and carry everything back to the photo's pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from occface_core.data.crop import CropTransform, check_box, crop_image, square_from_box
from occface_core.data.images import as_image
from occface_core.errors import BoxError, CheckpointError, ConfigError, NoFaceError, OccFaceError
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.regions import region_weight
from occface_core.networks.encoder import EncoderOutput
from occface_core.pipeline.boxes import Box, BoxLike, as_box, refined_box
from occface_core.pipeline.detection import Detection, FaceDetector
from occface_core.pipeline.loading import (
    FaceNetwork,
    check_fit,
    load_albedo,
    resolve_device,
    resolve_head,
    resolve_network,
)
from occface_core.pipeline.projection import blend_texture, gather_evidence
from occface_core.pipeline.types import Reconstruction
from occface_core.rendering.cameras import to_pixels, weak_perspective
from occface_core.rendering.uv import UvLookup, uv_lookup

__all__ = ["FaceReconstructor", "Reconstruction"]


@runtime_checkable
class Albedo(Protocol):
    """What the reconstructor needs of an albedo model (`occface_core.morphable.albedo.AlbedoModel`)."""

    def texture(self, coeffs: Float[Tensor, "B T"]) -> Float[Tensor, "B 3 U U"]: ...


@runtime_checkable
class Detector(Protocol):
    """What the reconstructor needs of a face detector."""

    def detect(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Detection]: ...


@dataclass(frozen=True)
class _Target:
    """One photo on its way: the face's box and what is known about it."""

    image: UInt8[np.ndarray, "H W 3"]
    box: Box
    score: float | None
    notes: tuple[str, ...]

    scale: float

    @property
    def crop(self) -> CropTransform:
        return square_from_box(self.box, self.scale)


@dataclass(frozen=True)
class _Fit:
    """Heads fitted to a batch of crops; pixel coordinates are those of the crop, `size` pixels wide."""

    output: EncoderOutput
    verts: Float[Tensor, "B V 3"]
    neutral: Float[Tensor, "B V 3"]
    verts_px: Float[Tensor, "B V 3"]
    landmarks_px: Float[Tensor, "B 68 3"]
    now7: Float[Tensor, "B 7 3"]
    size: int


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
        if albedo is None and head == "open":
            self.albedo_model = load_albedo(self.device)
        self.detector: Detector = detector or FaceDetector()
        self.batch_size = batch_size
        self._lookup: UvLookup | None = None

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
        if boxes is not None and len(boxes) != len(images):
            raise BoxError(f"{len(boxes)} boxes for {len(images)} images; give one (or None) for each")
        results: dict[int, Reconstruction | OccFaceError] = {}
        targets: dict[int, _Target] = {}
        for i, image in enumerate(images):
            try:
                targets[i] = self._target(image, None if boxes is None else boxes[i])
            except OccFaceError as error:
                results[i] = error
        order = list(targets)
        for start in range(0, len(order), self.batch_size):
            part = order[start : start + self.batch_size]
            fitted = self._reconstruct_targets([targets[i] for i in part], refine)
            results.update(zip(part, fitted, strict=True))
        return [results[i] for i in range(len(images))]

    def _target(self, image: np.ndarray, box: BoxLike | None) -> _Target:
        pixels = as_image(image)
        if box is not None:
            given = as_box(box)
            check_box(given, *pixels.shape[:2])
            return _Target(pixels, given, None, (), self.encoder.config.crop_scale)
        found = self.detector.detect(pixels)
        if not found:
            raise NoFaceError(
                "no face was found; give its box, or a photo where the face is larger and upright"
            )
        best = max(found, key=lambda item: float(np.prod(item.box[2:] - item.box[:2])))
        notes = (f"{len(found)} faces were found; the largest was taken",) if len(found) > 1 else ()
        return _Target(pixels, best.box.astype(np.float64), best.score, notes, self.encoder.config.crop_scale)

    @torch.inference_mode()
    def _reconstruct_targets(
        self, targets: list[_Target], refine: bool | None
    ) -> list[Reconstruction | OccFaceError]:
        fit = self._fit(targets)
        second = [t.score is not None if refine is None else refine for t in targets]
        if any(second):
            targets = [
                _refined(t, fit, i) if wanted else t
                for i, (t, wanted) in enumerate(zip(targets, second, strict=True))
            ]
            fit = self._fit(targets)
        return [self._assemble(target, fit, i) for i, target in enumerate(targets)]

    def _fit(self, targets: list[_Target]) -> _Fit:
        """Encode the targets' crops and pose the heads, in crop pixels."""
        size = self.encoder.config.input_size
        crops = np.stack([crop_image(t.image, t.crop, size) for t in targets])
        batch = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float() / 255
        output = self.encoder(batch)
        params = output.params
        posed = self.head(params.betas, params.expression, params.pose).verts
        neutral = self.head.neutral(params.betas)
        points = self.head.landmarks(posed, "68", global_pose=params.pose[:, :3])
        return _Fit(
            output=output,
            verts=posed,
            neutral=neutral,
            verts_px=to_pixels(weak_perspective(posed, params.camera), size),
            landmarks_px=to_pixels(weak_perspective(points, params.camera), size),
            now7=self.head.landmarks(neutral, "now7"),
            size=size,
        )

    def _assemble(self, target: _Target, fit: _Fit, i: int) -> Reconstruction | OccFaceError:
        """Carry fit number `i` back to its photo."""
        output, crop = fit.output, target.crop
        code = _numpy(output.code[i])
        verts_px = _numpy(fit.verts_px[i])
        if not (np.isfinite(code).all() and np.isfinite(verts_px).all()):
            return CheckpointError(
                f"network {self.model_name} answered with NaN or infinite values; its weights are unusable"
            )
        verts_image = crop.inverse(verts_px, fit.size).astype(np.float32)
        crop_mask = None if output.mask_logits is None else _numpy(output.mask_logits[i, 0].sigmoid())
        notes = target.notes
        if crop_mask is None:
            notes += ("this network predicts no occlusion: face_mask is the whole face as rendered",)
        albedo = None
        if self.albedo_model is not None:
            albedo = _numpy(self.albedo_model.texture(output.params.albedo[i : i + 1])[0].permute(1, 2, 0))
        lookup = self._texture_layout(None if albedo is None else albedo.shape[0])
        seen = gather_evidence(target.image, verts_image, crop, crop_mask, self.head, lookup=lookup)
        head = self.head
        return Reconstruction(
            verts=_numpy(fit.verts[i]),
            verts_neutral=_numpy(fit.neutral[i]),
            verts_image=verts_image,
            faces=head.faces.cpu().numpy().astype(np.int32),
            landmarks68_2d=crop.inverse(_numpy(fit.landmarks_px[i, :, :2]), fit.size).astype(np.float32),
            landmarks_now7=_numpy(fit.now7[i]),
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
            texture=blend_texture(seen, albedo),
            texture_visibility=seen.texture_visibility,
            uv=None if head.uv is None else _numpy(head.uv),
            uv_faces=None if head.uv_faces is None else head.uv_faces.cpu().numpy(),
            notes=notes,
        )

    def _texture_layout(self, size: int | None) -> UvLookup | None:
        if size is None or self.head.uv is None or self.head.uv_faces is None:
            return None
        if self._lookup is None or len(self._lookup.face) != size:
            self._lookup = uv_lookup(self.head.uv.cpu(), self.head.uv_faces.cpu(), size)
        return self._lookup

    def _vertex_sigma(self, output: EncoderOutput, i: int) -> Float[np.ndarray, " V"] | None:
        """Spread the per-region uncertainty over the vertices; NaN where no named region reaches."""
        if output.log_sigma is None:
            return None
        names = self.encoder.config.sigma_regions
        weights = np.stack([_numpy(region_weight(self.head, name)) for name in names])
        total = weights.sum(axis=0)
        mixed = _numpy(output.log_sigma[i].exp()) @ weights
        return np.where(total > 1e-3, mixed / np.maximum(total, 1e-3), np.nan).astype(np.float32)


def _refined(target: _Target, fit: _Fit, i: int) -> _Target:
    """The same photo with the box of the landmarks found at first, if that is sane."""
    points = target.crop.inverse(_numpy(fit.landmarks_px[i, :, :2]), fit.size)
    box = refined_box(target.box, points)
    if box is None:
        return replace(
            target, notes=(*target.notes, "the fit strayed from the detected face; check it by eye")
        )
    return replace(target, box=box)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()

"""Sample sheets: how the network does on the same few faces at every stage of its training.

One row per face: the clean crop, what the network sees, the predicted shape laid over it, the predicted head
in its predicted colour and light, and the predicted mask of visible face skin with the true one's outline.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from occface_core.data.batches import BatchConfig, TwinSampler
from occface_core.data.hidden import with_hidden_of
from occface_core.data.packed import pack
from occface_core.data.photos import PhotoSet, load_photo_set
from occface_core.data.pixels import to_bytes
from occface_core.data.synthetic import SyntheticFaces
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes import Twin, join
from occface_core.distillation.scene import Scene
from occface_core.errors import DataError
from occface_core.networks.encoder import EncoderOutput, FaceEncoder
from occface_core.occlusion.api import occlude
from occface_core.rendering.renderer import Renderer, RenderOutput

log = logging.getLogger(__name__)

PANEL = 168  # side of one picture, pixels
HEADER, GAP = 26, 4
SEED = 20_240  # of the occluders and renders; the same faces on every sheet of every run
COLUMNS = ("clean", "covered", "overlay", "mesh", "mask")
COVERAGE = (0.2, 0.5)
# Grey clay under light from the upper left, for the overlay: shape without colour.
CLAY_LIGHT = (2.3, -0.5, 0.45, 0.8)


def sheet_faces(config: TrainConfig, scene: Scene) -> Twin:
    """The faces of a run's sheets: photos of the dev split, else of the training split, else renders."""
    if config.photos is not None and config.photo_count:
        for split in (config.dev_split, config.split):
            try:
                photos = load_photo_set(config.photos, split=split)
                return _photographs(config, scene, photos, split)
            except DataError as error:
                log.info("no sample sheet from split %r: %s", split, error)
    return _renders(config, scene)


def _photographs(config: TrainConfig, scene: Scene, photos: PhotoSet, split: str) -> Twin:
    count = min(config.sheet_faces, len(photos))
    rows = np.linspace(0, len(photos) - 1, count).round().astype(int)
    packed = pack(PhotoSet([photos.records[row] for row in rows]))
    packed = with_hidden_of(packed, config.hidden, split)
    batch = BatchConfig(
        batch_size=len(packed),
        size=config.input_size,
        occlude=True,
        family=config.occluder_family,
        clean_share=0.0,
        coverage=COVERAGE,
    )
    sampler = TwinSampler(
        packed, batch, seed=SEED, mirror=scene.mirror, mean_points=scene.mean_points, augment=False
    )
    return join(sampler[0], None, None, config.input_size)


def _renders(config: TrainConfig, scene: Scene) -> Twin:
    generator = torch.Generator().manual_seed(SEED)
    faces = SyntheticFaces(scene.head, scene.albedo, config.input_size)
    drawn = faces.sample(config.sheet_faces, generator=generator)
    covered = occlude(
        drawn.image,
        drawn.mask,
        points=drawn.points,
        family=config.occluder_family,
        coverage=COVERAGE,
        generator=generator,
        other_images=drawn.image.flip(0),
    )
    return join(None, drawn, (covered.image, covered.mask), config.input_size)


class SampleSheet:
    """Draws a network's answers on fixed faces.

    Args:
        faces: what to look at, see :func:`sheet_faces`.
        scene: head and albedo.
        autocast: precision of the run.
    """

    def __init__(
        self,
        faces: Twin,
        scene: Scene,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        images = {k: getattr(faces, k).to(scene.device) for k in ("clean", "occluded", "visible")}
        self.faces, self.scene, self.autocast = replace(faces, **images), scene, autocast
        self.renderer = Renderer(scene.head, PANEL).to(scene.device)

    def save(self, network: FaceEncoder, path: Path, title: str) -> bool:
        """Write the sheet as PNG, whole or not at all; returns whether it could be written."""
        sheet = self.draw(network, title)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.stem}.tmp.png")
        if not cv2.imwrite(str(temporary), sheet[..., ::-1]):
            log.warning("%s: sample sheet could not be written", path)
            return False
        temporary.replace(path)
        return True

    @torch.no_grad()
    def draw(self, network: FaceEncoder, title: str) -> np.ndarray:
        """(H,W,3) uint8 RGB. The network's training mode is left as it was."""
        training = network.training
        network.eval()
        try:
            with self.autocast():
                out = network(self.faces.occluded)
        finally:
            network.train(training)
        columns = [_pixels(self.faces.clean), _pixels(self.faces.occluded), *self._meshes(out)]
        if out.mask_logits is not None:
            columns.append(self._masks(out.mask_logits.float(), columns[1]))
        return _lay_out(columns, COLUMNS[: len(columns)], title)

    def _meshes(self, out: EncoderOutput) -> tuple[np.ndarray, np.ndarray]:
        """Clay shape over the covered image, and the head in predicted colour and light."""
        scene, params = self.scene, out.params
        verts = scene.head(params.betas, params.expression, params.pose).verts
        colour = scene.albedo.vertex_albedo(params.albedo, scene.head)
        clay_light = torch.zeros_like(params.sh_coeffs)
        clay_light[:, : len(CLAY_LIGHT)] = torch.tensor(CLAY_LIGHT, device=verts.device)[:, None]
        clay: RenderOutput = self.renderer(
            verts, params.camera, torch.full_like(colour, 0.62), clay_light, attributes=self._face(len(verts))
        )
        assert clay.attributes is not None
        under = F.interpolate(self.faces.occluded, size=(PANEL, PANEL), mode="bilinear", align_corners=False)
        opacity = 0.75 * (clay.attributes > 0.5) * clay.mask
        head = self.renderer(verts, params.camera, colour, params.sh_coeffs)
        backdrop = torch.full_like(head.image, 0.92)
        picture = head.mask * head.image + (1 - head.mask) * backdrop
        return _pixels(under + opacity * (clay.image.clamp(0, 1) - under)), _pixels(picture)

    def _face(self, count: int) -> Tensor:
        return self.scene.face[None, :, None].expand(count, -1, 1)

    def _masks(self, logits: Tensor, covered: np.ndarray) -> np.ndarray:
        """What the network calls visible skin in green, the rest dimmed; white outline: the truth."""
        size = (PANEL, PANEL)
        share = F.interpolate(logits.sigmoid(), size=size, mode="bilinear", align_corners=False)
        truth = F.interpolate(self.faces.visible, size=size, mode="bilinear", align_corners=False)
        green = np.array([60, 220, 90], np.float32)
        panels = []
        for picture, seen, true in zip(
            covered, share[:, 0].cpu().numpy(), truth[:, 0].cpu().numpy(), strict=True
        ):
            weight = seen[..., None]
            mixed = picture * (0.35 + 0.3 * weight) + green * (0.35 * weight)
            panel = np.ascontiguousarray(mixed.clip(0, 255).astype(np.uint8))
            outline, _ = cv2.findContours((true > 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(panel, outline, -1, (255, 255, 255), 1)
            panels.append(panel)
        return np.stack(panels)


def _pixels(images: Tensor) -> np.ndarray:
    """(B,3,S,S) in [0,1] to (B,PANEL,PANEL,3) uint8."""
    if images.shape[-1] != PANEL:
        images = F.interpolate(
            images, size=(PANEL, PANEL), mode="bilinear", align_corners=False, antialias=True
        )
    return to_bytes(images)


def _lay_out(columns: list[np.ndarray], names: tuple[str, ...], title: str) -> np.ndarray:
    rows, step = len(columns[0]), PANEL + GAP
    sheet = np.full((2 * HEADER + rows * step, len(columns) * step + GAP, 3), 255, np.uint8)
    _write(sheet, title, (GAP, HEADER - 8), 0.5)
    for c, (name, column) in enumerate(zip(names, columns, strict=True)):
        left = GAP + c * step
        _write(sheet, name, (left, 2 * HEADER - 8), 0.45)
        for r, picture in enumerate(column):
            top = 2 * HEADER + r * step
            sheet[top : top + PANEL, left : left + PANEL] = picture
    return sheet


def _write(sheet: np.ndarray, text: str, place: tuple[int, int], scale: float) -> None:
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), 1, cv2.LINE_AA)

"""What covers the faces of photos, told by a face parser: hair, hats, dark glasses, things held up.

The parser is a BiSeNet V2 (Yu et al., *BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time
Semantic Segmentation*, IJCV 2021) trained on CelebAMask-HQ (Lee et al., *MaskGAN*, CVPR 2020), in the
TensorFlow.js format; docs/data.md says where it comes from. It is needed to label training photos, never to
reconstruct.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8

from occface_core.data.packed import PackedPhotos
from occface_core.data.tfjs import GraphModel
from occface_core.errors import DataError
from occface_core.occlusion.face_points import face_mask_from_points

CLASSES = (
    "background", "skin", "left brow", "right brow", "left eye", "right eye", "glasses", "left ear",
    "right ear", "earring", "nose", "mouth", "upper lip", "lower lip", "neck", "necklace", "cloth", "hair",
    "hat",
)  # fmt: skip
LOGITS = "BiseNetV2/logits/1x1_conv_block/Conv2D"
INPUT_SIZE = 336  # pixels; the face then fills what it filled in the parser's training images
CENTRE = 0.75  # part of a packed crop's side that is looked at; faces and their surroundings lie within
SURE = 0.9  # background inside the face's outline counts as a cover from this probability on
LENS_CONTRAST = 60.0  # distance of lenses from skin, 8-bit Lab: clear glasses stay below, sunglasses do not
RULES = {"input": INPUT_SIZE, "centre": CENTRE, "sure": SURE, "lens contrast": LENS_CONTRAST}
BATCH = 8  # photos


class FaceParser:
    """Class and probability per pixel.

    Args:
        folder: the parser's `model.json` and weights.
        device: where it runs.
        half: in bfloat16: the same classes on 99.8 % of pixels, twice as fast where the hardware multiplies
            it and ten times slower elsewhere (`distillation.engine.fast_bf16` tells).

    Raises:
        DataError: the folder holds no such network.
    """

    def __init__(self, folder: str | Path, device: torch.device | str = "cpu", *, half: bool = False) -> None:
        self.device, self.half = torch.device(device), half
        self.network = GraphModel(folder, LOGITS).to(self.device)

    def digest(self) -> str:
        """Names this network: its graph and weights."""
        digest = hashlib.sha256(json.dumps(self.network.nodes, sort_keys=True).encode())
        for weights in self.network.buffers():
            digest.update(weights.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def parse(
        self, images: UInt8[np.ndarray, "N S S 3"]
    ) -> tuple[UInt8[np.ndarray, "N S S"], Float[np.ndarray, "N S S"]]:
        """Index into `CLASSES` and its probability, for RGB images with the face in the middle."""
        size = images.shape[1]
        x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        x = F.interpolate(x, (INPUT_SIZE, INPUT_SIZE), mode="bicubic", align_corners=False).clamp(-1, 1)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits = self.network(x.contiguous(memory_format=torch.channels_last))
        logits = F.interpolate(logits.float(), (size, size), mode="bilinear", align_corners=False)
        sure, label = logits.softmax(1).max(1)
        return label.to(torch.uint8).cpu().numpy(), sure.cpu().numpy()


def cover_from_classes(
    image: UInt8[np.ndarray, "H W 3"],
    label: UInt8[np.ndarray, "H W"],
    sure: Float[np.ndarray, "H W"],
    outline: Bool[np.ndarray, "H W"],
) -> Bool[np.ndarray, "H W"]:
    """What hides the face: hair and hats, sure background and clothes, and lenses unlike the skin.

    Ears and neck do not: they meet the outline where it is a few pixels off. Clear lenses do not either.
    """

    def is_a(*names: str) -> np.ndarray:
        return np.isin(label, [CLASSES.index(name) for name in names])

    hidden = is_a("hair", "hat") | (is_a("background", "cloth") & (sure > SURE))
    lenses, skin = is_a("glasses") & outline, is_a("skin", "nose") & outline
    if lenses.sum() > 20 and skin.sum() > 50:
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
        contrast = np.linalg.norm(np.median(lab[lenses], 0) - np.median(lab[skin], 0))
        if contrast > LENS_CONTRAST:
            hidden |= is_a("glasses")
    return hidden


def labelling_settings(packed: PackedPhotos, parser: FaceParser) -> dict:
    """Everything that masks depend on, as JSON values."""
    return {
        "photos": packed.digest(),
        "parser": parser.digest(),
        "device": parser.device.type,
        "precision": "bf16-mixed" if parser.half else "32-true",
        "batch": BATCH,
        **RULES,
    }


def hidden_parts(
    packed: PackedPhotos, parser: FaceParser, *, start: int = 0, batch_size: int = BATCH
) -> Iterator[Bool[np.ndarray, "B P P"]]:
    """Masks of what covers the face, for every photo of a pack from `start` on, batch by batch.

    Raises:
        DataError: the photos have fewer than 468 landmarks.
    """
    if packed.points.shape[1] < 468:
        raise DataError(f"hidden parts need 468 MediaPipe landmarks per photo, got {packed.points.shape[1]}")
    size = packed.size
    edge = round(size * (1 - CENTRE) / 2)
    middle = slice(edge, size - edge)
    for first in range(start, len(packed), batch_size):
        rows = slice(first, min(first + batch_size, len(packed)))
        images = np.ascontiguousarray(packed.images[rows, middle, middle])
        points = torch.from_numpy(packed.points[rows, :468].astype(np.float32) - edge)
        outlines = face_mask_from_points(points, *images.shape[1:3])[:, 0].numpy() > 0.5
        masks = np.zeros((len(images), size, size), bool)
        parsed = zip(images, *parser.parse(images), outlines, strict=True)
        masks[:, middle, middle] = np.stack([cover_from_classes(*one) for one in parsed])
        yield masks

"""From a fitted head to the photo: visible face mask, vertex visibility and texture, in photo pixels.

The head is rasterized once over the part of the photo under the crop square, at the photo's resolution or,
for large faces, at `MAX_SIDE` pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from occface_core.data.crop import CROP_SCALE, CropTransform
from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.textures import SeenTexture
from occface_core.rendering.rasterizer import rasterize
from occface_core.rendering.uv import UvLookup, extract_texture, vertex_visibility

MAX_SIDE = 640
# Probabilities of visible skin below and above which a pixel is kept out of, or taken into, the texture.
SURE_COVERED, SURE_SEEN = 0.5, 0.8
RIM = 1.2  # cells of the network's mask beside its border that are kept out of the texture


@dataclass(frozen=True)
class Window:
    """Whole photo pixels under the crop square, and the size they are drawn at."""

    x0: int
    y0: int
    width: int
    height: int
    scale: float

    @property
    def drawn(self) -> tuple[int, int]:
        """Height and width of the drawing."""
        return max(1, round(self.height * self.scale)), max(1, round(self.width * self.scale))


@dataclass(frozen=True)
class PhotoEvidence:
    """What the photo shows of the head.

    Attributes:
        face_mask: (H,W) 1 = visible face skin.
        vertex_visibility: (V,) in [0,1].
        visible_fraction: Visible share of the rendered face's pixels inside the photo.
        texture: (U,U,3) photo colours in texture space; None without a texture layout.
        texture_visibility: (U,U) in [0,1].
    """

    face_mask: UInt8[np.ndarray, "H W"]
    vertex_visibility: Float[np.ndarray, " V"]
    visible_fraction: float
    texture: Float[np.ndarray, "U U 3"] | None = None
    texture_visibility: Float[np.ndarray, "U U"] | None = None

    @property
    def seen_texture(self) -> SeenTexture | None:
        """Colours and visibility in texture space, if there are any."""
        if self.texture is None or self.texture_visibility is None:
            return None
        return SeenTexture(self.texture, self.texture_visibility)


def face_triangles(head: HeadModel) -> Bool[Tensor, " F"]:
    """Triangles of the face, the eyes and what an open mouth shows; all of them without regions."""
    regions = head.regions
    if "face" not in regions:
        return torch.ones(len(head.faces), dtype=torch.bool, device=head.faces.device)
    weight = regions["face"]
    for name in ("eyes", "mouth_interior"):
        if name in regions:
            weight = torch.maximum(weight, regions[name])
    return weight[head.faces].mean(dim=1) > 0.5


def window(height: int, width: int, crop: CropTransform) -> Window | None:
    """The photo's pixels under the crop square; None when there are none."""
    x0, y0 = max(0, int(np.floor(crop.left))), max(0, int(np.floor(crop.top)))
    x1 = min(width, int(np.ceil(crop.left + crop.side)))
    y1 = min(height, int(np.ceil(crop.top + crop.side)))
    if x1 <= x0 or y1 <= y0:
        return None
    return Window(x0, y0, x1 - x0, y1 - y0, min(1.0, MAX_SIDE / max(x1 - x0, y1 - y0)))


def texture_side(crop: CropTransform, base: int) -> int:
    """Side of a photo's texture: the albedo's, or twice that where the photo shows more than it can hold.

    Args:
        crop: The square the network saw.
        base: Side of the albedo, whose face spans about 0.7 of it.
    """
    face = min(crop.side, MAX_SIDE) / CROP_SCALE
    return base * (2 if face > 0.8 * base else 1)


def gather_evidence(
    image: UInt8[np.ndarray, "H W 3"],
    verts_image: Float[np.ndarray, "V 3"],
    crop: CropTransform,
    crop_mask: Float[np.ndarray, "M M"] | None,
    head: HeadModel,
    *,
    lookup: UvLookup | None = None,
) -> PhotoEvidence:
    """Compare the fitted head with the photo.

    Args:
        image: The photo.
        verts_image: Posed vertices, photo pixels and relative depth.
        crop: The square the network saw.
        crop_mask: Probability of visible face skin in that square; None when the network predicts none, then
            only the head's own self-occlusion counts.
        head: The head model.
        lookup: The head's texture layout; None leaves the texture out.
    """
    size = image.shape[0], image.shape[1]
    view = window(size[0], size[1], crop)
    if view is None:
        empty = np.zeros(size, np.uint8)
        return PhotoEvidence(empty, np.zeros(len(verts_image), np.float32), 0.0)
    rows, columns = view.drawn
    factor = np.array([columns / view.width, rows / view.height, view.scale])
    pixels = torch.from_numpy(((verts_image - [view.x0, view.y0, 0]) * factor).astype(np.float32))[None]
    faces = head.faces.cpu()
    fragments = rasterize(pixels, faces, rows, columns)
    seen = fragments.pix_to_face[0]
    on_face = (face_triangles(head).cpu()[seen.clamp(min=0)] & (seen >= 0)).numpy()
    visible = _mask_in_window(crop_mask, crop, view)
    soft = None if visible is None else torch.from_numpy(visible)[None, None]
    binary = on_face if visible is None else on_face & (visible > 0.5)
    visibility = vertex_visibility(pixels, faces, fragments, mask=soft)[0].numpy()
    mask = np.zeros(size, np.uint8)
    enlarged = cv2.resize(
        binary.astype(np.float32), (view.width, view.height), interpolation=cv2.INTER_LINEAR
    )
    mask[view.y0 : view.y0 + view.height, view.x0 : view.x0 + view.width] = enlarged > 0.5
    fraction = float(binary.sum() / on_face.sum()) if on_face.any() else 0.0
    if lookup is None:
        return PhotoEvidence(mask, visibility, fraction)
    region = image[view.y0 : view.y0 + view.height, view.x0 : view.x0 + view.width]
    small = cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA)
    photo = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
    sure = None
    if soft is not None and crop_mask is not None:
        sure = _decided(soft, view.scale * crop.side / len(crop_mask))
    texture, weight = extract_texture(photo, pixels, faces, fragments, lookup, mask=sure)
    return PhotoEvidence(
        mask, visibility, fraction, texture[0].permute(1, 2, 0).numpy(), weight[0, 0].numpy()
    )


def _decided(mask: Tensor, cell: float) -> Tensor:
    """Push probabilities towards 0 and 1: half a mask's colour on the skin is wrong whoever is right.

    The mask's own border is drawn in by `RIM` of its cells: the rim of a thing is neither thing nor skin, and
    shows as a line around every gap of a texture.

    Args:
        mask: (1,1,h,w) probability of visible skin.
        cell: side of a cell of the network's mask, pixels of `mask`.
    """
    t = ((mask - SURE_COVERED) / (SURE_SEEN - SURE_COVERED)).clamp(0, 1)
    reach = round(RIM * cell)
    t = -F.max_pool2d(-t, 2 * reach + 1, stride=1, padding=reach)
    return t * t * (3 - 2 * t)


def _mask_in_window(
    crop_mask: Float[np.ndarray, "M M"] | None, crop: CropTransform, view: Window
) -> Float[np.ndarray, "h w"] | None:
    """Resample the network's mask from the crop square to the drawing, bilinearly; 0 outside the square."""
    if crop_mask is None:
        return None
    side = crop_mask.shape[0]
    rows, columns = view.drawn
    to_crop = side / crop.side
    x = (view.x0 + (np.arange(columns) + 0.5) * view.width / columns - crop.left) * to_crop
    y = (view.y0 + (np.arange(rows) + 0.5) * view.height / rows - crop.top) * to_crop
    # OpenCV counts pixel centres at whole numbers.
    grid_x, grid_y = np.meshgrid((x - 0.5).astype(np.float32), (y - 0.5).astype(np.float32))
    values = np.ascontiguousarray(crop_mask, dtype=np.float32)
    sampled = cv2.remap(values, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = ((x >= 0) & (x <= side))[None] & ((y >= 0) & (y <= side))[:, None]
    return sampled * inside

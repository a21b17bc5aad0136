"""Shared by the mesh formats: arrays in and out, textures as PNG bytes."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from occface_core.errors import MeshError


def to_numpy(tensor: Tensor, dtype: type = np.float32) -> np.ndarray:
    """Contiguous CPU array of a tensor."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=dtype)


def to_bytes(colours: Tensor) -> np.ndarray:
    """Colours in [0, 1] as rounded uint8."""
    return (to_numpy(colours).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def float_tensor(array: np.ndarray) -> Tensor:
    """float32 tensor of an array of any numeric type or byte order."""
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def index_tensor(array: np.ndarray) -> Tensor:
    """int64 tensor of an array of any integer type or byte order."""
    return torch.from_numpy(np.array(array, dtype=np.int64, order="C"))


def encode_png(texture: Tensor) -> bytes:
    """PNG file of an (H, W, 3) RGB texture."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(to_bytes(texture)[..., ::-1]))
    if not done:
        raise MeshError(f"cannot write a {tuple(texture.shape)} texture as PNG")
    return data.tobytes()


def decode_image(data: bytes, name: str | Path) -> Tensor:
    """(H, W, 3) RGB texture in [0, 1] of a PNG or JPEG file."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise MeshError(f"{name}: the texture is not a readable image; export it as PNG or JPEG")
    return float_tensor(image[..., ::-1]) / 255


def fan_triangles(polygon: list[int]) -> list[tuple[int, int, int]]:
    """Triangles of a convex polygon."""
    return [(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, len(polygon) - 1)]

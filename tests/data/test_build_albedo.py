"""Choosing photos for the albedo model."""

from pathlib import Path

import cv2
import numpy as np
import torch

from occface_core.data.build_albedo import usable_photos
from occface_core.data.photos import load_photo_set
from occface_core.morphable.head_model import HeadModel


def test_only_usable_photos_are_decoded(tmp_path: Path, rng: np.random.Generator) -> None:
    head = HeadModel.load()
    mesh = head.landmarks(head.v_template[None], "468")[0]
    flat = (mesh[:, :2] * torch.tensor([900.0, -900.0])).numpy() + np.array([120.0, 125.0])
    frontal = np.concatenate([flat, flat[:10]])
    narrow = (frontal - [120, 0]) * [0.5, 1] + [120, 0]
    names = ["good.png", "turned.png", "damaged.png"]
    for name in names[:2]:
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 255, (250, 240, 3), dtype=np.uint8))
    (tmp_path / "damaged.png").write_bytes(b"not an image")
    points = np.stack([frontal, narrow, frontal])
    quantised = ((points + 64) * 64).astype(np.uint16)
    np.savez(tmp_path / "landmarks.npz", name=np.array(names), landmarks_q=quantised)
    chosen = list(usable_photos(load_photo_set(tmp_path), head))
    assert len(chosen) == 1
    image, found = chosen[0]
    assert image.shape == (250, 240, 3)
    np.testing.assert_allclose(found, frontal, atol=0.02)

"""What a photo shows of a head that is drawn into it."""

import numpy as np
import torch

from occface_core.data.crop import CropTransform
from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.projection import gather_evidence


def test_what_an_open_mouth_shows_belongs_to_the_face(open_head: HeadModel) -> None:
    pose = torch.zeros(1, 6)
    pose[0, 3] = 0.35
    rest = torch.zeros(1, open_head.n_shape), torch.zeros(1, open_head.n_expression)
    verts = open_head(*rest, pose).verts[0]
    scale, side = 700.0, 200
    placed = (verts * torch.tensor([scale, -scale, -scale]) + torch.tensor([100.0, 90.0, 0.0])).numpy()
    crop = CropTransform(100.0, 100.0, 200.0)
    lips = placed[(open_head.regions["lips"] > 0.5).numpy()]
    x, y = lips.mean(0)[:2].round().astype(int)
    photo = np.full((side, side, 3), 128, np.uint8)
    whole = gather_evidence(photo, placed, crop, None, open_head)
    assert whole.face_mask[y - 3 : y + 4, x - 3 : x + 4].all()
    assert whole.visible_fraction == 1
    hidden = np.ones((50, 50), np.float32)
    hidden[25:] = 0
    half = gather_evidence(photo, placed, crop, hidden, open_head)
    assert not half.face_mask[y, x]
    assert 0.4 < half.visible_fraction < 0.7

"""What covers faces in the photos themselves: files, packs, and the masks of training batches and twins."""

import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from occface_core.data.batches import BatchConfig, TwinSampler
from occface_core.data.hidden import PartialHidden, hidden_file, with_hidden, write_hidden
from occface_core.data.landmarks import mirror_pairs
from occface_core.data.packed import PackedPhotos, pack
from occface_core.data.photos import load_photo_set
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.run import load_packed
from occface_core.errors import DataError
from occface_core.morphable.head_model import HeadModel

GREEN = np.array([0, 255, 0], np.uint8)


@pytest.fixture(scope="module")
def packed(photo_folder) -> PackedPhotos:
    return pack(load_photo_set(photo_folder), size=90)


@pytest.fixture(scope="module")
def mean_points(open_head: HeadModel) -> Tensor:
    return open_head.landmarks(open_head.v_template[None], "468")[0]


def sampler(packed: PackedPhotos, mean_points: Tensor, **settings) -> TwinSampler:
    config = BatchConfig(batch_size=6, size=64, **settings)
    return TwinSampler(
        packed, config, seed=3, mirror=mirror_pairs(mean_points.numpy()), mean_points=mean_points
    )


def left_half(packed: PackedPhotos) -> np.ndarray:
    masks = np.zeros((len(packed), packed.size, packed.size), bool)
    masks[:, :, : packed.size // 2] = True
    return masks


def test_masks_return_from_the_file_by_name(packed: PackedPhotos, tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((len(packed), packed.size, packed.size)) < 0.3
    path = hidden_file(tmp_path / "new", "train")
    write_hidden(path, packed.names[1:][::-1], masks[1:][::-1])
    assert [p.name for p in path.parent.iterdir()] == ["train-hidden.npz"]
    known = with_hidden(packed, path)
    assert not known.hidden_mask(0).any()
    for row in range(1, len(packed)):
        np.testing.assert_array_equal(known.hidden_mask(row) == 255, masks[row])
    some = known.rows(np.array([4, 2]))
    np.testing.assert_array_equal(some.hidden_mask(1) == 255, masks[2])
    assert not packed.hidden_mask(3).any()


def test_masks_never_lie_in_memory_as_bytes(tmp_path: Path) -> None:
    rng, count, size = np.random.default_rng(0), 400, 176
    run = PartialHidden(tmp_path / "hidden.npz", [f"{i}.png" for i in range(count)], size, {})
    assert run.resume(8) == 0
    tracemalloc.start()
    for _ in range(0, count, 8):
        run.append(rng.random((8, size, size), np.float32) < 0.3)
    run.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < count * size * size / 2
    with np.load(tmp_path / "hidden.npz") as stored:
        assert stored["bits"].shape == (count, size, size // 8)
    assert [p.name for p in tmp_path.iterdir()] == ["hidden.npz"]


def test_files_that_do_not_fit_are_refused_by_name(packed: PackedPhotos, tmp_path: Path) -> None:
    path = tmp_path / "train-hidden.npz"
    with pytest.raises(DataError, match=re.escape(str(path))):
        with_hidden(packed, path)
    path.write_bytes(b"not an archive")
    with pytest.raises(DataError, match=re.escape(str(path))):
        with_hidden(packed, path)
    write_hidden(path, packed.names, left_half(packed))
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:80] + b"\0" * 40 + whole[120:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=re.escape(str(path))):
            with_hidden(packed, path)
    np.savez(path, name=packed.names, bits=left_half(packed), size=[packed.size], scale=1.95)
    with pytest.raises(DataError, match="bits must be uint8"):
        with_hidden(packed, path)
    write_hidden(path, packed.names, np.zeros((len(packed), 64, 64), bool))
    with pytest.raises(DataError, match=r"masks of 64 pixels.*have 90"):
        with_hidden(packed, path)
    write_hidden(path, ["else.png"] * len(packed), left_half(packed))
    with pytest.raises(DataError, match=re.escape(packed.names[0])):
        with_hidden(packed, path)


def test_hidden_parts_follow_the_photo_through_jitter_and_mirroring(
    packed: PackedPhotos, mean_points: Tensor, tmp_path: Path
) -> None:
    masks, images = left_half(packed), np.array(packed.images)
    images[masks], images[~masks] = GREEN, 255 - GREEN
    write_hidden(tmp_path / "h.npz", packed.names, masks)
    known = with_hidden(replace(packed, images=images), tmp_path / "h.npz")
    sides = set()
    for step in range(3):
        batch = sampler(known, mean_points, colour_jitter=0.0)[step]
        covered = batch.clean[:, 1:2] > 0.9
        inside = batch.face_mask > 0.9
        assert inside.any()
        assert not (inside & covered).any()
        bare = sampler(packed, mean_points, colour_jitter=0.0)[step].face_mask
        free = (bare > 0.9) & (batch.clean[:, :1] > 0.9)
        assert torch.equal(inside & free, free)
        sides |= set((batch.clean[:, 1, 32, 4] > 0.5).tolist())
    assert sides == {True, False}  # some were mirrored


def test_pictures_stay_and_only_masks_shrink(
    packed: PackedPhotos, mean_points: Tensor, tmp_path: Path
) -> None:
    write_hidden(tmp_path / "h.npz", packed.names, left_half(packed))
    known = with_hidden(packed, tmp_path / "h.npz")
    before, after = (sampler(p, mean_points, occlude=True)[0] for p in (packed, known))
    for name in ("clean", "occluded", "points", "coverage"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    for name in ("face_mask", "visible"):
        assert (getattr(after, name) <= getattr(before, name)).all()
        share = getattr(after, name).sum() / getattr(before, name).sum()
        assert 0.2 < share < 0.8, name


def test_training_takes_the_masks_of_its_split(photo_folder: Path, tmp_path: Path) -> None:
    settings = TrainConfig(photos=photo_folder, split="train", cache=tmp_path, hidden=tmp_path)
    with pytest.raises(DataError, match=r"train-hidden\.npz"):
        load_packed(settings, "train", None)
    whole = load_packed(settings.replace(hidden=None), "train", None)
    assert whole.hidden is None
    write_hidden(hidden_file(tmp_path, "train"), whole.names, left_half(whole))
    assert load_packed(settings, "train", None).hidden_mask(0).mean() == pytest.approx(127.5)

"""Twins depend on the photo's place alone, are whole bytes, known by name; exports hold the same pixels."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from occface_core.data.pixels import to_bytes
from occface_core.errors import ConfigError
from occface_core.evaluation.twins import TwinSettings, views_of
from occface_core.evaluation.twins_export import export_twins
from occface_core.losses import sample_at


def test_covers_depend_neither_on_the_batch_nor_on_the_limit(make_twins, labelled_pack) -> None:
    wide, narrow = make_twins(10, covers=2)[0], make_twins(3, covers=2)[1]
    assert narrow.index.tolist() == [3, 4, 5]
    for view, images in views_of(narrow).items():
        assert torch.equal(images, views_of(wide)[view][3:6])
    assert narrow.family == wide.family[3:6]
    few = replace(
        labelled_pack,
        images=labelled_pack.images[:5],
        points=labelled_pack.points[:5],
        names=labelled_pack.names[:5],
    )
    assert torch.equal(make_twins(10, pack=few)[0].occluded, wide.occluded[:5])


def test_pictures_are_whole_bytes_and_masks_what_the_cover_leaves(make_twins) -> None:
    batch = make_twins(10, covers=3)[0]
    assert list(views_of(batch)) == ["clean", "occluded", "cover2", "cover3"]
    for images in views_of(batch).values():
        assert torch.equal(images, torch.from_numpy(to_bytes(images)).movedim(-1, -3).float() / 255)
    assert not torch.equal(batch.covers[0], batch.occluded)
    hidden = 1 - batch.visible.sum((1, 2, 3)) / batch.face_mask.sum((1, 2, 3))
    torch.testing.assert_close(hidden, batch.coverage)
    assert batch.to("cpu").covers[1].equal(batch.covers[1])


def test_landmarks_are_the_crops(make_twins) -> None:
    twins = make_twins(4)
    torch.testing.assert_close(twins[1].points, twins.points[4:8])
    assert 0 < float(twins.points.min()) < float(twins.points.max()) < 64


def test_the_name_changes_with_whatever_changes_the_pictures(make_twins, labelled_pack) -> None:
    name = make_twins().identifier
    assert make_twins(7).identifier == name
    others = [{"seed": 1}, {"size": 65}, {"covers": 2}, {"family": "stripes"}, {"coverage": (0.2, 0.4)}]
    assert name not in {make_twins(**other).identifier for other in others}
    moved = replace(labelled_pack, points=labelled_pack.points + 1)
    assert make_twins(pack=moved).identifier != name


def test_covers_in_the_photos_themselves_shrink_masks_not_pictures(make_twins, labelled_pack) -> None:
    masks = np.zeros((10, 80, 80), bool)
    masks[:, :40] = True
    known = replace(labelled_pack, hidden=np.packbits(masks, axis=2))
    twins, plain = make_twins(10, pack=known), make_twins(10)
    assert twins.identifier == plain.identifier
    assert plain.hidden_identifier is None
    assert twins.hidden_identifier is not None
    bare, whole = twins[0], plain[0]
    assert torch.equal(bare.occluded, whole.occluded)
    for name in ("face_mask", "visible"):
        upper, lower = getattr(bare, name)[:, :, :28], getattr(bare, name)[:, :, 36:]
        assert not upper.any()
        assert torch.equal(lower, getattr(whole, name)[:, :, 36:])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"covers": 0}, "covers 0"),
        ({"coverage": (0.5, 0.2)}, "increasing"),
        ({"size": 8}, "size 8"),
        ({"seed": -1}, "seed -1"),
        ({"second": 1.2}, "second 1.2"),
        ({"pixels": 4}, "pixels 4"),
        ({"pixels": 200}, "pixels 200"),
        ({"stretch": 2.5}, r"stretch 2\.5"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TwinSettings(**wrong)


def test_second_objects_and_few_pixels_touch_covered_pictures_alone(make_twins) -> None:
    plain, twice, small = make_twins(4), make_twins(4, second=1.0), make_twins(4, pixels=16)
    assert len({twins.identifier for twins in (plain, twice, small)}) == 3
    one, two, few = plain[0], twice[0], small[0]
    assert torch.equal(one.clean, two.clean)
    assert torch.equal(one.clean, few.clean)
    assert all("+" in name for name in two.family)
    assert bool((two.coverage > one.coverage).all())
    assert torch.equal(one.visible, few.visible)
    hard, same = make_twins(4, harsh=True), make_twins(2, harsh=True)
    assert hard.identifier == same.identifier != plain.identifier
    assert torch.equal(one.clean, hard[0].clean)
    assert torch.equal(one.visible, hard[0].visible)
    assert bool(((hard[0].occluded - one.occluded).abs().mean((1, 2, 3)) > 0.01).all())
    assert torch.equal(hard[0].occluded[2:], same[1].occluded)
    step = lambda images: (images[..., 1:] - images[..., :-1]).abs().mean()  # noqa: E731
    assert float(step(few.occluded)) < 0.6 * float(step(one.occluded))


def test_stretched_photos_are_wider_as_a_whole(make_twins) -> None:
    plain, wide = make_twins(4), make_twins(4, stretch=1.44)
    assert plain.identifier != wide.identifier
    assert make_twins(4, stretch=1.0).identifier == plain.identifier
    # About the centre of the crop, with the area they had.
    factors = torch.tensor([1.2, 1 / 1.2])
    torch.testing.assert_close(wide.points - 32, (plain.points - 32) * factors, rtol=0, atol=1e-3)
    shares = [twins[0].outline.mean((1, 2, 3)) for twins in (plain, wide)]
    torch.testing.assert_close(shares[1], shares[0], rtol=0.05, atol=0.01)
    # What lies on a landmark is still there.
    at = lambda twins: sample_at(twins[0].clean, twins.points[:4] / 32 - 1)  # noqa: E731
    assert float((at(wide) - at(plain)).abs().mean()) < 0.3 * float(
        (at(wide) - at(plain).roll(97, 1)).abs().mean()
    )


def test_photos_that_end_early_hide_what_lies_beyond(make_twins) -> None:
    plain, cut, same = make_twins(4), make_twins(4, cut=True), make_twins(2, cut=True)
    assert cut.identifier == same.identifier != plain.identifier
    whole, part = plain[0], cut[0]
    assert torch.equal(whole.clean, part.clean)
    assert torch.equal(part.occluded[2:], same[1].occluded)
    assert bool((part.visible <= whole.visible).all())
    changed = (part.occluded != whole.occluded).any(1).flatten(1).any(1)
    assert bool(changed.all())
    kept = part.visible > 0
    assert torch.equal((part.occluded * kept), (whole.occluded * kept))


def test_exported_files_are_the_twins(make_twins, tmp_path: Path) -> None:
    twins = make_twins(4, covers=2)
    export_twins(twins, tmp_path)
    about = json.loads((tmp_path / "twins.json").read_text())
    assert about["twins"] == twins.identifier
    assert about["views"] == ["clean", "occluded", "cover2"]
    with (tmp_path / "twins.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["name"] for row in table] == twins.packed.names
    batch = twins[1]
    assert table[5]["family"] == batch.family[1]
    assert table[5]["kind"] == "irrational"
    assert float(table[5]["coverage"]) == pytest.approx(float(batch.coverage[1]), abs=1e-6)
    for view, images in views_of(batch).items():
        written = np.array(Image.open(tmp_path / view / table[5]["file"]))
        assert torch.equal(torch.from_numpy(written).permute(2, 0, 1).float() / 255, images[1])
    mask = np.array(Image.open(tmp_path / "mask_occluded" / table[5]["file"]))
    np.testing.assert_array_equal(mask > 127, batch.visible[1, 0].numpy() > 0.5)


def test_a_folder_of_other_twins_is_not_overwritten(make_twins, tmp_path: Path) -> None:
    export_twins(make_twins(10), tmp_path)
    export_twins(make_twins(10), tmp_path)
    with pytest.raises(ConfigError, match="other twins"):
        export_twins(make_twins(10, seed=1), tmp_path)

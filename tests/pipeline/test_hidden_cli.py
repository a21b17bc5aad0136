"""`hidden`: from photos to masks that training reads; a kill; other settings; precision."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.cli import main
from occface_core.data import hidden
from occface_core.data.hidden import with_hidden
from occface_core.data.packed import cached_pack
from occface_core.data.parsing import FaceParser
from occface_core.data.photos import load_photo_set
from occface_core.distillation import engine
from occface_core.distillation.config import PRECISIONS
from occface_core.errors import DataError

from ..data.graphs import write_red_is_hair


@pytest.fixture
def red_is_hair(tmp_path: Path) -> Path:
    return write_red_is_hair(tmp_path / "parser")


def test_the_command_writes_what_training_reads(
    red_is_hair: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    words = ["hidden", photo_folder, "--split", "train", "--out", out, "--cache", cache, "--limit", 5]
    assert main([*map(str, words), "--parser", str(red_is_hair), "--device", "cpu"]) == 0
    assert "5 photos" in capsys.readouterr().out
    packed = cached_pack(load_photo_set(photo_folder, split="train"), cache, limit=5)
    known = with_hidden(packed, out / "train-hidden.npz")
    covered = np.stack([known.hidden_mask(row) for row in range(5)]) == 255
    red, green, blue = np.moveaxis(np.array(packed.images).astype(int), -1, 0)
    redness = red - (green + blue) / 2  # from 64 on it is hair to this parser
    middle = np.zeros(covered.shape, bool)
    middle[:, 24:-24, 24:-24] = True
    assert (middle & (redness > 90)).any()
    assert covered[middle & (redness > 90)].mean() > 0.95
    assert covered[middle & (redness < 40)].mean() < 0.05
    assert not covered[:, :20].any()
    assert main([*map(str, words), "--parser", str(tmp_path)]) == 2
    assert "model.json" in capsys.readouterr().err


@pytest.fixture
def label(red_is_hair: Path, photo_folder: Path, tmp_path: Path) -> Callable[..., int]:
    """Run the command on the twelve photos, with a folder under `tmp_path` for its results."""

    def run(out: str, *options: object, parser: Path = red_is_hair) -> int:
        fixed = ["hidden", photo_folder, "--out", tmp_path / out, "--cache", tmp_path / "cache"]
        return main([*map(str, [*fixed, "--device", "cpu", "--parser", parser, *options])])

    return run


def test_a_killed_labelling_goes_on_and_ends_the_same(
    label: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert label("whole") == 0
    parse, seen = FaceParser.parse, []

    def failing(self, images):
        seen.append(len(images))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return parse(self, images)

    monkeypatch.setattr(FaceParser, "parse", failing)
    assert label("killed") == 130
    partial = tmp_path / "killed" / "train-hidden.partial"
    with partial.open("ab") as stream:  # as if the kill had come while the second batch was written
        stream.write(b"\1" * 5000)
    assert label("killed") == 0
    assert seen == [8, 4, 4]
    assert [path.name for path in partial.parent.iterdir()] == ["train-hidden.npz"]
    ends = [(tmp_path / out / "train-hidden.npz").read_bytes() for out in ("whole", "killed")]
    assert ends[0] == ends[1]


def test_unfinished_masks_do_not_mix_with_others(
    label: Callable[..., int],
    red_is_hair: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    other = tmp_path / "other"
    shutil.copytree(red_is_hair, other)
    weights = bytearray((other / "weights.bin").read_bytes())
    weights[3] ^= 1
    (other / "weights.bin").write_bytes(weights)
    with monkeypatch.context() as patch:
        patch.setattr(hidden, "_write_bits", lambda *_: 1 / 0)  # killed at the very end
        with pytest.raises(ZeroDivisionError):
            label("out", "--precision", "32-true")  # what auto takes depends on the machine
    partial = tmp_path / "out" / "train-hidden.partial"
    whole = partial.read_bytes()
    for changed, options in (
        ("parser", {"parser": other}),
        ("photos", {"options": ("--limit", 9)}),
        ("precision", {"options": ("--precision", "bf16-mixed")}),
    ):
        assert label("out", "--precision", "32-true", *options.pop("options", ()), **options) == 2
        said = rf"partial holds unfinished masks.*\({changed}: .*--restart"
        assert re.search(said, capsys.readouterr().err)
        assert partial.read_bytes() == whole
    partial.write_bytes(b"something else\n")
    assert label("out") == 2
    assert "damaged" in capsys.readouterr().err
    assert label("out", "--limit", 9, "--restart") == 0
    assert not partial.exists()


@pytest.mark.parametrize(
    ("options", "native", "half"),
    [
        ((), True, True),
        ((), False, False),  # where bfloat16 is emulated it takes ten times as long
        (("--half",), False, True),
        (("--precision", "bf16-mixed"), False, True),
        (("--precision", "32-true"), True, False),
    ],
)
def test_precision_follows_the_machine_unless_it_is_given(
    label: Callable[..., int], monkeypatch: pytest.MonkeyPatch, options: tuple, native: bool, half: bool
) -> None:
    made = []

    def note(folder: Path, device: torch.device, *, half: bool) -> None:
        made.append(half)
        raise DataError("enough")

    monkeypatch.setattr("occface_core.data.parsing.FaceParser", note)
    monkeypatch.setattr(engine, "native_bf16", lambda: native)
    assert label("out", *options) == 2
    assert made == [half]


def test_precisions_are_those_of_training(capsys: pytest.CaptureFixture) -> None:
    assert main(["hidden", "--help"]) == 0
    assert f"--precision {{{','.join(PRECISIONS)}}}" in capsys.readouterr().out

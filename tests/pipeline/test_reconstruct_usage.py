"""Wrong usage of the reconstruct command: a sentence and an exit code each."""

import shutil
from pathlib import Path

import pytest

from occface_core.cli import main


def run(*words: object) -> int:
    return main(["reconstruct", *(str(word) for word in words)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x"], "INPUT"),
        (["nothing.png"], "--out"),
        (["a.png", "--out", "x", "--format", "fbx"], "unknown mesh format fbx"),
        (["a.png", "--out", "x", "--batch-size", "0"], "at least 1"),
        (["a.png", "--out", "x", "--device", "tpu"], "tpu"),
    ],
)
def test_wrong_usage(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert run(*words) == 2
    assert message in capsys.readouterr().err


def test_wrong_usage_that_argparse_cannot_see(
    built: list, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,left\n")
    assert run(empty, "--out", out) == 2
    assert "holds no photos or videos" in capsys.readouterr().err
    assert run(folder, "--out", out, "--boxes", boxes) == 2
    assert "lacks the columns image, x0" in capsys.readouterr().err
    assert run(folder, "--out", out, "--boxes", tmp_path / "none.csv") == 2
    assert run(folder, "--out", out, "--model", "broken") == 2
    assert "does not match its SHA-256" in capsys.readouterr().err
    (out / "manifest.csv").write_text("something,else\n")
    assert run(folder, "--out", out) == 2
    assert "is not a manifest" in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_is_wrong_usage(
    built: list, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    for out in (taken, taken / "inside"):
        assert run(folder, "--out", out) == 2
        assert f"'{out}' is no folder that can be written to" in capsys.readouterr().err
    assert not built  # said before any work is done


def test_a_full_disk_is_a_sentence(
    built: list, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("occface_core.pipeline.manifest.os.replace", full)
    assert run(folder, "--out", tmp_path / "out") == 2
    assert "manifest.csv' cannot be written (No space left on device)" in capsys.readouterr().err


def test_results_may_go_to_a_folder_around_the_photos(built: list, folder: Path, tmp_path: Path) -> None:
    inside = tmp_path / "project" / "photos"
    shutil.copytree(folder, inside)
    assert run(inside, "--out", tmp_path / "project") == 0
    assert (tmp_path / "project" / "one.npz").is_file()


def test_boxes_that_may_be_anybodys(
    built: list, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\none.png,1,2,30,40\none.png,50,60,90,95\n")
    assert run(folder, "--out", tmp_path / "out", "--boxes", boxes) == 2
    assert "two boxes for 'one.png', in lines 2 and 3" in capsys.readouterr().err
    for person in ("anna", "bert"):
        shutil.copytree(folder, tmp_path / "both" / person)
    boxes.write_text("image,x0,y0,x1,y1\none.png,10,10,60,60\n")
    assert run(tmp_path / "both", "--out", tmp_path / "out", "--boxes", boxes) == 3
    assert "write the folder too" in (tmp_path / "out" / "manifest.csv").read_text()

"""The command line's frame: help, wiring, exit codes."""

import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from occface_core.cli import COMMANDS, build_parser, main


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; from occface_core.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'cv2', 'gradio'} & set(sys.modules);"
        "sys.exit(code or len(heavy))"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)
    assert time.perf_counter() - start < 5  # 0.1 s on an idle machine


def test_reconstruct_help_needs_no_torch() -> None:
    script = (
        "import sys; from occface_core.cli import main; main(['reconstruct', '--help']);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_options_and_help(command: str, capsys: pytest.CaptureFixture) -> None:
    if find_spec(COMMANDS[command][0]) is None:
        pytest.skip(f"{COMMANDS[command][0]} is not in this build")
    assert callable(import_module(COMMANDS[command][0]).run)
    assert main([command, "--help"]) == 0
    assert "usage:" in capsys.readouterr().out


def test_the_module_can_be_run() -> None:
    command = [sys.executable, "-m", "occface_core", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("occface ")


def test_wrong_usage_is_two(capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 2
    assert main(["juggle"]) == 2
    assert "juggle" in capsys.readouterr().err


def test_typed_errors_become_a_sentence_and_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("OCCFACE_WEIGHTS", str(tmp_path))
    assert main(["assets", "list"]) == 2
    assert "manifest.json is missing" in capsys.readouterr().err


def test_interruption_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    module = import_module(COMMANDS["assets"][0])

    def interrupted(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", interrupted)
    assert main(["assets", "verify"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_assets_verify_names_the_damaged_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "thing.safetensors").write_bytes(b"abc")
    (tmp_path / "manifest.json").write_text(
        '{"version": 1, "assets": {"thing": {"files": '
        '[{"file": "thing.safetensors", "bytes": 4, "sha256": "00"}]}}}'
    )
    monkeypatch.setenv("OCCFACE_WEIGHTS", str(tmp_path))
    assert main(["assets", "verify"]) == 3
    assert "damaged  thing" in capsys.readouterr().out


def test_the_parser_fills_only_the_command_asked_for() -> None:
    parser = build_parser("reconstruct")
    assert parser.parse_args(["reconstruct", "a", "--out", "b"]).batch_size == 8


def test_import_flame_names_the_missing_file(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert (
        main(["assets", "import-flame", str(tmp_path / "generic_model.pkl"), "--out", str(tmp_path / "f")])
        == 2
    )
    assert "generic_model.pkl" in capsys.readouterr().err


def test_errors_of_the_file_system_are_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    taken = tmp_path / "file"
    taken.write_text("in the way")
    assert main(["synthesize", str(taken), "--count", "1"]) == 2
    assert main(["train", "--steps", "1", "--out", str(taken)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told if str(taken) in line] == [
        "occface synthesize",
        "occface train",
    ]

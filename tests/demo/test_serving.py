"""Starting and stopping the app."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import gradio as gr
import pytest

from demo.serving import leave_a_core, serve
from occface_core.cli import main
from occface_core.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_termination_lets_the_app_delete_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def launch(*_: object, **options: object) -> None:
        assert options["server_port"] == 7900
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(gr.Blocks, "launch", launch)
    try:
        with pytest.raises(KeyboardInterrupt):  # on which Gradio closes the server and deletes its files
            serve(gr.Blocks(), server_port=7900)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_getting_ready_holds_up_neither_the_page_nor_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    started, served = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        threading.Event().wait()  # for ever

    def launch(*_: object, **__: object) -> None:
        assert started.wait(5)
        served.set()

    monkeypatch.setattr(gr.Blocks, "launch", launch)
    try:
        serve(gr.Blocks(), get_ready=slow)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert served.is_set()
    (thread,) = (one for one in threading.enumerate() if one.name == "get ready")
    assert thread.daemon


@pytest.mark.parametrize(("cores", "asked", "left"), [(8, None, 7), (2, None, 1), (1, None, 1), (4, "4", 4)])
def test_one_core_is_left_to_the_rest(
    monkeypatch: pytest.MonkeyPatch, cores: int, asked: str | None, left: int
) -> None:
    threads = [cores]
    monkeypatch.setattr("torch.get_num_threads", lambda: threads[-1])
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    leave_a_core()
    assert threads[-1] == left


def test_threads_of_requests_take_what_is_left() -> None:
    """Requests run in threads of their own, each of which asks OpenMP for its number anew."""
    code = (
        "import threading, torch; from demo.serving import leave_a_core; "
        "torch.set_num_threads(3); leave_a_core(); "
        "thread = threading.Thread(target=lambda: print(torch.get_num_threads())); "
        "thread.start(); thread.join()"
    )
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=env, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["2"]


def test_a_port_in_use_is_a_sentence() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with socket.socket() as taken, gr.Blocks() as page:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        try:
            with pytest.raises(ConfigError, match="cannot be served"):
                serve(page, server_name="127.0.0.1", server_port=taken.getsockname()[1])
        finally:
            signal.signal(signal.SIGTERM, before)


def test_a_port_out_of_range_is_wrong_usage(capsys: pytest.CaptureFixture) -> None:
    assert main(["demo", "--port", "99999"]) == 2
    assert "'99999' is no port" in capsys.readouterr().err


def test_visitors_files_lie_in_a_folder_that_goes_with_the_process(tmp_path: Path) -> None:
    script = """
import app, os, sys
assert "gradio" not in sys.modules
app.prepare()
import gradio
from gradio.utils import get_upload_folder
open(os.path.join(get_upload_folder(), "visitor.png"), "w").close()
print(get_upload_folder(), gradio.route_utils.DEFAULT_TEMP_DIR, os.environ["GRADIO_ANALYTICS_ENABLED"])
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADIO_")}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}

    def folders(**more: str) -> list[str]:
        made = subprocess.run(
            [sys.executable, "-c", script], env=environment | more, capture_output=True, text=True, check=True
        )
        return made.stdout.split()

    (one, same, asks), (other, _, _) = folders(), folders()
    assert one == same != other
    assert Path(one).parent == tmp_path
    assert asks == "False"
    assert not Path(one).exists()
    assert not Path(other).exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    assert folders(GRADIO_TEMP_DIR=str(mine))[0] == str(mine)
    assert (mine / "visitor.png").is_file()

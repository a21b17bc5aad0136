"""Starting and stopping the app."""

import signal
import socket

import gradio as gr
import pytest

from demo.serving import serve
from occface_core.cli import main
from occface_core.errors import ConfigError


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

"""Bad settings are refused before anything is read; good ones survive JSON."""

import argparse
import json
from dataclasses import fields
from pathlib import Path

import pytest

from occface_core.distillation import cli
from occface_core.distillation.config import TrainConfig
from occface_core.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "magic"}, "recipe 'magic' is not one of teacher, learner"),
        ({"backbone": "vgg"}, "backbone 'vgg'"),
        ({"code_loss": "absolute"}, "code_loss 'absolute'"),
        ({"minutes": 0.0}, "minutes is 0.0: give a positive time budget"),
        ({"minutes": -1.0}, "minutes is -1.0"),
        ({"synthetic_share": 1.5}, r"synthetic_share 1\.5"),
        ({"stretch_share": -0.5}, r"stretch_share -0\.5"),
        ({"batch_size": 1}, "batch normalisation needs at least 2"),
        ({"learning_rate": 0.0}, r"learning_rate 0\.0"),
        ({"coverage": (0.6, 0.1)}, "increasing pair"),
        ({"duplicates": 0}, "duplicates 0 must be at least 1"),
        ({"seed": -1}, "seed -1 must not be negative"),
        (
            {"recipe": "diamor", "photos": Path("p"), "batch_size": 30, "synthetic_share": 0.0},
            "diamor needs photos per batch",
        ),
        ({"recipe": "multiview", "batch_size": 32}, "multiview needs renders per batch"),
    ],
)
def test_bad_settings(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**changes)


def test_steps_replace_minutes() -> None:
    assert TrainConfig(minutes=0.0, steps=5).steps == 5


def test_a_batch_is_all_rendered_without_photos() -> None:
    assert TrainConfig(batch_size=20).synthetic_count == 20
    mixed = TrainConfig(batch_size=20, photos=Path("p"), synthetic_share=0.2)
    assert (mixed.synthetic_count, mixed.photo_count) == (4, 16)


def test_json_and_copies() -> None:
    config = TrainConfig(photos=Path("a/b"), steps=3)
    assert json.loads(json.dumps(config.to_dict()))["photos"] == "a/b"
    assert config.replace(steps=4) == TrainConfig(photos=Path("a/b"), steps=4)
    with pytest.raises(ConfigError, match="unknown settings: stepz"):
        config.replace(stepz=4)
    with pytest.raises(ConfigError, match="batch_size 1"):
        config.replace(batch_size=1)


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(words)


def test_every_option_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(cli.HELP) == {f.name for f in fields(TrainConfig)}
    with pytest.raises(SystemExit):
        parsed("--help")
    told = capsys.readouterr().out
    assert "(default )" not in told
    assert "default runs/teacher" not in told
    assert "(default 0.1 0.6)" in told


def test_command_line_options_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TrainConfig] = []
    monkeypatch.setattr("occface_core.distillation.run.run_training", seen.append)
    words = (
        "--recipe",
        "learner",
        "--minutes",
        "2.5",
        "--coverage",
        "0.2",
        "0.5",
        "--photos",
        "p",
        "--limit",
        "9",
    )
    assert cli.run(parsed(*words)) == 0
    (config,) = seen
    assert config == TrainConfig(
        recipe="learner",
        minutes=2.5,
        coverage=(0.2, 0.5),
        photos=Path("p"),
        limit=9,
        out=Path("runs/learner"),
    )


def test_wrong_words_on_the_command_line() -> None:
    with pytest.raises(SystemExit):
        parsed("--recipe", "magic")
    with pytest.raises(ConfigError):
        cli.run(parsed("--minutes", "0"))

"""Openings benchmark: heads that close eyes and open mouths are measured so, each photo in its range."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from occface_core.cli import main
from occface_core.data.batches import TwinBatch
from occface_core.data.landmarks import EYE_PAIRS, LIP_PAIRS, eye_opening, lip_opening
from occface_core.evaluation.openings import (
    LANDMARKS,
    RANGES,
    measure_openings,
    opening_ranges,
)
from occface_core.evaluation.openings_cli import table
from occface_core.evaluation.predictions import drawn_points
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderOutput

SIZE = 64


def answer(head: HeadModel, count: int, *, jaw: float = 0.0, **expression: float) -> EncoderOutput:
    """A network's answer: the mean head with a jaw (radians) and expressions."""
    params = FaceParameters.from_code(torch.zeros(count, 236))
    moved, pose, camera = params.expression.clone(), params.pose.clone(), params.camera.clone()
    for name, value in expression.items():
        moved[:, head.expression_names.index(name)] = value
    pose[:, 3], camera[:, 0] = jaw, 9.0
    params = params.replace(expression=moved, pose=pose, camera=camera)
    code = torch.zeros(count, 236)
    return EncoderOutput(params, code, code)


def points_of(out: EncoderOutput, head: HeadModel) -> Tensor:
    verts = head(out.params.betas, out.params.expression, out.params.pose).verts
    return drawn_points(head, verts, out.params, SIZE)[..., :2]


class Twins:
    """Batches of photos that are all alike but for their landmarks."""

    def __init__(self, points: Tensor) -> None:
        self.points = points

    def __len__(self) -> int:
        return -(-len(self.points) // 2)

    def __getitem__(self, step: int) -> TwinBatch:
        points = self.points[2 * step : 2 * step + 2]
        image, one = torch.zeros(len(points), 3, SIZE, SIZE), torch.zeros(len(points), 1, SIZE, SIZE)
        index = torch.arange(len(points))
        covered = torch.ones_like(image)
        family = ["noise"] * len(points)
        zero = torch.zeros(len(points))
        return TwinBatch(image, covered, one, one, one, points, zero, family, index, index)


def test_closed_eyes_and_open_mouths_are_told(open_head: HeadModel) -> None:
    blink = {"eyeBlinkLeft": 0.75, "eyeBlinkRight": 0.75}
    neutral, closed, shouting = (answer(open_head, 1, **how) for how in ({}, blink, {"jaw": 0.35}))
    truth = torch.cat([points_of(one, open_head) for one in (neutral, closed, shouting)])

    def network(image: Tensor) -> EncoderOutput:
        # Sees clean pictures (black) as they are, and takes everyone covered for someone with shut eyes.
        return answer(open_head, len(image), **(blink if image.mean() > 0.5 else {}))

    columns = measure_openings({"net": network}, Twins(truth), open_head)
    assert set(columns) == {LANDMARKS, "net, clean", "net, covered"}
    found = columns[LANDMARKS]
    np.testing.assert_allclose(columns["net, clean"]["eyes"], found["eyes"][0], rtol=1e-5)
    np.testing.assert_allclose(columns["net, covered"]["eyes"], found["eyes"][1], rtol=1e-5)
    np.testing.assert_allclose(columns["net, covered"]["lips"], found["lips"][0], rtol=1e-3)
    assert found["eyes"][1] < 0.35 * found["eyes"][0]
    assert found["lips"][2] > 0.05 > 0.01 > found["lips"][0]

    ranges = {(one.part, one.name): one.rows.tolist() for one in opening_ranges(columns)}
    assert ranges["eyes", "closed"] == [1]
    assert ranges["lips", "closed"] == [0, 1]
    for part, names in RANGES.items():
        assert sorted(row for name in names for row in ranges[part, name]) == [0, 1, 2]
    lines = table(columns, opening_ranges(columns))
    assert lines[0] == "| photos | landmarks | net, clean | net, covered |"
    (shut,) = (line for line in lines if line.startswith("| eyes, closed (0-2 %): 1 |"))
    clean, covered = (100 * columns[f"net, {view}"]["eyes"][1] for view in ("clean", "covered"))
    assert shut.endswith(f"| {100 * found['eyes'][1]:.2f} | {clean:.2f} | {covered:.2f} |")
    assert any(line.startswith("| lips, wide (8 and more %): ") for line in lines)


@pytest.mark.parametrize(("opening", "pairs"), [(eye_opening, EYE_PAIRS), (lip_opening, LIP_PAIRS)])
def test_an_opening_depends_on_its_own_points_alone(opening, pairs) -> None:
    points = np.random.default_rng(0).uniform(20, 80, (2, 468, 2))
    points[:, 0], points[:, 9] = 0.0, 100.0
    own = {i for pair in pairs for i in pair}
    others = [i for i in range(468) if i not in own and i not in (0, 9)]
    before = opening(points)
    points[1, others] += 5.0
    np.testing.assert_allclose(opening(points), before)
    points[1, [pair[0] for pair in pairs], 1] = points[1, [pair[1] for pair in pairs], 1]
    assert opening(points)[1] < before[1]


def test_the_command_writes_what_it_measured(photo_folder: Path, tmp_path: Path) -> None:
    command = ["benchmark", "openings", "--images", str(photo_folder), "--split", "", "--limit", "3"]
    command += ["--model", "teacher", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    report = json.loads((tmp_path / "out" / "openings.json").read_text())
    assert report["photos"] == 3
    assert set(report["summary"]) == {"eyes", "lips"}
    for part in report["summary"].values():
        assert sum(row[LANDMARKS]["count"] for row in part.values()) == 3
        assert {"landmarks", "teacher, clean", "teacher, covered"} == set(next(iter(part.values())))
    assert "3 photos" in (tmp_path / "out" / "openings.md").read_text()

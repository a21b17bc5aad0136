"""Several photos of one person: what they agree on, what stays the photo's own, and what fills the gaps."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from occface_core.cli import main
from occface_core.errors import CheckpointError, ImageError
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import DECA_236, FaceParameters
from occface_core.networks.encoder import EncoderOutput, default_code_statistics
from occface_core.pipeline import reconstructor, runner
from occface_core.pipeline.person import agree, join_outputs, pick, share_textures
from occface_core.pipeline.reconstructor import FaceReconstructor, Reconstruction
from occface_core.rendering.cameras import weak_perspective

BOX = [80.0, 50.0, 150.0, 130.0]
Maker = Callable[..., FaceReconstructor]


def answers(count: int, *, sigma: torch.Tensor | None = None, seed: int = 0) -> EncoderOutput:
    """Plausible, different codes."""
    generator = torch.Generator().manual_seed(seed)
    mean, scale = default_code_statistics()
    code = mean + 0.5 * scale * torch.randn(count, 236, generator=generator)
    part = DECA_236.slices["exp"]
    code[:, part] = code[:, part].clamp(0, 1)
    log_sigma = None if sigma is None else sigma.log()
    return EncoderOutput(
        FaceParameters.from_code(code), code, torch.zeros(count, 8), torch.zeros(count, 1, 8, 8), log_sigma
    )


def projected(params: FaceParameters, head: HeadModel) -> torch.Tensor:
    verts = head(params.betas, params.expression, params.pose).verts
    return weak_perspective(verts, params.camera)[:, head.regions["face"] > 0.5, :2]


def test_photos_that_agree_stay_as_they_are(open_head: HeadModel) -> None:
    one = answers(1, sigma=torch.tensor([[0.5, 2.0]]))
    same = agree(join_outputs([one, one, one]), open_head, DECA_236)
    for name, value in vars(same.params).items():
        torch.testing.assert_close(
            value, getattr(one.params, name).expand_as(value), atol=2e-4, rtol=1e-4, msg=name
        )
    torch.testing.assert_close(same.code, same.params.to_code(DECA_236))
    assert agree(one, open_head, DECA_236) is one


def test_the_person_is_the_mean_and_the_moment_stays(open_head: HeadModel) -> None:
    both = answers(2, sigma=torch.tensor([[0.5, 2.0], [1.0, 0.3]]))
    joint = agree(both, open_head, DECA_236)
    for name in ("betas", "albedo"):
        middle = getattr(both.params, name).mean(0).expand(2, -1)
        torch.testing.assert_close(getattr(joint.params, name), middle)
    for name in ("expression", "pose", "sh_coeffs"):
        assert torch.equal(getattr(joint.params, name), getattr(both.params, name)), name
    assert joint.log_sigma is not None
    torch.testing.assert_close(joint.log_sigma.exp(), torch.tensor([[0.5, 0.3], [0.5, 0.3]]))


def test_the_camera_keeps_each_face_in_its_place(open_head: HeadModel) -> None:
    both = answers(3)
    joint = agree(both, open_head, DECA_236).params
    goal = projected(both.params, open_head)

    def off(params: FaceParameters) -> torch.Tensor:
        return (projected(params, open_head) - goal).square().sum(-1).mean(1)

    best = off(joint)
    assert (best < off(joint.replace(camera=both.params.camera))).all()
    for i, step in ((0, 0.05), (1, 0.001), (2, 0.001)):
        for sign in (-1, 1):
            camera = joint.camera.clone()
            camera[:, i] += sign * step
            assert (off(joint.replace(camera=camera)) > best).all(), (i, sign)


def test_gaps_are_filled_from_the_other_photos(make: Maker, photo: np.ndarray) -> None:
    record = make().reconstruct(photo, box=BOX)
    left, right = (np.zeros((64, 64), np.float32) for _ in range(2))
    left[:, :40], right[:, 20:60] = 1, 1
    albedo = np.full((64, 64, 3), 0.9, np.float32)
    whole = np.broadcast_to(0.4 + np.linspace(0, 0.1, 64, dtype=np.float32)[None, :, None], (64, 64, 3))
    both = [
        replace(
            record,
            texture=np.where(weight[..., None] > 0, whole, albedo),
            albedo=albedo,
            texture_visibility=weight,
        )
        for weight in (left, right)
    ]
    for one in share_textures(both, lambda side: None):
        assert one.texture is not None
        np.testing.assert_allclose(one.texture[:, :60], whole[:, :60], atol=0.01)
    (alone,) = share_textures(both[:1], lambda side: None)
    assert alone is both[0]
    (bare,) = share_textures([replace(record, texture=None)], lambda side: None)
    assert bare.texture is None


def test_a_photo_that_fails_takes_no_part(make: Maker, photo: np.ndarray, fixed_encoder: type) -> None:
    class Wavering(fixed_encoder):  # type: ignore[misc, valid-type]
        """Another shape for every crop, and NaN for the second one."""

        def forward(self, image: torch.Tensor) -> EncoderOutput:
            out = super().forward(image)
            code = out.code.clone()
            code[:, 0] = torch.arange(len(code)).float()
            code[1:2, 0] = torch.nan
            return replace(out, params=FaceParameters.from_code(code), code=code)

    model = make(BOX, encoder=Wavering(sigma=True))
    results = model.reconstruct_person([photo, np.zeros((1, 1), np.float64), photo, photo])
    assert isinstance(results[1], ImageError)
    assert isinstance(results[2], CheckpointError)
    good = [results[0], results[3]]
    for one in good:
        assert isinstance(one, Reconstruction)
        assert one.parameters["shape"][0] == pytest.approx(1.0, abs=1e-3)  # between 0 and 2
        assert one.notes[-1] == "shape and skin agreed over 2 photos"
    single = model.reconstruct_person([photo])[0]
    assert isinstance(single, Reconstruction)
    assert single.notes == ()


def test_output_rows_can_be_picked_and_joined(open_head: HeadModel) -> None:
    whole = answers(4, sigma=torch.rand(4, 2) + 0.1)
    again = join_outputs([pick(whole, [0]), pick(whole, [1, 2]), pick(whole, [3])])
    for name in ("code", "mask_logits", "log_sigma"):
        assert torch.equal(getattr(again, name), getattr(whole, name)), name
    assert torch.equal(again.params.to_code(DECA_236), whole.params.to_code(DECA_236))


@pytest.fixture
def folder(tmp_path: Path, photo: np.ndarray, make: Maker, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three photos, one of them unreadable, and a command line that builds the made-up reconstructor."""
    path = tmp_path / "photos"
    path.mkdir()
    for i in range(2):
        Image.fromarray(photo).save(path / f"{i}.png")
    (path / "2.png").write_bytes(b"no picture")
    monkeypatch.setattr(reconstructor, "FaceReconstructor", lambda *_, **__: make(BOX))
    return path


def test_command_line(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["reconstruct", str(folder), "--out", str(out), "--one-person", "--batch-size", "1"]
    assert main(words) == 3
    found = [json.loads((out / f"{i}.json").read_text()) for i in range(2)]
    assert found[0]["parameters"]["shape"] == found[1]["parameters"]["shape"]
    assert all("shape and skin agreed over 2 photos" in one["notes"] for one in found)
    (folder / "2.png").write_bytes((folder / "0.png").read_bytes())
    assert main(words) == 0  # a third photo changes the other two
    notes = json.loads((out / "0.json").read_text())["notes"]
    assert "shape and skin agreed over 3 photos" in notes


def test_photos_that_do_not_fit_into_memory_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(runner, "MAX_PERSON_PIXELS", 60_000)
    assert main(["reconstruct", str(folder), "--out", str(tmp_path / "out"), "--one-person"]) == 2
    assert "1.png' is photo 2 of one person" in capsys.readouterr().err

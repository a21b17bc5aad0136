"""What hidden skin looks like: learned from rows with gaps, asked with gaps and cloth, stored and refused."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from occface_core.assets import load_manifest
from occface_core.cli import main
from occface_core.errors import AssetError, ConfigError, DataError
from occface_core.pipeline.build_texture_prior import CELLS, fit_prior, read_rows, write_prior, write_rows
from occface_core.pipeline.texture_prior import FORMAT, TexturePrior
from occface_core.pipeline.texture_prior_cli import parse_part
from occface_core.pipeline.textures import Chart, SeenTexture, complete_texture

SIZE = 96
ALBEDO = np.full((SIZE, SIZE, 3), (0.7, 0.5, 0.42), np.float32)
FACE = np.zeros((CELLS, CELLS), bool)
FACE[16:48, 16:48] = True


def faces(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gains of faces in three kinds of light (from above, from one side, tinted); which cells are seen."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[-1 : 1 : CELLS * 1j, -1 : 1 : CELLS * 1j]
    tint = np.full((CELLS, CELLS, 3), (0.5, 0, -0.5))
    kinds = np.stack([np.dstack([down] * 3), np.dstack([across] * 3), tint])
    gain = np.tensordot(rng.normal(0, 0.4, (count, 3)), kinds, 1)
    gain += rng.normal(0, 0.02, gain.shape)
    seen = np.repeat(FACE[None], count, 0).astype(np.float32)
    for row in seen:  # something covers a third of every face
        top = rng.integers(16, 38)
        row[top : top + 10] = 0
    return gain.astype(np.float32), seen


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> TexturePrior:
    path = tmp_path_factory.mktemp("prior") / "prior.safetensors"
    write_prior(fit_prior(*faces(300, 0), components=6), path, head="open", photos=300)
    return TexturePrior.load(path)


def test_seen_cells_tell_the_hidden_ones(prior: TexturePrior) -> None:
    np.testing.assert_array_equal(prior.cells, FACE)
    assert prior.head_name == "open"
    gain, seen = faces(20, 1)
    off, usual = [], []
    for one, shown in zip(gain, seen, strict=True):
        hidden = shown[FACE] == 0
        off.append(np.abs(prior.posterior(one[FACE], shown[FACE]) - one[FACE])[hidden].mean())
        usual.append(np.abs(prior.mean - one[FACE])[hidden].mean())
    assert max(off) < 0.06
    assert np.mean(off) < 0.2 * np.mean(usual)


def test_cells_that_do_not_go_together_with_the_rest_are_not_believed(prior: TexturePrior) -> None:
    (gain, *_), _ = faces(1, 2)
    shown = FACE.copy()
    shown[40:] = False
    truth = gain[FACE].copy()
    gain[34:40] = (-1.2, 0.2, 0.9)  # blue cloth beside what is hidden
    found = prior.posterior(gain[FACE], shown[FACE].astype(np.float32))
    assert np.abs(found - truth).mean() < 0.08


def test_nothing_seen_is_the_usual_light(prior: TexturePrior) -> None:
    nothing = np.zeros(len(prior.mean), np.float32)
    np.testing.assert_allclose(prior.posterior(prior.mean + 3, nothing), prior.mean, atol=1e-6)
    dark = prior.expected(SeenTexture(np.zeros_like(ALBEDO), np.zeros((SIZE, SIZE), np.float32)), ALBEDO)
    assert dark.shape == ALBEDO.shape
    assert np.abs(dark / ALBEDO - 1).mean() < 0.2


def lit(albedo: np.ndarray) -> np.ndarray:
    """Light from above and from one side: one of what the prior has learned."""
    down, across = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    return np.clip(albedo * np.exp(-0.3 * down - 0.4 * across)[..., None], 0, 1).astype(np.float32)


def test_a_texture_is_completed_by_what_is_expected(prior: TexturePrior) -> None:
    """Beyond the reach of the nearest light as well; what is seen stays as it is."""
    colour, weight = lit(ALBEDO), np.zeros((SIZE, SIZE), np.float32)
    weight[24:44, 24:72] = 1
    chin = slice(62, 72), slice(26, 70)
    part = np.zeros((SIZE, SIZE), np.uint8)
    made = {
        way: complete_texture(
            SeenTexture(colour, weight), ALBEDO, chart=Chart(np.zeros_like(part, bool), part, prior=known)
        )
        for way, known in (("prior", prior), ("nearby", None))
    }
    off = {way: np.abs(texture - lit(ALBEDO))[chin].mean() for way, texture in made.items()}
    assert off["prior"] < 0.03
    assert off["prior"] < 0.5 * off["nearby"]
    np.testing.assert_allclose(made["prior"][weight == 1], colour[weight == 1], atol=1e-6)
    assert made["prior"].dtype == np.float32


def test_the_other_side_is_brought_to_this_sides_light(prior: TexturePrior) -> None:
    """A mole that one side shows appears on the other in the light that is expected there."""
    colour, weight = lit(ALBEDO), np.zeros((SIZE, SIZE), np.float32)
    weight[24:72, 24:48] = 1
    colour[46:50, 34:38] *= 0.5
    part = np.zeros((SIZE, SIZE), np.uint8)
    chart = Chart(np.ones((SIZE, SIZE), bool), part, prior=prior)
    made = complete_texture(SeenTexture(colour, weight), ALBEDO, chart=chart)
    skin = made[40:44, 58:62].mean((0, 1))
    np.testing.assert_allclose(made[47:49, 59:61].mean((0, 1)) / skin, 0.5, atol=0.12)
    np.testing.assert_allclose(skin, lit(ALBEDO)[40:44, 58:62].mean((0, 1)), atol=0.06)


def test_eyes_are_not_skin(prior: TexturePrior) -> None:
    colour, weight = lit(ALBEDO), np.ones((SIZE, SIZE), np.float32)
    part = np.zeros((SIZE, SIZE), np.uint8)
    part[30:40, 30:40] = 1
    seen = prior.expected(SeenTexture(colour, weight), ALBEDO, part)
    colour[30:40, 30:40] = 0
    np.testing.assert_array_equal(prior.expected(SeenTexture(colour, weight), ALBEDO, part), seen)


def test_the_shipped_prior_fits_the_shipped_head() -> None:
    prior = TexturePrior.load()
    assert prior.head_name == "open"
    assert "texture_prior" in load_manifest()["assets"]
    assert (prior.cells == prior.cells[:, ::-1]).mean() > 0.97
    assert 0.2 < prior.cells.mean() < 0.6
    assert np.isfinite(prior.basis).all()


def test_files_that_are_no_prior_are_refused(prior: TexturePrior, tmp_path: Path) -> None:
    tensors = {name: getattr(prior, name) for name in ("mean", "basis", "sigma", "known")}
    tensors["cells"] = prior.cells.astype(np.uint8)
    path = tmp_path / "prior.safetensors"

    def refused(match: str, changes: dict[str, np.ndarray], form: str = FORMAT) -> None:
        save_file(tensors | changes, path, {"format": form})
        with pytest.raises(AssetError, match=match):
            TexturePrior.load(path)

    refused("build-texture-prior", {}, "occface-albedo")
    refused("marks 0 cells", {"cells": np.zeros((CELLS, CELLS), np.uint8)})
    refused("sigma must be positive", {"sigma": np.zeros_like(prior.sigma)})
    refused("mean", {"mean": prior.mean[:-1]})


def test_too_few_rows_and_rows_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="40 rows are too few"):
        fit_prior(*faces(40, 0), components=6)
    gain, seen = faces(3, 0)
    write_rows(tmp_path / "rows.npz", list(zip(gain, seen, strict=True)))
    with pytest.raises(DataError, match="nothing to learn from"):
        write_rows(tmp_path / "rows.npz", [])
    read, shown = read_rows([tmp_path / "rows.npz"] * 2)
    np.testing.assert_allclose(read[3:], gain, atol=1e-3)
    np.testing.assert_array_equal(shown[:3], seen)
    np.savez(tmp_path / "other.npz", gain=gain[:, ::2], seen=seen)
    with pytest.raises(DataError, match="64 x 64"):
        read_rows([tmp_path / "other.npz"])
    assert main(["assets", "build-texture-prior", str(tmp_path / "gone.npz")]) == 2


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="second of three"):
        parse_part(text)
    assert parse_part("2/3") == (1, 3)


def test_photos_become_rows_and_rows_a_prior(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["assets", "texture-rows", str(photo_folder), "--split", "", "--count", "4", "--part", "1/2"]
    words += ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "rows.npz")]
    assert main(words) == 0
    assert "2 photos" in capsys.readouterr().out
    gain, seen = read_rows([tmp_path / "rows.npz"])
    assert len(gain) == 2
    assert 0.1 < (seen > 0.5).mean() < 0.6
    assert np.abs(gain[seen > 0.9]).mean() < 1.0
    assert main([*words[:-1], str(tmp_path / "again.npz"), "--network", "teacher"]) == 2
    assert "needs a student" in capsys.readouterr().err
    many = tmp_path / "many.npz"
    write_rows(many, list(zip(*faces(60, 4), strict=True)))
    out = tmp_path / "made" / "texture_prior.safetensors"
    assert main(["assets", "build-texture-prior", str(many), "--components", "4", "--out", str(out)]) == 0
    assert TexturePrior.load(out).basis.shape[-1] == 4
    assert load_manifest(out.parent)["assets"]["texture_prior"]["licence"]

"""Weights of loss terms: the table of names is the recipes' own, and a weight does what it says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from occface_core.data.batches import TwinBatch
from occface_core.data.synthetic import SyntheticFaces
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes import RECIPE_CLASSES, Twin, join
from occface_core.distillation.scene import SIGMA_REGIONS, Scene
from occface_core.distillation.terms import TERMS, parse_weights
from occface_core.errors import ConfigError
from occface_core.networks.encoder import EncoderConfig, FaceEncoder

SIZE = 64


@pytest.fixture(scope="module")
def twin(scene: Scene) -> Twin:
    """Two "photographs" (renders without their truth) and two renders."""
    drawn = SyntheticFaces(scene.head, scene.albedo, SIZE).sample(
        2, generator=torch.Generator().manual_seed(0)
    )
    photo = TwinBatch(
        drawn.image,
        drawn.image,
        drawn.mask,
        drawn.mask,
        drawn.mask,
        drawn.points[..., :2],
        torch.zeros(2),
        ["clean", "clean"],
        torch.arange(2),
        torch.arange(2),
    )
    return join(photo, drawn, None, SIZE)


@pytest.fixture(scope="module")
def network() -> FaceEncoder:
    torch.manual_seed(0)
    config = EncoderConfig(
        "mobilenet_v3_small",
        input_size=SIZE,
        mask_size=16,
        sigma_regions=SIGMA_REGIONS,
        evidence_points=20,
    )
    return FaceEncoder(config).eval()


@pytest.mark.parametrize("name", list(TERMS))
def test_the_table_holds_every_term_of_every_recipe(
    scene: Scene, twin: Twin, network: FaceEncoder, name: str
) -> None:
    config = TrainConfig(recipe=name, input_size=SIZE, duplicates=2, views=2, batch_size=4)
    if name == "teacher":  # otherwise it has no earlier one to keep to
        config = config.replace(profile_share=0.5, photos=Path("unread"))
    recipe = RECIPE_CLASSES[name](config, scene, network, **({"damior": network} if name == "diamor" else {}))
    found: set[str] = set()
    for step in (0, config.focus_cycle - 1):  # both halves of focus's cycle
        recipe.step = step
        found |= set(recipe.losses(network, twin, 0.9))
    assert found == set(TERMS[name]), f"bring occface_core/distillation/terms.py up to date for {name}"


def test_weights_are_read() -> None:
    assert parse_weights("", "damior") == {}
    assert parse_weights(" shape=0, posed = 2.5,", "damior") == {"shape": 0.0, "posed": 2.5}
    assert TrainConfig(recipe="damior", loss_weights="shape=0").term_weights == {"shape": 0.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shape", "'shape' is not of the form term=weight"),
        ("shapes=0", "learner has no term 'shapes'; it has code, mask"),
        ("code=much", "'much' for code is not a number"),
        ("code=-1", "code=-1 must be at least 0"),
        ("code=nan", "code=nan must be at least 0"),
    ],
)
def test_wrong_weights_are_refused_before_anything_is_read(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(recipe="learner", loss_weights=text)


def test_weights_scale_terms(trained_losses: Callable[[str], dict[str, float]]) -> None:
    plain, weighted = trained_losses(""), trained_losses("landmark=0,eyes=2")
    assert weighted["landmark"] == 0
    assert weighted["eyes"] == pytest.approx(2 * plain["eyes"], rel=1e-4)
    assert weighted["lips"] == pytest.approx(plain["lips"], rel=1e-4)
    change = plain["eyes"] - plain["landmark"]
    assert weighted["total"] == pytest.approx(plain["total"] + change, rel=1e-4)


@pytest.fixture
def trained_losses(tmp_path) -> Callable[[str], dict[str, float]]:
    """The losses of the first step of a run with given weights."""
    from occface_core.distillation.run import run_training

    def first(weights: str) -> dict[str, float]:
        config = TrainConfig(
            out=tmp_path / (weights or "plain"),
            steps=1,
            batch_size=2,
            input_size=SIZE,
            mask_size=16,
            backbone="mobilenet_v3_small",
            workers=0,
            device="cpu",
            sheet_minutes=0.0,
            loss_weights=weights,
        )
        return run_training(config)["final"]

    return first

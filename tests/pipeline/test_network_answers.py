"""What a network answers: NaN is refused, and the final fit looks at the mirror image too."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from occface_core.distillation.run import take_over
from occface_core.errors import CheckpointError
from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.networks.looks import further_look
from occface_core.pipeline.reconstructor import FaceReconstructor

Maker = Callable[..., FaceReconstructor]
EncoderMaker = Callable[..., FaceEncoder]
BOX = [80.0, 50.0, 150.0, 130.0]


def test_nan_answers_are_never_passed_on(fixed_encoder: EncoderMaker, make: Maker, photo: np.ndarray) -> None:
    encoder = fixed_encoder()
    encoder.code[5] = torch.nan
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        make(encoder=encoder).reconstruct(photo, box=BOX)


def test_an_answer_of_nothing_but_nan_is_refused_as_well(
    fixed_encoder: EncoderMaker, make: Maker, photo: np.ndarray
) -> None:
    encoder = fixed_encoder()
    encoder.code[:] = torch.nan
    for mirrored in (False, True):
        with pytest.raises(CheckpointError, match="NaN or infinite"):
            make(encoder=encoder, mirrored=mirrored).reconstruct(photo, box=BOX)


def test_the_final_look_is_both_ways(fixed_encoder: EncoderMaker, make: Maker, photo: np.ndarray) -> None:
    """Crops that only find the face are looked at once."""
    encoder = fixed_encoder()
    encoder.code[encoder.layout.slices["cam"].start + 1] = 0.01
    once = make(BOX, encoder=encoder).reconstruct(photo)
    encoder.calls.clear()
    twice = make(BOX, encoder=encoder, mirrored=True).reconstruct(photo)
    assert encoder.calls == [1, 2]
    assert once.parameters["cam"][1] == pytest.approx(0.01)
    assert twice.parameters["cam"][1] == pytest.approx(0.0, abs=1e-7)


def test_a_guided_network_is_placed_by_its_first_look(make: Maker, photo: np.ndarray) -> None:
    """With nothing learned yet it says what the first look says, of one place in the photo."""
    config = EncoderConfig(backbone="mobilenet_v3_small", input_size=64, mask_size=32)
    torch.manual_seed(0)
    first = FaceEncoder(config).eval()
    guided = further_look(config, first).eval()
    take_over(guided, first)
    alone, both = (make(BOX, encoder=encoder, mirrored=True) for encoder in (first, guided))
    assert both.placer.network is guided.first
    expected, answer = alone.reconstruct(photo), both.reconstruct(photo)
    np.testing.assert_allclose(answer.code, expected.code, atol=1e-5)
    np.testing.assert_allclose(answer.box, expected.box, atol=1e-3)

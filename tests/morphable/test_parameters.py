"""Code layouts and FaceParameters."""

import pytest
import torch

from occface_core.errors import LayoutError
from occface_core.morphable.parameters import DECA_236, DECA_364, FaceParameters, convert, layout


def test_slices_are_decas() -> None:
    assert DECA_236.size == 236
    expected = {
        "shape": (0, 100),
        "tex": (100, 150),
        "exp": (150, 200),
        "pose": (200, 206),
        "cam": (206, 209),
    }
    assert {name: (s.start, s.stop) for name, s in DECA_236.slices.items()} == expected | {
        "light": (209, 236)
    }
    assert layout("deng257").size == layout("mgcnet257").size == 257


def test_code_round_trip(generator: torch.Generator) -> None:
    code = torch.randn(3, 236, generator=generator)
    parameters = FaceParameters.from_code(code, DECA_236)
    assert torch.equal(parameters.to_code(DECA_236), code)
    # Band-major light: the first three values are the first band's RGB.
    assert torch.equal(parameters.sh_coeffs[:, 0], code[:, 209:212])
    assert len(parameters) == 3


def test_gradients_flow_to_the_code() -> None:
    code = torch.zeros(1, 236, requires_grad=True)
    FaceParameters.from_code(code).betas.sum().backward()
    assert code.grad is not None
    assert code.grad.sum() == 100


def test_index_replace_detach(generator: torch.Generator) -> None:
    parameters = FaceParameters.from_code(torch.randn(4, 236, generator=generator, requires_grad=True))
    assert torch.equal(parameters.index(-1).betas, parameters.betas[3:])
    assert parameters.index(slice(1, 3)).camera.shape == (2, 3)
    assert parameters.index(torch.tensor([2, 0])).pose.shape == (2, 6)
    assert parameters.replace(pose=torch.zeros(4, 6)).pose.sum() == 0
    assert not parameters.detach().betas.requires_grad


def test_convert_drops_the_detail_code_and_refuses_the_rest(generator: torch.Generator) -> None:
    code = torch.randn(2, 364, generator=generator)
    assert torch.equal(convert(code, DECA_364, DECA_236), code[:, :236])
    assert torch.equal(convert(code, DECA_364, DECA_364), code)
    with pytest.raises(LayoutError, match="no group 'detail'"):
        convert(code[:, :236], DECA_236, DECA_364)
    with pytest.raises(LayoutError, match=r"BFM09.*meshes"):
        convert(code[:, :236], DECA_236, layout("deng257"))
    with pytest.raises(LayoutError, match="focal 4700"):
        convert(torch.zeros(1, 257), layout("deng257"), layout("mgcnet257"))
    with pytest.raises(LayoutError, match="236 values, this one has 364"):
        convert(code, DECA_236, DECA_236)


def test_wrong_layouts_are_refused() -> None:
    with pytest.raises(LayoutError, match="deca236"):
        layout("deca")
    with pytest.raises(LayoutError, match="another face model"):
        FaceParameters.from_code(torch.zeros(1, 257), layout("deng257"))
    parameters = FaceParameters.from_code(torch.zeros(1, 236)).replace(betas=torch.zeros(1, 80))
    with pytest.raises(LayoutError, match="wants 100 values of 'shape', these hold 80"):
        parameters.to_code()
    with pytest.raises(LayoutError, match="'detail'"):
        FaceParameters.from_code(torch.zeros(1, 236)).to_code(DECA_364)

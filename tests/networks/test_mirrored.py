"""A mirrored code is the code of the mirrored face, and averaging cancels what is wrong to one side."""

import copy

import pytest
import torch

from occface_core.errors import AssetError
from occface_core.geometry.mesh import vertex_normals
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import DECA_236, FaceParameters
from occface_core.networks.encoder import EncoderConfig, EncoderOutput, FaceEncoder, default_code_statistics
from occface_core.networks.mirrored import CodeMirror, MirroredEncoder, mirrored_vertices
from occface_core.rendering.cameras import weak_perspective
from occface_core.rendering.lighting import sh_shading


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return HeadModel.load()


@pytest.fixture(scope="module")
def albedo() -> AlbedoModel:
    return AlbedoModel.load()


@pytest.fixture(scope="module")
def mirror(head: HeadModel, albedo: AlbedoModel) -> CodeMirror:
    return CodeMirror(head, albedo)


def some_code(count: int, seed: int) -> torch.Tensor:
    mean, scale = default_code_statistics()
    code = mean + scale * torch.randn(count, len(mean), generator=torch.Generator().manual_seed(seed))
    code[:, DECA_236.slices["exp"]] = code[:, DECA_236.slices["exp"]].clamp(0, 1)
    return code


def drawn(code: torch.Tensor, head: HeadModel, albedo: AlbedoModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices in the image, and their shaded colours."""
    p = FaceParameters.from_code(code, DECA_236)
    verts = head(p.betas, p.expression, p.pose).verts
    light = sh_shading(vertex_normals(verts, head.faces), p.sh_coeffs)
    return weak_perspective(verts, p.camera), albedo.vertex_albedo(p.albedo, head) * light


def test_a_mirrored_code_draws_the_mirrored_picture(
    head: HeadModel, albedo: AlbedoModel, mirror: CodeMirror
) -> None:
    code = some_code(4, seed=0)
    verts, colour = drawn(code, head, albedo)
    turned_verts, turned_colour = drawn(mirror(code), head, albedo)
    pairs, paired = mirrored_vertices(head)
    face = (head.regions["face"] > 0.5) & paired
    expected = (verts * torch.tensor([-1.0, 1.0, 1.0]))[:, pairs]
    # The last shape directions are not symmetric to the last digit, hence not zero; a face spans about 1.3.
    off = (turned_verts - expected)[:, face].norm(dim=-1)
    assert off.mean() < 0.003
    assert off.max() < 0.03
    shade = (turned_colour - colour[:, pairs])[:, face].abs()
    assert shade.mean() < 0.02
    # And it is the mirror that does it: unmirrored codes are far off.
    assert (verts - expected)[:, face].norm(dim=-1).mean() > 10 * off.mean()


def test_mirroring_twice_changes_nothing_that_a_face_shows(head: HeadModel, mirror: CodeMirror) -> None:
    code = some_code(3, seed=1)
    again = mirror(mirror(code))
    for group in ("pose", "cam", "light"):
        assert torch.equal(again[:, DECA_236.slices[group]], code[:, DECA_236.slices[group]])
    p, q = (FaceParameters.from_code(c, DECA_236) for c in (code, again))
    assert (head.neutral(p.betas) - head.neutral(q.betas)).norm(dim=-1).mean() < 2e-4  # metres


class Leaning(FaceEncoder):
    """Knows the answer to one picture and to its mirror image, and puts every face too far to the right."""

    def __init__(self, truth: torch.Tensor, mirror: CodeMirror, bright: str) -> None:
        super().__init__(EncoderConfig(input_size=64, mask_size=16))
        self.truth, self.turned, self.bright = truth, mirror(truth), bright

    def forward(self, image: torch.Tensor) -> EncoderOutput:
        left = image[:, 0, :, :32].mean((1, 2)) > image[:, 0, :, 32:].mean((1, 2))
        code = torch.where((left if self.bright == "left" else ~left)[:, None], self.truth, self.turned)
        code = code.clone()
        code[:, DECA_236.slices["cam"].start + 1] += 0.05
        mask = torch.nn.functional.adaptive_avg_pool2d(image[:, :1], 16)
        return EncoderOutput(FaceParameters.from_code(code, DECA_236), code, code[:, :4], mask, code[:, :6])


def test_an_error_to_one_side_cancels(mirror: CodeMirror) -> None:
    truth = some_code(1, seed=2)
    truth[:, DECA_236.slices["shape"].start + 20 : DECA_236.slices["shape"].stop] = 0
    image = torch.zeros(2, 3, 64, 64)
    image[..., :20] = 0.8
    network = Leaning(truth, mirror, "left")
    single, both = network(image), MirroredEncoder(network, mirror)(image)
    column = DECA_236.slices["cam"].start + 1
    assert torch.allclose(single.code[:, column], truth[:, column] + 0.05, atol=1e-5)
    assert torch.allclose(both.code[:, column], truth[:, column], atol=1e-5)
    assert torch.allclose(both.code[:, DECA_236.slices["pose"]], truth[:, DECA_236.slices["pose"]], atol=1e-5)
    # The mask comes back the way the crop lies.
    assert both.mask_logits is not None
    assert single.mask_logits is not None
    assert torch.allclose(both.mask_logits, single.mask_logits, atol=1e-6)
    assert both.params.camera.shape == (2, 3)
    assert both.log_sigma is not None


def test_expressions_stay_within_bounds(mirror: CodeMirror) -> None:
    network = FaceEncoder(EncoderConfig(input_size=64)).eval()
    with torch.no_grad():
        out = MirroredEncoder(network, mirror)(torch.rand(3, 3, 64, 64))
    assert out.params.expression.min() >= 0
    assert out.params.expression.max() <= 1
    assert out.mask_logits is None
    assert out.evidence is None


def test_without_an_albedo_model_albedo_is_the_crops_own(head: HeadModel) -> None:
    code, turned = some_code(2, seed=3), some_code(2, seed=4)
    mean = CodeMirror(head).mean(code, turned)
    part = DECA_236.slices["tex"]
    assert torch.equal(mean[:, part], code[:, part])
    assert not torch.equal(mean[:, DECA_236.slices["pose"]], code[:, DECA_236.slices["pose"]])


def test_directions_that_move_nothing_are_no_obstacle(head: HeadModel) -> None:
    stiff = copy.deepcopy(head)
    stiff.expressiondirs.zero_()
    matrix = CodeMirror(stiff).matrix
    assert matrix.isfinite().all()
    assert torch.allclose(matrix[:10, :10], CodeMirror(head).matrix[:10, :10], atol=1e-5)


def test_a_crooked_head_has_no_mirror(head: HeadModel) -> None:
    crooked = copy.deepcopy(head)
    crooked.v_template = crooked.v_template + torch.tensor([0.01, 0.0, 0.0])
    with pytest.raises(AssetError, match="not symmetric"):
        CodeMirror(crooked)

"""FaceEncoder: where it starts, what bounds it, what it returns."""

import pytest
import torch

from occface_core.errors import ConfigError
from occface_core.morphable.parameters import DECA_236
from occface_core.networks.encoder import EncoderConfig, FaceEncoder, default_code_statistics

SMALL = EncoderConfig(
    backbone="mobilenet_v3_small", input_size=64, mask_size=16, sigma_regions=("nose", "jaw")
)


@pytest.fixture(scope="module")
def encoder() -> FaceEncoder:
    torch.manual_seed(0)
    return FaceEncoder(SMALL).eval()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "vgg"}, "unknown backbone 'vgg'"),
        ({"input_size": 32}, "input_size 32 is outside 64..512"),
        ({"input_size": 1024}, "input_size 1024"),
        ({"mask_size": 12}, "mask_size 12 must be 0 or a multiple of 8"),
    ],
)
def test_bad_configurations(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EncoderConfig(**{**SMALL.to_dict(), "sigma_regions": (), **changes})


def test_other_layouts_are_refused() -> None:
    with pytest.raises(ConfigError, match="not deng257"):
        FaceEncoder(EncoderConfig(layout="deng257"))


def test_output(encoder: FaceEncoder) -> None:
    with torch.inference_mode():
        out = encoder(torch.rand(3, 3, 64, 64))
    assert out.code.shape == (3, 236)
    assert out.mask_logits is not None
    assert out.mask_logits.shape == (3, 1, 16, 16)
    assert out.log_sigma is not None
    assert out.log_sigma.shape == (3, 2)
    torch.testing.assert_close(out.params.to_code(), out.code)


def test_an_untrained_network_starts_at_the_mean_face(encoder: FaceEncoder) -> None:
    mean, scale = default_code_statistics()
    with torch.inference_mode():
        code = encoder(torch.rand(2, 3, 64, 64)).code
    assert float(((code - mean) / scale).abs().max()) < 0.2


def test_parameters_alone_are_those_of_the_whole(encoder: FaceEncoder) -> None:
    image = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        assert torch.equal(encoder.parameters_of(image).to_code(DECA_236), encoder(image).code)


def test_images_of_another_size_are_resized(encoder: FaceEncoder) -> None:
    image = torch.rand(1, 3, 64, 64)
    large = torch.nn.functional.interpolate(image, scale_factor=2, mode="nearest")
    with torch.inference_mode():
        torch.testing.assert_close(encoder(large).code, encoder(image).code, atol=0.02, rtol=0)


def test_heads_are_optional() -> None:
    plain = FaceEncoder(EncoderConfig(backbone="mobilenet_v3_small", input_size=64)).eval()
    with torch.inference_mode():
        out = plain(torch.rand(1, 3, 64, 64))
    assert out.mask_logits is None
    assert out.log_sigma is None


def test_expressions_stay_in_their_bounds_and_can_come_back(encoder: FaceEncoder) -> None:
    exp = DECA_236.slices["exp"]
    raw = torch.zeros(1, 236)
    raw[0, exp] = -10.0
    raw.requires_grad_()
    code = encoder.decode_raw(raw)
    assert float(code.detach()[0, exp].abs().max()) == 0.0
    # A loss that wants it higher has a gradient; one that wants it lower still does not move it.
    (grad,) = torch.autograd.grad(-code[0, exp].sum(), raw, retain_graph=True)
    assert (grad[0, exp] < 0).all()
    (grad,) = torch.autograd.grad(code[0, exp].sum(), raw)
    assert (grad == 0).all()


def test_an_unbounded_basis_is_not_clamped() -> None:
    free = FaceEncoder(EncoderConfig(backbone="mobilenet_v3_small", input_size=64), expression_bounds=None)
    raw = torch.full((1, 236), -10.0)
    assert float(free.decode_raw(raw)[0, DECA_236.slices["exp"]].max()) < -1


def test_calibration_scales_sigma(encoder: FaceEncoder) -> None:
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = encoder(image).log_sigma
        encoder.sigma_scale.mul_(2.0)
        after = encoder(image).log_sigma
        encoder.sigma_scale.div_(2.0)
    torch.testing.assert_close(after - before, torch.full((1, 2), 0.693147), atol=1e-5, rtol=0)


def test_local_features_start_silent_and_then_tell_where_things_are() -> None:
    torch.manual_seed(0)
    plain = FaceEncoder(EncoderConfig(input_size=112)).eval()
    local = FaceEncoder(EncoderConfig(input_size=112, local_channels=8)).eval()
    local.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(2, 3, 112, 112)
    assert torch.equal(plain(image).code, local(image).code)

    # Exchanging cells of the last maps leaves their average alone: only the local path can notice.
    assert local.local is not None
    torch.nn.init.normal_(local.local.out.weight, std=0.1)
    _, pyramid = local.backbone((image - 0.5) * 4.0)
    mirrored = [level.flip(-1) for level in pyramid]
    assert not torch.allclose(local.local(pyramid), local.local(mirrored))


def test_local_features_pool_larger_crops_to_their_grid() -> None:
    net = FaceEncoder(EncoderConfig(backbone="mobilenet_v3_small", input_size=160, local_channels=4)).eval()
    assert net(torch.rand(1, 3, 160, 160)).code.shape == (1, 236)


def test_mask_detail_starts_silent_and_then_draws_what_is_thinner_than_a_cell() -> None:
    torch.manual_seed(0)
    coarse = FaceEncoder(EncoderConfig(input_size=64, mask_size=64)).eval()
    fine = FaceEncoder(EncoderConfig(input_size=64, mask_size=64, mask_detail=8)).eval()
    fine.load_state_dict(coarse.state_dict(), strict=False)
    image = torch.rand(2, 3, 64, 64)
    image[:, :, :, 30:32] = 0.0  # a hair
    before, after = coarse(image).mask_logits, fine(image).mask_logits
    assert before is not None
    assert after is not None
    torch.testing.assert_close(before, after)

    head = fine.mask_head
    assert head is not None
    assert head.detail is not None
    optimizer = torch.optim.Adam(head.detail.parameters(), lr=0.01)
    _, pyramid = fine.look(image)
    pyramid = [level.detach() for level in pyramid]
    target = (image.amax(1, keepdim=True) > 0).float()
    for _ in range(150):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(pyramid, image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn = head(pyramid, image) > 0
    assert not drawn[..., 30:32].any()
    assert float(drawn[..., :29].float().mean()) > 0.99


def test_mask_edges_start_silent_and_then_follow_the_pixels() -> None:
    torch.manual_seed(0)
    soft = FaceEncoder(EncoderConfig(input_size=64, mask_size=64, mask_detail=8)).eval()
    sharp = FaceEncoder(EncoderConfig(input_size=64, mask_size=64, mask_detail=8, mask_edges=8)).eval()
    sharp.load_state_dict(soft.state_dict(), strict=False)
    image = torch.rand(2, 3, 64, 64) * 0.3 + 0.7
    image[0, :, :, 31:] -= 0.7  # a border where no cell of any map ends
    image[1, :, 17:] -= 0.7
    assert torch.equal(soft.mask(image), sharp.mask(image))

    head = sharp.mask_head
    assert head is not None
    assert head.edges is not None
    optimizer = torch.optim.Adam(head.edges.parameters(), lr=0.01)
    pyramid = [level.detach() for level in sharp.look(image)[1]]
    target = (image.mean(1, keepdim=True) > 0.5).float()
    for _ in range(120):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(pyramid, image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(head(pyramid, image) > 0, target > 0.5)


def test_the_mask_alone_is_the_mask_of_the_whole() -> None:
    net = FaceEncoder(EncoderConfig(input_size=64, mask_size=64, mask_detail=8, mask_edges=8)).eval()
    image = torch.rand(2, 3, 80, 80)
    torch.testing.assert_close(net.mask(image), net(image).mask_logits)
    with pytest.raises(ConfigError, match="predicts no visible-face mask"):
        FaceEncoder(EncoderConfig(input_size=64)).mask(image)


def test_refused_configurations_name_the_value() -> None:
    for wrong in ({"evidence_blocks": 9}, {"mask_detail": -1}, {"mask_edges": 257}):
        name, value = next(iter(wrong.items()))
        with pytest.raises(ConfigError, match=f"{name} {value}"):
            EncoderConfig(**wrong)


def test_code_keeps_full_precision_under_autocast() -> None:
    torch.manual_seed(0)
    net = FaceEncoder(EncoderConfig(backbone="mobilenet_v3_small", input_size=64, local_channels=4)).eval()
    with torch.autocast("cpu", torch.bfloat16):
        out = net(torch.rand(1, 3, 64, 64))
    assert out.code.dtype == torch.float32
    assert not torch.equal(out.code, out.code.bfloat16().float())


def test_local_channels_out_of_range() -> None:
    with pytest.raises(ConfigError, match="local_channels 900"):
        EncoderConfig(local_channels=900)

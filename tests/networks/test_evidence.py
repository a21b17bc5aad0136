"""Landmark evidence: what certain finds, doubtful finds and the prior do to the posterior."""

import torch
from torch import Tensor

from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.networks.evidence import (
    Evidence,
    LandmarkEvidence,
    LandmarkPrior,
    evidence_nll,
    heatmap_divergence,
    spread_points,
)

K, D = 40, 6


def prior() -> LandmarkPrior:
    """Faces that move along six directions."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(D, 936, generator=generator) * torch.linspace(0.3, 0.05, D)[:, None]
    mean = torch.rand(936, generator=generator) - 0.5
    examples = mean + torch.randn(500, D, generator=generator) @ directions
    return LandmarkPrior.fit(examples.unflatten(1, (468, 2)), D)


def head() -> LandmarkEvidence:
    module = LandmarkEvidence([8, 8, 8, 8], K, D)
    module.set_prior(prior(), spread_points(prior().mean, (1, 4), K))
    with torch.no_grad():
        module.log_trust.zero_()
    return module


def test_the_prior_reproduces_its_examples_spread() -> None:
    fitted = prior()
    z = torch.randn(2000, D, generator=torch.Generator().manual_seed(1))
    drawn = fitted.mean + (z @ fitted.basis.flatten(0, 1).T).unflatten(1, (468, 2))
    again = LandmarkPrior.fit(drawn, D)
    assert torch.allclose(again.basis.square().sum(-1), fitted.basis.square().sum(-1), rtol=0.25, atol=1e-3)


def test_certain_finds_are_followed_and_complete_the_face() -> None:
    module = head()
    z = torch.tensor([[0.5, -1.0, 0.3, 0.8, -0.2, 1.1]])
    truth = module.complete(z)
    seen = torch.full((1, K), 1.0)
    seen[:, : K // 2] = -5.5  # only half of them are certain
    points = truth[:, module.index].clone()
    points[:, K // 2 :] += 0.5  # the others are wrong, and know it
    found = module.posterior(points, seen)
    assert torch.allclose(module.complete(found), truth, atol=0.01)


def test_without_any_certainty_the_mean_face_remains() -> None:
    module = head()
    with torch.no_grad():
        module.log_trust.fill_(-20.0)
    found = module.posterior(torch.rand(2, K, 2), torch.ones(2, K))
    assert torch.allclose(module.complete(found), module.mean.expand(2, -1, -1), atol=1e-3)


def test_heatmap_peaks_are_read_in_crop_coordinates() -> None:
    module = head()
    maps = torch.zeros(1, 2 * K, 14, 14)
    maps[:, :K, 3, 10] = 50.0  # row 3, column 10
    evidence = module.read(maps)
    assert torch.allclose(evidence.points, torch.tensor([10.5, 3.5]) / 7 - 1, atol=1e-3)
    assert torch.allclose(evidence.log_sigma, torch.full((1, K), -3.0))


def test_likelihood_prefers_honest_uncertainty() -> None:
    truth = torch.zeros(1, 468, 2)
    points = torch.zeros(1, K, 2)
    points[..., 0] = 0.1
    index = torch.arange(K)

    def loss(sigma: float) -> float:
        log_sigma = torch.full((1, K), sigma).log()
        found = Evidence(points, log_sigma, truth, torch.zeros(1, D), index, torch.zeros(1, K, 4, 4))
        return float(evidence_nll(found, truth))

    assert loss(0.05) < loss(0.01)  # the density's best scale is half the distance
    assert loss(0.05) < loss(0.5)


def test_divergence_is_zero_at_its_target_and_tells_balanced_errors_from_none() -> None:
    index = torch.arange(K)
    truth = torch.zeros(1, 468, 2)  # on the corner of four cells: the soft-argmax can be exact

    def loss(heat: Tensor) -> float:
        found = Evidence(truth[:, :K], torch.zeros(1, K), truth, torch.zeros(1, D), index, heat)
        return float(heatmap_divergence(found, truth))

    centres = torch.arange(8) - 3.5
    across = -0.5 * (centres / 0.75).square()
    exact = (across[:, None] + across[None]).expand(1, K, 8, 8)
    assert abs(loss(exact)) < 1e-5
    assert abs(loss(exact + 7.0)) < 1e-5  # logits: a constant says nothing
    both_ends = torch.full((1, K, 8, 8), -20.0)
    both_ends[..., 0, 0] = both_ends[..., 7, 7] = 0.0  # same mean, and the mass nowhere near it
    assert loss(both_ends) > 5
    assert loss(exact.roll(1, -1)) > loss(exact * 0.8) > 0
    outside = torch.full((1, 468, 2), 1.5)  # beyond the crop: the edge is as near as it gets
    found = Evidence(truth[:, :K], torch.zeros(1, K), truth, torch.zeros(1, D), index, exact)
    assert torch.isfinite(heatmap_divergence(found, outside)).all()


def test_blocks_before_the_heatmaps_start_silent() -> None:
    torch.manual_seed(0)
    plain = LandmarkEvidence([8, 8], K, D).eval()
    deeper = LandmarkEvidence([8, 8], K, D, blocks=2).eval()
    deeper.load_state_dict(plain.state_dict(), strict=False)
    pyramid = [torch.randn(1, 8, 8, 8), torch.randn(1, 8, 4, 4)]
    assert torch.equal(plain(pyramid).heat, deeper(pyramid).heat)
    torch.nn.init.ones_(deeper.blocks[1][2].weight)
    assert not torch.allclose(plain(pyramid).heat, deeper(pyramid).heat)


def test_chosen_landmarks_are_distinct_and_start_with_the_wanted() -> None:
    index = spread_points(prior().mean, (5, 9), 60)
    assert index[:2].tolist() == [5, 9]
    assert len(set(index.tolist())) == 60


def test_a_network_that_gains_evidence_answers_as_before_and_then_learns_from_it() -> None:
    torch.manual_seed(0)
    plain = FaceEncoder(EncoderConfig(input_size=64)).eval()
    config = EncoderConfig(input_size=64, evidence_points=K, evidence_size=D)
    network = FaceEncoder(config).eval()
    network.load_state_dict(plain.state_dict(), strict=False)
    assert network.evidence is not None
    network.evidence.set_prior(prior(), torch.arange(K))
    image = torch.rand(2, 3, 64, 64)
    out = network(image)
    assert torch.equal(out.code, plain(image).code)
    assert out.evidence is not None
    assert out.evidence.fused.shape == (2, 468, 2)
    loss = evidence_nll(out.evidence, torch.zeros(2, 468, 2)).sum() + out.evidence.fused.square().sum()
    loss.backward()
    for name, parameter in network.evidence.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name

"""FOCUS's segmenter: any size, starts by calling everything visible, can be trained."""

import torch

from occface_core.networks.segmentation import OcclusionSegmenter


def test_sizes_and_starting_point(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    net = OcclusionSegmenter(width=8)
    for size in (64, 77):
        image = torch.rand(2, 3, size, size, generator=generator)
        logits = net(image, image)
        assert logits.shape == (2, 1, size, size)
        assert float((logits > 0).float().mean()) > 0.8


def test_a_step_of_descent_lowers_its_loss(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    net = OcclusionSegmenter(width=8, depth=2)
    image = torch.rand(2, 3, 32, 32, generator=generator)
    render = image.clone()
    render[..., 16:] = 0
    wanted = torch.ones(2, 1, 32, 32)
    wanted[..., 16:] = 0
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(image, render), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]

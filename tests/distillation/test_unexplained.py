"""What the face model does not explain, on pictures whose answer is known."""

import pytest
import torch

from occface_core.distillation.recipes.unexplained import (
    Unexplained,
    quantile_inside,
    smooth_by_colour,
)
from occface_core.networks.evidence import Evidence

SIZE, POINTS = 64, 9


def maps_of(image: torch.Tensor) -> list[torch.Tensor]:
    """Three maps that know the colours around each cell."""
    lifted = torch.cat([image, 1 - image, image.flip(1)], 1) - 0.5
    return [torch.nn.functional.avg_pool2d(lifted, k) for k in (4, 8, 16)]


def evidence(log_sigma: torch.Tensor) -> Evidence:
    """Nine landmarks on a grid over the crop."""
    line, count = torch.tensor([-0.5, 0.0, 0.5]), len(log_sigma)
    places = torch.zeros(count, 468, 2)
    places[:, :POINTS] = torch.stack([line.repeat(3), line.repeat_interleave(3)], -1)
    return Evidence(
        points=places[:, :POINTS],
        log_sigma=log_sigma,
        fused=places,
        z=torch.zeros(count, 4),
        index=torch.arange(POINTS),
        heat=torch.zeros(count, POINTS, 2, 2),
    )


@pytest.fixture
def photos(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Eight faces of flat skin in different light, each with a patch of another colour on its left third."""
    render = torch.tensor([0.7, 0.5, 0.4]).view(1, 3, 1, 1) * torch.linspace(0.6, 1.2, 8).view(8, 1, 1, 1)
    render = render.expand(8, 3, SIZE, SIZE).contiguous()
    image = render + 0.02 * torch.randn(render.shape, generator=generator)
    image[..., : SIZE // 3] = torch.tensor([0.1, 0.3, 0.6]).view(3, 1, 1)
    region = torch.zeros(8, 1, SIZE, SIZE)
    region[..., 8:-8, 8:-8] = 1
    return image, render, region


def test_a_cover_stands_out_and_skin_does_not(photos: tuple[torch.Tensor, ...]) -> None:
    image, render, region = photos
    judge = Unexplained()
    unlike = judge(image, render, region, (maps_of(image), maps_of(render)), None)
    assert unlike.shape == (8, 1, SIZE, SIZE)
    assert float(unlike[..., 12:52, 10:18].min()) > 1.0
    assert float(unlike[..., 12:52, 30:54].max()) < 0.4
    assert float(unlike[region == 0].abs().max()) == 0


def test_a_photo_drawn_too_dark_is_not_taken_for_covered(photos: tuple[torch.Tensor, ...]) -> None:
    """Everything of one photo is off by the same: that is its level, not an occluder."""
    image, render, region = photos
    off = render.clone()
    off[0] *= 0.7
    judge = Unexplained()
    unlike = judge(image, off, region, (maps_of(image), maps_of(render)), None)
    assert float(unlike[0, :, 12:52, 30:54].mean()) < 0.5
    assert float(unlike[0, :, 12:52, 10:18].mean()) > 1.0


def test_doubted_landmarks_speak_for_the_skin_around_them() -> None:
    """Same colours everywhere; the landmarks on the right are found badly in one photo of five."""
    judge = Unexplained()
    log_sigma = torch.full((5, POINTS), -3.0)
    log_sigma[0, 2::3] = -1.0
    doubt = judge.doubt(evidence(log_sigma), (SIZE, SIZE))
    assert float(doubt[0, 0, :, 48:].min()) > 1.2
    assert float(doubt[0, 0, :, :17].abs().max()) < 0.2
    assert float(doubt[1:].abs().max()) < 1e-5


def test_statistics_follow_and_are_saved(photos: tuple[torch.Tensor, ...]) -> None:
    image, render, region = photos
    judge = Unexplained()
    arguments = (image, render, region, (maps_of(image), maps_of(render)), None)
    judge(*arguments)
    first = judge.spread.clone()
    assert float(first[:5].min()) > 0
    judge(image, render, region, (maps_of(image), maps_of(image)), None)
    assert not torch.equal(first, judge.spread)
    again = Unexplained()
    again.load_state_dict(judge.state_dict())
    torch.testing.assert_close(again(*arguments), judge(*arguments))


def test_quantile_inside_reads_the_region_alone() -> None:
    value = torch.arange(16.0).view(1, 1, 4, 4).repeat(2, 1, 1, 1)
    region = torch.zeros(2, 1, 4, 4)
    region[0, :, 2:] = 1  # 8 .. 15
    assert quantile_inside(value, region, 0.0).flatten().tolist() == [8.0, 0.0]
    assert quantile_inside(value, region, 1.0).flatten().tolist() == [15.0, 0.0]
    assert quantile_inside(value, region, 0.5).flatten().tolist() == [11.0, 0.0]


def test_smoothing_stops_where_the_colour_changes(generator: torch.Generator) -> None:
    image = torch.zeros(1, 3, SIZE, SIZE)
    image[..., SIZE // 2 :] = 1
    truth = image[:, :1] * 2 - 1
    noisy = truth + torch.randn(truth.shape, generator=generator)
    region = torch.ones_like(truth)
    smooth = smooth_by_colour(noisy, image, region)
    assert float((smooth - truth)[..., 8:-8, :].abs().mean()) < 0.25 * float((noisy - truth).abs().mean())
    assert float(smooth[..., : SIZE // 2 - 2].max()) < 0 < float(smooth[..., SIZE // 2 + 2 :].min())


def test_smoothing_knows_nothing_outside_the_region() -> None:
    image, region = torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, 1, SIZE, SIZE)
    region[..., : SIZE // 2] = 1
    value = torch.where(region > 0, 1.0, 1000.0)
    assert float(smooth_by_colour(value, image, region)[..., : SIZE // 2 - 2].max()) == pytest.approx(1.0)

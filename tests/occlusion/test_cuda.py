"""Occluders on GPU tensors: results lie on the GPU and are those of the CPU. Skipped without one."""

import pytest
import torch
from torch import Tensor

from occface_core.occlusion import estimate_depth, face_mask_from_points, occlude, occlude_batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GROUPS = ("irrational", "empirical")


@pytest.fixture(scope="module")
def faces(open_head, small_albedo) -> tuple[Tensor, Tensor, Tensor]:
    from occface_core.data.synthetic import SyntheticFaces

    batch = SyntheticFaces(open_head, small_albedo, 96).sample(4, generator=torch.Generator().manual_seed(0))
    return batch.image, batch.mask, batch.points


def covered(faces: tuple[Tensor, ...], family: str, occlude=occlude, **how):  # type: ignore[no-untyped-def]
    image, mask, points = faces
    generator = torch.Generator().manual_seed(3)
    return occlude(image, mask, points=points, family=family, generator=generator, other_images=image, **how)


@pytest.mark.parametrize("family", GROUPS)
def test_gpu_and_cpu_give_the_same_pixels(faces: tuple[Tensor, ...], family: str) -> None:
    here, there = covered(faces, family), covered(tuple(f.cuda() for f in faces), family)
    for name in ("image", "mask", "occluder", "coverage"):
        value = getattr(there, name)
        assert value.is_cuda, name
        torch.testing.assert_close(value.cpu(), getattr(here, name), msg=name)
    assert there.family == here.family


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_what_it_is(faces: tuple[Tensor, ...], dtype: torch.dtype) -> None:
    image, mask, points = (f.cuda() for f in faces)
    result = covered((image.to(dtype), mask.to(dtype), points), "stripes")
    assert result.image.dtype == result.mask.dtype == result.occluder.dtype == dtype


def test_a_generator_on_the_gpu_gives_pixels_that_do_not_depend_on_the_batch(
    faces: tuple[Tensor, ...],
) -> None:
    def draw(count: int) -> Tensor:
        image, mask, points = (f[:count].cuda() for f in faces)
        generator = torch.Generator("cuda").manual_seed(1)
        return occlude(image, mask, points=points, family="noise_patch", generator=generator).image

    torch.testing.assert_close(draw(4)[:2], draw(2))


def test_points_and_masks(faces: tuple[Tensor, ...]) -> None:
    flat = faces[2][..., :2]
    for function in (estimate_depth, lambda p: face_mask_from_points(p, 96, 96)):
        there = function(flat.cuda())
        assert there.is_cuda
        torch.testing.assert_close(there.cpu(), function(flat))


@pytest.mark.parametrize("family", GROUPS)
def test_batches_covered_on_the_gpu_are_nearly_those_of_the_cpu(
    faces: tuple[Tensor, ...], family: str
) -> None:
    """The same places and designs; rounding moves an edge pixel here and there."""
    many = tuple(f.repeat_interleave(4, 0) for f in faces)
    here = covered(many, family, occlude_batch)
    there = covered(tuple(f.cuda() for f in many), family, occlude_batch)
    assert there.image.is_cuda
    assert there.family == here.family
    for name in ("image", "occluder"):
        far = (getattr(there, name).cpu() - getattr(here, name)).abs() > 0.02
        assert float(far.float().mean()) < 0.005, name
    torch.testing.assert_close(there.coverage.cpu(), here.coverage, rtol=0, atol=0.01)
    assert torch.equal(there.mask, many[1].cuda() * (1 - there.occluder))


def test_batches_on_the_gpu_do_not_depend_on_their_size(faces: tuple[Tensor, ...]) -> None:
    def draw(count: int) -> Tensor:
        image, mask, points = (f.repeat_interleave(4, 0)[:count].cuda() for f in faces)
        generator = torch.Generator().manual_seed(1)
        return occlude_batch(image, mask, points=points, generator=generator).image

    torch.testing.assert_close(draw(16)[:3], draw(3))


def test_batches_on_the_gpu_wait_for_it_only_to_look_for_nan(faces: tuple[Tensor, ...]) -> None:
    there = tuple(f.repeat_interleave(4, 0).cuda() for f in faces)
    covered(there, "random", occlude_batch)  # fills caches
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as caught:
            covered(there, "random", occlude_batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(caught) == 1

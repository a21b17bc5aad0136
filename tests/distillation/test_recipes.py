"""Every recipe on one small batch: named finite losses per image, and values known beforehand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from occface_core.data.batches import BatchConfig, TwinSampler
from occface_core.data.packed import pack
from occface_core.data.photos import load_photo_set
from occface_core.data.profiling import align
from occface_core.data.synthetic import SyntheticFaces
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes import (
    DamiorRecipe,
    DiamorRecipe,
    FocusRecipe,
    LearnerRecipe,
    TeacherRecipe,
    Twin,
    exchanged,
    join,
    truth_losses,
)
from occface_core.distillation.recipes.focus import E_WEIGHTS, Drawn, explained
from occface_core.distillation.scene import SIGMA_REGIONS, Scene
from occface_core.networks.encoder import EncoderConfig, EncoderOutput, FaceEncoder

SIZE = 64
CONFIG = TrainConfig(photos=Path("unused"), batch_size=6, input_size=SIZE, steps=1, duplicates=2)


@pytest.fixture(scope="module")
def twin(scene: Scene, photo_folder: Path) -> Twin:
    """Four photos (two people, each twice) and two renders."""
    packed = pack(load_photo_set(photo_folder), size=96)
    batch = BatchConfig(
        batch_size=4, size=SIZE, occlude=True, family="irrational", clean_share=0, duplicates=2
    )
    sampler = TwinSampler(packed, batch, seed=1, mirror=scene.mirror, mean_points=scene.mean_points)
    renders = SyntheticFaces(scene.head, scene.albedo, SIZE).sample(
        2, generator=torch.Generator().manual_seed(0)
    )
    return join(sampler[0], renders, None, SIZE)


@pytest.fixture(scope="module")
def teacher() -> FaceEncoder:
    torch.manual_seed(3)
    network = FaceEncoder(EncoderConfig(backbone="resnet18", input_size=SIZE, mask_size=16))
    torch.nn.init.normal_(network.layers[2].weight, std=0.02)  # untrained, but not blind to its input
    return network.eval()


@pytest.fixture(scope="module")
def student() -> FaceEncoder:
    torch.manual_seed(4)
    config = EncoderConfig(
        backbone="mobilenet_v3_small", input_size=SIZE, mask_size=16, sigma_regions=SIGMA_REGIONS
    )
    return FaceEncoder(config).eval()


def exact(twin: Twin, count: int) -> EncoderOutput:
    """A prediction that is the truth for the last renders and the same for everything before them."""
    assert twin.truth is not None
    code = twin.truth.to_code()
    code = torch.cat([code[:1].expand(count - len(code), -1), code])
    return EncoderOutput(twin.truth.from_code(code), code, code)


def check(losses: dict[str, Tensor], expected: set[str]) -> None:
    assert expected <= set(losses)
    for name, value in losses.items():
        assert value.ndim == 1, name
        assert torch.isfinite(value).all(), name
    total = torch.stack([v.mean() for v in losses.values()]).sum()
    assert total.requires_grad


def test_joining_puts_photos_first_and_points_in_network_coordinates(twin: Twin) -> None:
    assert (len(twin.clean), twin.photos) == (6, 4)
    assert twin.truth is not None
    assert len(twin.truth) == 2
    assert float(twin.points.abs().max()) < 1.5
    assert torch.equal(twin.clean[4:], twin.occluded[4:])
    assert not torch.equal(twin.clean[:4], twin.occluded[:4])


def test_truth_losses_vanish_at_the_truth(scene: Scene, twin: Twin) -> None:
    out = exact(twin, 6)
    losses = truth_losses(scene, out, scene.decode(out.params), twin)
    assert set(losses) == {"truth_shape", "truth_form", "truth_posed", "truth_albedo", "truth_light"}
    for name, value in losses.items():
        assert value.shape == (2,)
        assert float(value.max()) < 1e-4, name
    assert truth_losses(scene, out, scene.decode(out.params), replace(twin, truth=None)) == {}


def test_landmarks_of_renders_lie_on_their_truth(scene: Scene, twin: Twin) -> None:
    out = exact(twin, 6)
    found = scene.decode(out.params).landmarks[4:]
    torch.testing.assert_close(found, twin.points[4:], atol=1e-4, rtol=0)


def test_teacher(scene: Scene, twin: Twin, teacher: FaceEncoder) -> None:
    recipe = TeacherRecipe(CONFIG, scene)
    early, late = (recipe.losses(teacher, twin, progress) for progress in (0.0, 0.9))
    check(late, {"landmark", "eyes", "lips", "photometric", "mask", "prior_shape", "truth_shape"})
    assert late["photometric"].shape == (4,)  # photographs only
    assert "photometric" not in early  # the mesh must lie on the face first
    assert not recipe.occludes
    assert not recipe.needs_teacher


def test_learner_is_plain_mse_between_codes(scene: Scene, twin: Twin, teacher: FaceEncoder) -> None:
    recipe = LearnerRecipe(CONFIG, scene, teacher)
    with torch.no_grad():
        expected = (teacher(twin.occluded).code - teacher(twin.clean).code).square().mean(-1)
    losses = recipe.losses(teacher, twin, 0.5)
    check(losses, {"code", "mask"})
    torch.testing.assert_close(losses["code"].detach(), expected)
    assert losses["code"][4:].tolist() == [0, 0]  # equal inputs, equal networks
    assert (losses["code"][:4] > 0).all()


def test_normalised_learner_weighs_entries_by_spread(scene: Scene, twin: Twin, teacher: FaceEncoder) -> None:
    recipe = LearnerRecipe(CONFIG.replace(code_loss="normalised"), scene, teacher)
    plain = LearnerRecipe(CONFIG, scene, teacher)
    a, b = (r.losses(teacher, twin, 0.5)["code"][:4] for r in (recipe, plain))
    assert (a > 0).all()
    assert not torch.allclose(a, b)


def test_learner_without_a_teacher(scene: Scene, twin: Twin, student: FaceEncoder) -> None:
    with pytest.raises(ValueError, match="needs a teacher"):
        LearnerRecipe(CONFIG, scene).losses(student, twin, 0.5)


def test_damior(scene: Scene, twin: Twin, teacher: FaceEncoder, student: FaceEncoder) -> None:
    losses = DamiorRecipe(CONFIG, scene, teacher).losses(student, twin, 0.5)
    check(losses, {"code", "shape", "posed", "landmark", "points", "texture", "photometric", "mask", "sigma"})
    same = DamiorRecipe(CONFIG, scene, teacher).losses(teacher, replace(twin, occluded=twin.clean), 0.5)
    for name in ("code", "shape", "texture"):
        # 0.2 times the 1e-6 m that keeps the square root differentiable at 0
        assert float(same[name].detach().max()) < 2.1e-4, name


def test_diamor_agreement_is_zero_only_when_duplicates_agree(
    scene: Scene, twin: Twin, teacher: FaceEncoder
) -> None:
    recipe = DiamorRecipe(CONFIG, scene, teacher, damior=teacher)
    apart = recipe.losses(teacher, twin, 0.5)
    check(apart, {"agree_shape", "agree_albedo", "damior_shape", "shape"})
    assert apart["agree_shape"].shape == (4,)
    together = recipe.losses(teacher, replace(twin, occluded=twin.clean), 0.5)
    for name in ("agree_shape", "agree_albedo"):
        assert float(together[name].detach().max()) < 2e-4 < float(apart[name].detach().min()), name


def test_diamor_consensus_is_the_mean_of_each_group(scene: Scene) -> None:
    recipe = DiamorRecipe(CONFIG, scene)
    values = torch.tensor([[1.0], [3.0], [10.0], [20.0]])
    assert recipe.consensus(values).flatten().tolist() == [2, 2, 15, 15]


def test_focus_alternates(scene: Scene, twin: Twin, student: FaceEncoder) -> None:
    torch.manual_seed(0)
    recipe = FocusRecipe(CONFIG.replace(focus_cycle=12), scene, student)
    e_step = recipe.losses(student, twin, 0.5)
    check(e_step, {"e_unexplained", "e_area", "e_preserve", "e_binary"})
    recipe.step = 6
    m_step = recipe.losses(student, twin, 0.5)
    check(m_step, {"landmark", "photometric", "mask", "prior_shape"})
    torch.stack([v.mean() for v in e_step.values()]).sum().backward()
    assert all(p.grad is None for p in student.parameters())  # the encoder stands still
    assert any(p.grad is not None for p in recipe.segmenter.parameters())


def test_focus_starts_from_landmarks_alone(
    scene: Scene, twin: Twin, student: FaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    recipe = FocusRecipe(CONFIG.replace(focus_start=0.3), scene, student)
    monkeypatch.setattr(recipe, "draw", None)  # neither drawn
    monkeypatch.setattr(recipe, "segmenter", None)  # nor segmented
    losses = recipe.losses(student, twin, 0.29)
    check(losses, {"landmark", "photometric", "prior_shape"})
    assert not losses["mask"].any()
    wrong = replace(twin, visible=torch.rand_like(twin.visible), face=torch.rand_like(twin.face))
    for name, value in recipe.losses(student, wrong, 0.29).items():
        torch.testing.assert_close(value, losses[name])


def test_focus_never_reads_the_true_masks(scene: Scene, twin: Twin, student: FaceEncoder) -> None:
    torch.manual_seed(0)
    recipe = FocusRecipe(CONFIG, scene, student)
    recipe.segmenter.eval()
    recipe.step = 100
    wrong = replace(twin, visible=torch.rand_like(twin.visible), face=torch.rand_like(twin.face))
    a, b = recipe.losses(student, twin, 0.5), recipe.losses(student, wrong, 0.5)
    for name in a:
        torch.testing.assert_close(a[name], b[name])


def test_focus_trusts_its_mask_head_where_the_evidence_is_weak() -> None:
    region = torch.ones(1, 1, 4, 4)
    region[..., 3] = 0
    unlike = torch.full((1, 1, 4, 4), E_WEIGHTS["area"] - 0.2)  # explained, barely
    unlike[:, :, 2:] = 3.0  # certainly not
    drawn = Drawn(torch.zeros(1, 3, 4, 4), region, unlike)
    hidden, unsure = torch.full((1, 1, 2, 2), -2.0), torch.zeros(1, 1, 2, 2)
    assert bool((explained(unsure, drawn)[:, :, :2, :3] > 0.5).all())
    assert bool((explained(hidden, drawn)[:, :, :2, :3] < 0.5).all())
    assert bool((explained(-hidden, drawn)[:, :, 2:, :3] < 0.5).all())
    assert not explained(-hidden, drawn)[..., 3].any()
    assert not explained(hidden.requires_grad_(), drawn).requires_grad  # a target, not a term


def test_focus_draws_the_face_where_the_landmarks_are(scene: Scene, twin: Twin) -> None:
    """A picture that only lies elsewhere is moved back before it is compared with the photo."""
    assert twin.truth is not None
    right = scene.decode(twin.truth)
    moved = scene.decode(twin.truth.replace(camera=twin.truth.camera * torch.tensor([1.1, 1.0, 1.0]) + 0.02))
    points = right.landmarks
    assert float((moved.image_verts - right.image_verts)[..., :2].abs().max()) > 0.05
    back = align(moved.image_verts, moved.landmarks, points)
    torch.testing.assert_close(back[..., :2], right.image_verts[..., :2], atol=1e-4, rtol=0)
    torch.testing.assert_close(back[..., 2], moved.image_verts[..., 2])


def test_focus_needs_a_teacher(scene: Scene) -> None:
    with pytest.raises(ValueError, match="teacher"):
        FocusRecipe(CONFIG, scene)


def test_photos_of_one_person_exchange_who_they_are_and_nothing_else(scene: Scene) -> None:
    generator = torch.Generator().manual_seed(5)
    params = SyntheticFaces(scene.head, scene.albedo, SIZE).sample(7, generator=generator).params
    swapped = exchanged(params, torch.tensor([4, 9, 4, 1, 9]))  # the last two are renders
    order = torch.tensor([2, 4, 0, 3, 1, 5, 6])
    for name, value in vars(params).items():
        moved = name in ("betas", "albedo")
        assert torch.equal(getattr(swapped, name), value[order] if moved else value), name


def test_the_teacher_is_judged_by_the_other_photos_landmarks(scene: Scene, twin: Twin) -> None:
    """Shape reaches the landmark loss of the partner only; without names, of its own photo only."""
    params = exact(twin, 6).params
    betas = params.betas.clone().requires_grad_(True)
    pairs = replace(twin, person=torch.tensor([3, 3, 8, 8]))

    def gradient(seen: Twin, config: TrainConfig) -> Tensor:
        out = replace(exact(twin, 6), params=params.replace(betas=betas))
        loss = TeacherRecipe(config, scene).losses(lambda _: out, seen, 0.0)["landmark"][0]
        return torch.autograd.grad(loss, betas)[0].abs().sum(1)

    assert gradient(pairs, CONFIG).gt(0).tolist() == [False, True, False, False, False, False]
    alone = replace(twin, person=None)
    own = [True, False, False, False, False, False]
    assert gradient(alone, CONFIG).gt(0).tolist() == own
    assert gradient(pairs, CONFIG.replace(person_share=0.0)).gt(0).tolist() == own

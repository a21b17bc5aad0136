"""From a configuration to a trained network and its metrics.json."""

import json
import logging
import platform
from pathlib import Path

import torch

from occface_core import __version__
from occface_core.data.batches import BatchConfig, TwinSampler
from occface_core.data.hidden import with_hidden_of
from occface_core.data.packed import PackedPhotos, cached_pack
from occface_core.data.photos import load_photo_set
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.engine import make_fabric, resolve_precision
from occface_core.distillation.priors import photo_prior, points_to_find, render_prior
from occface_core.distillation.recipes import RECIPE_CLASSES
from occface_core.distillation.scene import SIGMA_REGIONS, Scene
from occface_core.distillation.sheets import SampleSheet, sheet_faces
from occface_core.distillation.state import data_identity, read_state
from occface_core.distillation.terms import TERMS
from occface_core.distillation.trainer import Trainer, model_path
from occface_core.errors import CheckpointError, ConfigError
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.backbones import GROWS, ResNetFeatures
from occface_core.networks.checkpoints import checkpoint_metadata, load_encoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.networks.evidence import PRIOR_SIZE, LandmarkPrior
from occface_core.networks.looks import before_completing, further_look, looking_first, startable

log = logging.getLogger(__name__)


def load_packed(config: TrainConfig, split: str, limit: int | None) -> PackedPhotos:
    """Index, decode and cache one split."""
    assert config.photos is not None
    photos = load_photo_set(config.photos, split=split)
    if photos.missing:
        log.warning(
            "%d photos have no landmarks and are left out, first %s", len(photos.missing), photos.missing[0]
        )
    packed = cached_pack(photos, config.cache, limit=limit)
    if packed.skipped:
        (name, reason), count = packed.skipped[0], len(packed.skipped)
        log.warning(
            "%d of %d photos could not be read, first %s: %s", count, count + len(packed), name, reason
        )
    return with_hidden_of(packed, config.hidden, split)


def make_sampler(config: TrainConfig, scene: Scene, packed: PackedPhotos) -> TwinSampler:
    """Training batches for a recipe: its share of photos, occluded when the recipe asks for it."""
    recipe = RECIPE_CLASSES[config.recipe]
    batch = BatchConfig(
        batch_size=config.photo_count,
        size=config.input_size,
        occlude=recipe.occludes and config.occluders == "painted",
        family=config.occluder_family,
        clean_share=config.clean_share,
        coverage=config.coverage,
        duplicates=config.alike,
        second_share=config.second_share,
        poor_share=config.poor_share,
        harsh_share=config.harsh_share,
        person_share=config.person_share if recipe.pairs_people else 0.0,
        closed_eyes_share=config.closed_eyes_share,
        cut_share=config.cut_share,
        stretch_share=config.stretch_share,
    )
    return TwinSampler(packed, batch, seed=config.seed, mirror=scene.mirror, mean_points=scene.mean_points)


def make_model(
    config: TrainConfig,
    teacher: FaceEncoder | None,
    prior: LandmarkPrior | None = None,
    first: FaceEncoder | None = None,
) -> FaceEncoder:
    """A fresh network, started from `start_from`, or for students from the teacher when it fits.

    Args:
        config: the run's settings.
        teacher: network to start from when the settings name none.
        prior: landmarks of training crops, for networks that look for landmarks.
        first: network that looks before, where the run trains a further look.
    """
    own = encoder_config(config)
    completes = bool(config.completes)
    model = FaceEncoder(own) if first is None else further_look(own, first, completes=completes)
    if model.evidence is not None and prior is not None:
        model.evidence.set_prior(prior, points_to_find(prior, config.evidence_count))
    source = teacher
    if config.start_from == "scratch":
        source = None
    elif config.start_from:
        source = load_encoder(config.start_from, head="open")
    if source is not None and (given := _other_backbone(source, config)):
        if config.start_from:
            raise CheckpointError(
                f"{config.start_from} has backbone {given!r}, this run {config.backbone!r}; "
                f"give --backbone {given}, or --start-from scratch"
            )
        source = None
    if source is None:
        if config.only:
            raise ConfigError(f"only {config.only!r}: there is no trained network to start from")
        return model
    lost = take_over(model, source)
    if config.only:
        _refuse_losses(config, lost)
    return model


def _other_backbone(source: FaceEncoder, config: TrainConfig) -> str | None:
    """Backbone of the network a run would start from, where the run's neither is it nor grows from it."""
    given = (source if config.guided_by or config.completes else looking_first(source)).config.backbone
    return None if config.backbone in (given, *GROWS.get(given, ())) else given


def encoder_config(config: TrainConfig) -> EncoderConfig:
    """What the network that a run trains is built like."""
    # A head that no term trains says nothing, and leaves synchronised processes waiting for its gradients.
    regions = SIGMA_REGIONS if "sigma" in TERMS[config.recipe] else ()
    mask_size = 0 if config.completes else config.mask_size
    return EncoderConfig(
        backbone=config.backbone,
        input_size=config.input_size,
        mask_size=mask_size,
        mask_detail=config.mask_detail if mask_size else 0,
        mask_edges=config.mask_edges if mask_size else 0,
        local_channels=config.local_channels,
        sigma_regions=regions,
        evidence_size=PRIOR_SIZE,
        evidence_points=config.evidence_count,
        evidence_blocks=config.evidence_blocks if config.evidence_count else 0,
    )


def take_over(model: FaceEncoder, source: FaceEncoder) -> set[str]:
    """Give a network the tensors of another that fit it; blocks beyond a shallower one's start silent.

    Returns:
        Names of tensors that only one of the two has, or that differ in size.
    """
    own, given = model.state_dict(), startable(source, model)
    fitting = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    if isinstance(model.backbone, ResNetFeatures):
        model.backbone.silence_new({name.removeprefix("backbone.") for name in given})
    log.info("started from another network: %d of %d tensors", len(fitting), len(own))
    return (own.keys() | given.keys()) - fitting.keys()


def looking_before(config: TrainConfig) -> FaceEncoder | None:
    """The network that looks before the trained one, if any does.

    To guide, that is a student, or of a guided one its own first look; to complete, all but the last look.

    Raises:
        CheckpointError: it cannot be read.
    """
    if config.completes:
        return before_completing(load_encoder(config.completes, head="open"))
    return looking_first(load_encoder(config.guided_by, head="open")) if config.guided_by else None


def _refuse_losses(config: TrainConfig, lost: set[str]) -> None:
    """See that everything outside the part that is trained comes from the network started from.

    Raises:
        ConfigError: it does not.
    """
    parts = sorted({name.split(".")[0] for name in lost} - {config.only})
    if parts:
        raise ConfigError(
            f"only {config.only!r}: the rest must stay as it is, but the network to start from and this "
            f"run's ({config.recipe}) differ in {', '.join(parts)}; take its own recipe and sizes"
        )


def load_reference(source: str, option: str, recipe: str, device: torch.device) -> FaceEncoder:
    """A frozen network that a recipe looks up to.

    Args:
        source: shipped name or checkpoint.
        option: the setting it came from, "teacher" or "damior".
        recipe: the recipe that asks.
        device: where it goes.

    Raises:
        CheckpointError: it cannot be read, or was trained by a recipe that does not make such a network.
    """
    network = load_encoder(source, device, head="open").requires_grad_(False)
    made_by = checkpoint_metadata(source).get("recipe", "")
    allowed = ("damior", "diamor") if option == "damior" else ("teacher", "focus", "multiview")
    if made_by and made_by not in allowed:
        raise CheckpointError(
            f"--{option} {source} is a network of recipe {made_by!r}; {recipe} needs one of {allowed[0]!r}"
        )
    return network


def run_training(config: TrainConfig) -> dict:
    """Train as configured, resuming a run that is already in `config.out`; writes metrics.json.

    Returns:
        What metrics.json holds.

    Raises:
        ConfigError, DataError, CheckpointError: before any step is taken, when something does not fit.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    state = read_state(config)  # before anything slow: a run of other settings is refused at once
    torch.manual_seed(config.seed)
    fabric = make_fabric(config)
    scene = Scene(HeadModel.load(), AlbedoModel.load(), fabric.device)
    teacher = damior = packed = None
    if RECIPE_CLASSES[config.recipe].needs_teacher or config.profile_share:
        teacher = load_reference(config.teacher, "teacher", config.recipe, fabric.device)
    if config.recipe == "diamor" and config.damior:
        damior = load_reference(config.damior, "damior", config.recipe, fabric.device)
    if config.photos is not None and config.photo_count:
        with fabric.rank_zero_first():  # one process decodes, the others find its pack
            packed = load_packed(config, config.split, config.limit)
    sampler = None if packed is None else make_sampler(config, scene, packed)
    prior = None
    if config.evidence_count:
        prior = photo_prior(sampler) if sampler is not None else render_prior(scene)
    start = damior or (teacher if RECIPE_CLASSES[config.recipe].needs_teacher else None)
    first = looking_before(config)
    model = make_model(config, start, prior, first).to(memory_format=torch.channels_last)
    sheet = None
    if config.sheet_minutes and fabric.is_global_zero:
        sheet = SampleSheet(sheet_faces(config, scene), scene, fabric.autocast)
    trainer = Trainer(
        config, fabric, scene, model, teacher=teacher, damior=damior, sampler=sampler, sheet=sheet
    )
    trainer.data = data_identity(packed, {"teacher": teacher, "damior": damior, "first": first})
    resumed = trainer.resume(state)
    del state  # as large as network and optimizer together
    trainer.train()
    metrics = summary(trainer, resumed, packed)
    if fabric.is_global_zero:
        write_json(config.out / "metrics.json", metrics)
    return metrics


def summary(trainer: Trainer, resumed: bool, packed: PackedPhotos | None) -> dict:
    """What metrics.json says of a finished run."""
    config, fabric = trainer.config, trainer.fabric
    cuda = fabric.device.type == "cuda"
    rows = trainer.curves.rows
    return {
        "version": __version__,
        "config": config.to_dict(),
        "resumed": resumed,
        "steps": trainer.clock.step,
        "seconds": round(trainer.clock.seconds, 1),
        "images": trainer.clock.step * config.batch_size * fabric.world_size,
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "processes": fabric.world_size,
        "precision": resolve_precision(config.precision, fabric.device, config.backbone),
        "torch": torch.__version__,
        "photos": 0 if packed is None else len(packed),
        "photos_skipped": [] if packed is None else [name for name, _ in packed.skipped],
        "final": rows[-1] if rows else {},
        "model": str(model_path(config.out)),
    }


def write_json(path: Path, value: dict) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")

"""From a configuration to a trained network and its metrics.json."""

import json
import logging
import platform
from pathlib import Path

import torch
from lightning.fabric import Fabric

from occface_core import __version__
from occface_core.data.batches import BatchConfig, TwinSampler
from occface_core.data.packed import PackedPhotos, cached_pack
from occface_core.data.photos import load_photo_set
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes import RECIPE_CLASSES
from occface_core.distillation.scene import SIGMA_REGIONS, Scene
from occface_core.distillation.trainer import Trainer, model_path
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.checkpoints import load_encoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder

log = logging.getLogger(__name__)


def load_packed(config: TrainConfig, split: str, limit: int | None) -> PackedPhotos:
    """Index, decode and cache one split."""
    assert config.photos is not None
    photos = load_photo_set(config.photos, split=split)
    if photos.missing:
        log.warning(
            "%d photos have no landmarks and are left out, first %s", len(photos.missing), photos.missing[0]
        )
    return cached_pack(photos, config.cache, limit=limit)


def make_sampler(config: TrainConfig, scene: Scene, packed: PackedPhotos) -> TwinSampler:
    """Training batches for a recipe: its share of photos, occluded when the recipe asks for it."""
    batch = BatchConfig(
        batch_size=config.photo_count,
        size=config.input_size,
        occlude=RECIPE_CLASSES[config.recipe].occludes,
        family=config.occluder_family,
        clean_share=config.clean_share,
        coverage=config.coverage,
        duplicates=config.duplicates if config.recipe == "diamor" else 1,
    )
    return TwinSampler(packed, batch, seed=config.seed, mirror=scene.mirror, mean_points=scene.mean_points)


def make_model(config: TrainConfig, teacher: FaceEncoder | None) -> FaceEncoder:
    """A fresh network, started from `start_from`, or for students from the teacher when shapes agree."""
    distils = RECIPE_CLASSES[config.recipe].occludes
    regions = SIGMA_REGIONS if distils and config.recipe != "learner" else ()
    model = FaceEncoder(
        EncoderConfig(
            backbone=config.backbone,
            input_size=config.input_size,
            mask_size=config.mask_size,
            local_channels=config.local_channels,
            sigma_regions=regions,
        )
    )
    source = teacher
    if config.start_from == "scratch":
        source = None
    elif config.start_from:
        source = load_encoder(config.start_from)
    if source is None or source.config.backbone != config.backbone:
        return model
    own = model.state_dict()
    fitting = {k: v for k, v in source.state_dict().items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    log.info("started from another network: %d of %d tensors", len(fitting), len(own))
    return model


def run_training(config: TrainConfig) -> dict:
    """Train as configured, resuming a run that is already in `config.out`; writes metrics.json.

    Returns:
        What metrics.json holds.

    Raises:
        ConfigError, DataError, CheckpointError: before any step is taken, when something does not fit.
    """
    torch.manual_seed(config.seed)
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "cuda"}.get(config.device, "auto")
    fabric = Fabric(accelerator=accelerator, devices=config.devices, precision=config.precision)  # type: ignore[arg-type]
    fabric.launch()
    scene = Scene(HeadModel.load(), AlbedoModel.load(), fabric.device)
    teacher = None
    if RECIPE_CLASSES[config.recipe].needs_teacher:
        teacher = load_encoder(config.teacher, fabric.device, head="open").requires_grad_(False)
    damior = None
    if config.recipe == "diamor" and config.damior:
        damior = load_encoder(config.damior, fabric.device, head="open").requires_grad_(False)
    model = make_model(config, damior or teacher).to(memory_format=torch.channels_last)
    sampler = None
    if config.photos is not None and config.synthetic_count < config.batch_size:
        sampler = make_sampler(config, scene, load_packed(config, config.split, config.limit))
    trainer = Trainer(config, fabric, scene, model, teacher=teacher, damior=damior, sampler=sampler)
    resumed = trainer.resume()
    history = trainer.train()
    metrics = {
        "version": __version__,
        "config": config.to_dict(),
        "resumed": resumed,
        "steps": trainer.clock.step,
        "seconds": round(trainer.clock.seconds, 1),
        "images": trainer.clock.step * config.batch_size,
        "device": torch.cuda.get_device_name()
        if fabric.device.type == "cuda"
        else platform.processor() or "cpu",
        "torch": torch.__version__,
        "final": history[-1] if history else {},
        "model": str(model_path(config.out)),
    }
    if fabric.is_global_zero:
        write_json(config.out / "metrics.json", metrics)
    return metrics


def write_json(path: Path, value: dict) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")

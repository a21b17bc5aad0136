"""Put a trained network among the shipped assets: fp16 shards plus a manifest entry that says how it was
made."""

from collections.abc import Mapping
from pathlib import Path

from occface_core.assets import register_asset, weights_dir
from occface_core.networks.checkpoints import save_encoder
from occface_core.networks.encoder import FaceEncoder

LICENCE = "networks trained on LFW and UTKFace photos: research and non-commercial use"


def release_encoder(
    model: FaceEncoder, name: str, *, made_by: str, description: str, metrics: Mapping[str, float],
    version: str
) -> list[Path]:
    """Write `weights/<name>*.safetensors`, remove the shards it replaces, register sizes and hashes.

    Args:
        model: the trained network.
        name: asset name, "teacher" or "student".
        made_by: command, data, steps and hardware of the run.
        description: one line for people.
        metrics: measured figures, as in BENCHMARKS.md.
        version: version of the asset.

    Returns:
        The files written.
    """
    folder = weights_dir()
    files = save_encoder(model, folder / f"{name}.safetensors", metadata={"name": name, "version": version})
    register_asset(
        name,
        files,
        version=version,
        licence=LICENCE,
        made_by=made_by,
        description=description,
        metrics=dict(metrics),
    )
    return files

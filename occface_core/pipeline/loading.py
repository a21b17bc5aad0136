"""What a reconstruction needs: device, head, albedo, and whether they fit the network."""

import os
from pathlib import Path

import torch

from occface_core.assets import load_manifest, weights_dir
from occface_core.errors import AssetError, CheckpointError, ConfigError
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import layout
from occface_core.morphable.regions import DERIVED
from occface_core.networks.checkpoints import load_encoder
from occface_core.networks.deca import DecaTeacher, load_deca
from occface_core.networks.encoder import FaceEncoder
from occface_core.networks.mirrored import CodeMirror, MirroredEncoder
from occface_core.pipeline.texture_prior import TexturePrior

FaceNetwork = FaceEncoder | DecaTeacher


def resolve_device(device: str) -> torch.device:
    """Turn "auto", "cpu" or "cuda" into a device.

    Raises:
        ConfigError: CUDA was asked for and is not there, or the name is unknown.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} is unknown; use auto, cpu or cuda") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device {device!r} was asked for, but PyTorch sees no CUDA device; use auto or cpu"
        )
    return chosen


def flame_path() -> Path:
    """Where an imported FLAME lies: $OCCFACE_FLAME, or flame.safetensors beside the shipped weights."""
    return Path(os.environ.get("OCCFACE_FLAME") or weights_dir() / "flame.safetensors")


def resolve_head(head: str | Path | HeadModel) -> HeadModel:
    """Load a head by name ("open", "flame") or from a .safetensors file.

    Raises:
        AssetError: The file is missing or damaged; the message says how to make it.
    """
    if isinstance(head, HeadModel):
        return head
    if head == "open":
        return HeadModel.load()
    path = flame_path() if head == "flame" else Path(head)
    if head == "flame" and not path.is_file():
        raise AssetError(
            f"{path} does not exist: import your FLAME once with `python -m occface_core assets import-flame "
            "generic_model.pkl`"
        )
    return HeadModel.load(path)


def resolve_network(model: str | Path | FaceNetwork, device: torch.device) -> FaceNetwork:
    """A network by shipped name or .safetensors file, or DECA itself from its own `deca_model.tar`.

    Raises:
        CheckpointError: The file is missing, damaged, or holds something else.
    """
    if isinstance(model, FaceEncoder | DecaTeacher):
        return model
    if Path(model).suffix == ".tar":
        return load_deca(Path(model), device)
    return load_encoder(model, device)


def load_albedo(device: torch.device) -> AlbedoModel:
    """The shipped albedo model.

    Raises:
        AssetError: It is missing or damaged.
    """
    return AlbedoModel.load().to(device)


def load_texture_prior() -> TexturePrior | None:
    """What is known about the skin of the shipped head; None with weights of before it was shipped.

    Raises:
        AssetError: It is missing or damaged.
    """
    return TexturePrior.load() if "texture_prior" in load_manifest()["assets"] else None


def both_ways(network: FaceNetwork, head: HeadModel, albedo: object) -> MirroredEncoder | None:
    """The network looking at every crop and its mirror image; None where that says nothing of the head."""
    try:
        mirror = CodeMirror(head, albedo if isinstance(albedo, AlbedoModel) else None)
    except AssetError:
        return None
    return MirroredEncoder(network, mirror).eval()


def check_fit(encoder: FaceNetwork, head: HeadModel, model_name: str, head_name: str) -> None:
    """Refuse a network and a head that cannot belong together.

    Raises:
        CheckpointError: Naming both.
    """
    groups = dict(layout(encoder.config.layout).groups)
    wanted = (groups["shape"], groups["exp"])
    if wanted != (head.n_shape, head.n_expression):
        raise CheckpointError(
            f"network {model_name} predicts {wanted[0]} shape and {wanted[1]} expression values, head "
            f"{head_name} has {head.n_shape} and {head.n_expression}; use the head it was trained for"
        )
    if head_name in ("open", "flame") and encoder.config.head != head_name:
        raise CheckpointError(
            f"network {model_name} was trained for head {encoder.config.head!r}, not {head_name!r}; "
            f"use --head {encoder.config.head}, or a network trained for this head"
        )
    for which in ("68", "now7"):
        try:
            head.landmarks(head.v_template[None], which)
        except AssetError as error:
            raise AssetError(
                f"head {head_name} has no {which!r} landmarks; import it again with `assets import-flame "
                "generic_model.pkl --landmarks landmark_embedding.npy`"
            ) from error
    absent = set(encoder.config.sigma_regions) - {*head.regions, *DERIVED}
    if absent:
        raise CheckpointError(
            f"network {model_name} names regions that head {head_name} lacks: {sorted(absent)}"
        )

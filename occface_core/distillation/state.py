"""The resumable state of a run: written atomically, read without unpickling objects, refused when unfit."""

import json
import pickle
import zipfile
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from occface_core.distillation.config import TrainConfig
from occface_core.errors import CheckpointError

STATE_FILE = "state.ckpt"
# What a run may not change between a stop and a resume; budget and logging may.
FIXED = (
    "recipe",
    "backbone",
    "input_size",
    "mask_size",
    "batch_size",
    "seed",
    "synthetic_share",
    "code_loss",
    "loss_weights",
    "local_channels",
    "mask_detail",
    "mask_edges",
    "evidence_blocks",
    "person_share",
)
# What a state lacks that was written before the setting existed, where today's default would be wrong.
_BEFORE: dict[str, Any] = {
    "local_channels": 0,
    "mask_detail": 0,
    "mask_edges": 0,
    "evidence_blocks": 0,
    "person_share": 0.0,
}


def write_state(config: TrainConfig, state: dict[str, Any]) -> None:
    """Write the state beside the run; the rename makes it atomic, so a kill leaves the previous one whole."""
    temporary = config.out / (STATE_FILE + ".tmp")
    torch.save({**state, "config": json.dumps(config.to_dict())}, temporary)
    temporary.replace(config.out / STATE_FILE)


def read_state(config: TrainConfig) -> dict[str, Any] | None:
    """The state of the run in `config.out`, or None when there is none.

    Raises:
        CheckpointError: the state is damaged or belongs to a run with other fixed settings.
    """
    path = config.out / STATE_FILE
    if not path.is_file():
        return None
    damaged = (
        OSError,
        RuntimeError,
        EOFError,
        LookupError,  # the unpickler's own stack, on bytes that are no pickle
        ValueError,
        TypeError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        stored = json.loads(state["config"])
    except damaged as error:
        raise CheckpointError(f"{path}: cannot be resumed ({error}); delete it to start over") from error
    own, defaults = config.to_dict(), {f.name: f.default for f in fields(config)}
    for key in FIXED:
        then = stored.get(key, _BEFORE.get(key, defaults.get(key)))
        if then != own[key]:
            raise CheckpointError(
                f"{path} belongs to a run with {key} {then!r}, this one has {own[key]!r}; "
                "choose another --out"
            )
    return state


def restore(
    config: TrainConfig,
    state: dict[str, Any],
    network: nn.Module,
    extra: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Load networks and optimizer from a state.

    Raises:
        CheckpointError: their shapes are not those of this run's networks.
    """
    try:
        network.load_state_dict(state["model"])
        extra.load_state_dict(state.get("extra", {}))
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{config.out / STATE_FILE} does not fit the {config.recipe} network of this version ({reason}); "
            "choose another --out"
        ) from error

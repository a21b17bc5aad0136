"""The resumable state of a run: written atomically, read without unpickling objects, refused when unfit."""

import hashlib
import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from occface_core.data.packed import PackedPhotos
from occface_core.distillation.config import TrainConfig
from occface_core.errors import CheckpointError
from occface_core.networks.encoder import FaceEncoder
from occface_core.networks.identity import network_digest

STATE_FILE = "state.ckpt"
# What a run may change between a stop and a resume: its budget, what it writes when, and where it runs.
# Every other setting says what is learned from what, and would make one run of two.
FREE = frozenset(
    [
        *("out", "minutes", "steps", "cache", "workers", "precision", "device", "devices", "dev_split"),
        *("checkpoint_minutes", "sheet_minutes", "sheet_faces", "log_every"),
    ]
)
PATHS = ("photos", "hidden")  # the same folder may be written in several ways
# What a state lacks that was written before the setting existed, where today's default would be wrong.
_BEFORE: dict[str, Any] = {
    "local_channels": 0,
    "mask_detail": 0,
    "mask_edges": 0,
    "evidence_blocks": 0,
    "person_share": 0.0,
    "focus_start": 0.0,
}
_READ_BY = {"focus_start": "focus"}  # settings that a single recipe reads: nothing to others


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
    _refuse_changes(path, stored, config)
    return state


def _refuse_changes(path: Path, stored: dict[str, Any], config: TrainConfig) -> None:
    own = json.loads(json.dumps(config.to_dict()))  # lists for tuples, as they were stored
    for field in fields(config):
        key = field.name
        if key in FREE or _READ_BY.get(key, config.recipe) != config.recipe:
            continue
        before = list(field.default) if isinstance(field.default, tuple) else field.default
        then, now = stored.get(key, _BEFORE.get(key, before)), own[key]
        if key in PATHS:
            then, now = (None if p is None else str(Path(p).resolve()) for p in (then, now))
        if then != now:
            raise CheckpointError(
                f"{path} belongs to a run with {key} {then!r}, this one has {now!r}; choose another --out"
            )


def data_identity(
    packed: PackedPhotos | None, references: Mapping[str, FaceEncoder | None]
) -> dict[str, str]:
    """Short names of what a run learns from: photos with landmarks, covers known in them, frozen networks."""
    found: dict[str, str] = {}
    if packed is not None:
        found["photos"] = packed.digest()
        if packed.hidden is not None:
            found["hidden"] = hashlib.sha256(packed.hidden.tobytes()).hexdigest()[:16]
    for name, network in references.items():
        if network is not None:
            found[name] = network_digest(network)[:16]
    return found


def refuse_other_data(config: TrainConfig, state: dict[str, Any], now: Mapping[str, str]) -> None:
    """See that a run goes on with the data it was begun with; states of before 0.11 do not say.

    Raises:
        CheckpointError: what lies behind a setting has changed.
    """
    then = state.get("data")
    if then is None:
        return
    changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    if changed:
        raise CheckpointError(
            f"{config.out / STATE_FILE} belongs to a run with other {' and '.join(changed)}, though under "
            "the same names; choose another --out"
        )


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

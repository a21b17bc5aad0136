"""The resumable state of a run: written atomically, read without unpickling objects, refused when it does
not fit."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

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
)


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
    own = config.to_dict()
    for key in FIXED:
        if stored.get(key) != own[key]:
            raise CheckpointError(
                f"{path} belongs to a run with {key} {stored.get(key)!r}, this one has {own[key]!r}; "
                "choose another --out"
            )
    return state


def restore_history(path: Path, step: int) -> list[dict[str, float]]:
    """Logged rows up to `step`, and the log cut back to them.

    A kill loses the steps since the last checkpoint; they are run and logged again, so their first rows must
    go. A row that the kill cut short goes too.
    """
    rows: list[dict[str, float]] = []
    if not path.is_file():
        return rows
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["step"] <= step:
            rows.append(row)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    temporary.replace(path)
    return rows

"""Safe storage of networks: safetensors with the configuration inside, sharded above 15 MiB, never
unpickled."""

import glob
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from occface_core.assets import asset_path, load_safetensors
from occface_core.errors import AssetError, CheckpointError, OccFaceError
from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.networks.looks import make_encoder

FORMAT = "occface-encoder"
SHARD_BYTES = 15 * 2**20


def encoder_tensors(model: FaceEncoder, *, half: bool) -> dict[str, Tensor]:
    """State of a network, matrices optionally as fp16; normalisation statistics stay fp32."""
    state = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous()
        shrink = half and value.is_floating_point() and value.ndim >= 2
        state[name] = value.half() if shrink else value
    return state


def save_encoder(
    model: FaceEncoder, path: Path, *, metadata: dict[str, str] | None = None, half: bool = True
) -> list[Path]:
    """Write `path` (.safetensors), or `stem-0000k-of-0000n.safetensors` shards when larger than 15 MiB.

    Whatever network was there before is gone afterwards, in however many shards it came.

    Returns:
        The files written.
    """
    path = Path(path)
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, value in encoder_tensors(model, half=half).items():
        size = value.numel() * value.element_size()
        if used + size > SHARD_BYTES and shards[-1]:
            shards.append({})
            used = 0
        shards[-1][name] = value
        used += size
    meta = {
        "format": FORMAT,
        "config": json.dumps(model.config.to_dict()),
        "expression_bounds": json.dumps(model.expression_bounds),
        **(metadata or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [f"{path.stem}-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    files = [path] if len(shards) == 1 else [path.with_name(name) for name in names]
    for file, shard in zip(files, shards, strict=True):
        unfinished = file.with_name(f".{file.name}.partial")
        save_file(shard, unfinished, metadata=meta)
        unfinished.replace(file)
    shards_there = path.parent.glob(f"{glob.escape(path.stem)}-[0-9]*-of-[0-9]*.safetensors")
    for old in {path, *shards_there} - set(files):
        old.unlink(missing_ok=True)
    return files


def _locate(source: str | Path) -> Path:
    """A checkpoint's file (or one of its shards) from an asset name or a path without the shard number."""
    path = Path(source)
    if path.suffix != ".safetensors":
        return asset_path(str(source))
    if not path.is_file():
        shards = sorted(path.parent.glob(f"{path.stem}-00001-of-*.safetensors"))
        return shards[0] if shards else path
    return path


def checkpoint_metadata(source: str | Path) -> dict[str, str]:
    """What a checkpoint says about itself (recipe, step, name ...), without reading its tensors.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
    """
    try:
        with safe_open(_locate(source), framework="pt") as stream:
            return dict(stream.metadata() or {})
    except (AssetError, OSError, SafetensorError) as error:
        raise CheckpointError(f"network {source}: {error}") from error


def load_encoder(
    source: str | Path, device: torch.device | str = "cpu", *, head: str | None = None
) -> FaceEncoder:
    """Load a network for inference, checking hashes (shipped assets), names, shapes and values.

    Args:
        source: shipped name ("teacher", "student") or a .safetensors path.
        device: where to put it.
        head: refuse a network made for another head than this.

    Raises:
        CheckpointError: anything does not fit; the message names the file and what is wrong.
    """
    try:
        state, meta = load_safetensors(_locate(source))
    except AssetError as error:
        raise CheckpointError(f"network {source}: {error}") from error
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{source}: not an OccFace network (format {meta.get('format')!r}, expected {FORMAT!r})"
        )
    try:
        config = EncoderConfig.from_dict(json.loads(meta["config"]))
        bounds = json.loads(meta["expression_bounds"])
        model = make_encoder(config, expression_bounds=None if bounds is None else (bounds[0], bounds[1]))
    except (KeyError, TypeError, ValueError, OccFaceError) as error:
        raise CheckpointError(f"{source}: its configuration is damaged: {error}") from error
    if head is not None and config.head != head:
        raise CheckpointError(f"{source} was trained for head {config.head!r}, not {head!r}")
    _check_state(model, state, str(source))
    model.load_state_dict({k: v.float() if v.dtype == torch.float16 else v for k, v in state.items()})
    return model.to(device).eval()


def _check_state(model: FaceEncoder, state: dict[str, Tensor], label: str) -> None:
    own = model.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = sorted(
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own.keys() & state.keys()
        if own[k].shape != state[k].shape
    )
    problems = [
        f"{title}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
        for title, names in (("missing", missing), ("not in this network", extra), ("wrong shape", wrong))
        if names
    ]
    if problems:
        raise CheckpointError(f"{label}: does not fit its configuration ({'; '.join(problems)})")

"""Shipped files: where they are, whether they are whole, and loading them without running code.

`weights/manifest.json` lists every asset with its files, sizes and SHA-256. An asset is one safetensors file
or several shards named `name-00001-of-00002.safetensors`.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from occface_core.errors import AssetError

Shape = tuple[int | str, ...]
"""Sizes of a tensor; a letter stands for any size, the same wherever it appears in one schema."""

_SHARD = re.compile(r"^(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.safetensors$")


def weights_dir() -> Path:
    """Folder of the shipped assets: `weights/` of the repository, or what OCCFACE_WEIGHTS names."""
    override = os.environ.get("OCCFACE_WEIGHTS")
    return Path(override) if override else Path(__file__).resolve().parent.parent / "weights"


def load_manifest(folder: Path | None = None) -> dict[str, Any]:
    """The parsed `manifest.json`.

    Raises:
        AssetError: The file is missing or is not a version 1 manifest.
    """
    path = (folder or weights_dir()) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AssetError(
            f"{path} is missing: run from a full checkout, or point OCCFACE_WEIGHTS at weights/"
        ) from error
    except (OSError, ValueError) as error:
        raise AssetError(
            f"{path} cannot be read as JSON ({error}); restore it from the repository"
        ) from error
    if (
        not isinstance(manifest, dict)
        or manifest.get("version") != 1
        or not isinstance(manifest.get("assets"), dict)
    ):
        raise AssetError(f"{path} is not a version 1 manifest with an 'assets' table")
    return manifest


def register_asset(name: str, files: list[Path], folder: Path | None = None, **entry: Any) -> None:
    """Write or replace one manifest entry, with sizes and hashes taken from the files.

    Args:
        name: Asset name.
        files: The asset's files, all inside `folder`.
        folder: The weights folder; default `weights_dir()`.
        entry: version, licence, made_by, description and, if measured, metrics.
    """
    folder = folder or weights_dir()
    path = folder / "manifest.json"
    # Read again just before writing: assets are built by separate commands.
    manifest: dict[str, Any] = load_manifest(folder) if path.exists() else {"version": 1, "assets": {}}
    described = [{"file": f.name, "bytes": f.stat().st_size, "sha256": sha256(f)} for f in files]
    manifest["assets"][name] = {"files": described, **entry}
    manifest["assets"] = dict(sorted(manifest["assets"].items()))
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def asset_path(name: str) -> Path:
    """Path of a shipped asset (of its first shard), after checking size and hash once per process.

    Raises:
        AssetError: Unknown name, or a file is missing or damaged.
    """
    return _checked_asset(weights_dir(), name)


@cache
def _checked_asset(folder: Path, name: str) -> Path:
    assets = load_manifest(folder)["assets"]
    if name not in assets:
        raise AssetError(
            f"no asset is called {name!r}; {folder / 'manifest.json'} lists {', '.join(assets) or 'none'}"
        )
    try:
        files = [(folder / f["file"], int(f["bytes"]), str(f["sha256"])) for f in assets[name]["files"]]
    except (KeyError, TypeError, ValueError) as error:
        raise AssetError(
            f"the entry of {name!r} in {folder / 'manifest.json'} is malformed: {error}"
        ) from error
    if not files:
        raise AssetError(f"the entry of {name!r} in {folder / 'manifest.json'} lists no file")
    for path, size, digest in files:
        if path.parent.resolve() != folder.resolve():
            raise AssetError(f"the entry of {name!r} names a file outside {folder}: {path}")
        _check_file(path, size, digest)
    return files[0][0]


def _check_file(path: Path, size: int, digest: str) -> None:
    cure = "fetch it again (git checkout, or git lfs pull where LFS is used)"
    if not path.is_file():
        raise AssetError(f"{path} is missing; {cure}")
    if path.stat().st_size != size:
        raise AssetError(f"{path} has {path.stat().st_size} bytes, the manifest says {size}; {cure}")
    if sha256(path) != digest:
        raise AssetError(f"{path} does not match its SHA-256 in the manifest; {cure}")


def load_safetensors(
    path: Path, *, schema: Mapping[str, Shape] | None = None, optional: Mapping[str, Shape] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file, or all shards of one, and check what is inside. Nothing is ever unpickled.

    Args:
        path: The file; for shards any one of them.
        schema: Tensors that must be there, by name. None accepts anything.
        optional: Tensors that may be there; names may be patterns such as "region_*". Anything named by
            neither is an error when `schema` is given.

    Returns:
        Tensors on the CPU and the string metadata (of the first shard).

    Raises:
        AssetError: The file is not safetensors, is truncated, or its tensors are missing, unexpected, of the
            wrong shape or not finite. All faults are listed.
    """
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for shard in reversed(_shards(path)):
        try:
            with safe_open(shard, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors.update({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise AssetError(
                f"{shard} is not a readable safetensors file ({error}); fetch or export it again"
            ) from error
    faults = [f"{key} has NaN or infinite values" for key, value in tensors.items() if _not_finite(value)]
    if schema is not None:
        faults += _schema_faults(tensors, schema, optional or {})
    if faults:
        raise AssetError(f"{path} does not hold what is expected: " + "; ".join(sorted(faults)))
    return tensors, metadata


def _shards(path: Path) -> list[Path]:
    match = _SHARD.match(path.name)
    if not match:
        if not path.is_file():
            raise AssetError(f"{path} does not exist")
        return [path]
    count = int(match["parts"])
    shards = [
        path.with_name(f"{match['stem']}-{i:05d}-of-{count:05d}.safetensors") for i in range(1, count + 1)
    ]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing or not shards:
        raise AssetError(f"{path} is one of {count} shards, of which these are missing: {', '.join(missing)}")
    return shards


def _not_finite(value: Tensor) -> bool:
    return value.is_floating_point() and not bool(torch.isfinite(value).all())


def _schema_faults(
    tensors: Mapping[str, Tensor], schema: Mapping[str, Shape], optional: Mapping[str, Shape]
) -> list[str]:
    faults = [f"{key} is missing" for key in schema if key not in tensors]
    letters: dict[str, tuple[int, str]] = {}
    # Required tensors first, so that letters are bound by them and a bad optional one is the one named.
    for key in sorted(tensors, key=lambda k: (k not in schema, k)):
        expected = schema.get(key)
        if expected is None:
            expected = next((shape for name, shape in optional.items() if fnmatchcase(key, name)), None)
        if expected is None:
            faults.append(f"{key} is not expected")
            continue
        faults += _shape_faults(key, tuple(tensors[key].shape), expected, letters)
    return faults


def _shape_faults(
    key: str, shape: tuple[int, ...], expected: Shape, letters: dict[str, tuple[int, str]]
) -> list[str]:
    wanted = f"({', '.join(str(size) for size in expected)})"
    if len(shape) != len(expected):
        return [f"{key} has shape {shape}, not {wanted}"]
    faults = []
    for size, want in zip(shape, expected, strict=True):
        known, origin = letters.setdefault(want, (size, key)) if isinstance(want, str) else (want, "")
        if size != known:
            reason = f" with {want}={known} as in {origin}" if origin else ""
            faults.append(f"{key} has shape {shape}, not {wanted}{reason}")
            break
    return faults

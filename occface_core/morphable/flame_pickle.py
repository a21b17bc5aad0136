"""Reading the pickles FLAME is distributed in without running any code in them.

A pickle may name any function to call, so the unpickler here knows a closed list of names: numpy arrays are
rebuilt by numpy, chumpy and scipy.sparse objects become inert records of their fields, the torch tensors in
DECA's landmark file go through torch's own restricted reader, anything else is refused.
"""

import importlib
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from occface_core.errors import AssetError

_NUMPY_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
_SPARSE_CLASSES = ("csc_matrix", "csr_matrix", "csc_array", "csr_array")


class _Record:
    """Stand-in for a foreign object: keeps the state it is given and does nothing."""

    state: dict[str, Any]

    def __new__(cls, *_: object) -> "_Record":
        # Not __init__: unpickling by NEWOBJ never calls it.
        record = super().__new__(cls)
        record.state = {}
        return record

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) == 2:
            # (dict, slots): how objects with __slots__ are pickled.
            state = {**(state[0] or {}), **(state[1] or {})}
        if not isinstance(state, dict):
            raise AssetError(f"refused an object whose state is a {type(state).__name__}")
        self.state.update(state)


class _Chumpy(_Record):
    """Stand-in for a chumpy array."""

    def array(self) -> np.ndarray:
        """The values: `x` of a chumpy.Ch, or the picked entries of a chumpy.reordering.Select."""
        if "x" in self.state:
            return as_array(self.state["x"])
        if {"a", "idxs", "preferred_shape"} <= self.state.keys():
            picked = as_array(self.state["a"]).ravel()[as_array(self.state["idxs"]).ravel()]
            return picked.reshape([int(n) for n in np.atleast_1d(self.state["preferred_shape"])])
        raise AssetError(f"cannot read a chumpy object with the fields {', '.join(map(str, self.state))}")


class _CompressedRows(_Record):
    """Stand-in for a scipy csr matrix."""

    def array(self) -> np.ndarray:
        """The dense matrix."""
        return self._dense(self._shape())

    def _shape(self) -> tuple[int, int]:
        rows, columns = self.state.get("_shape", self.state.get("shape", (0, 0)))
        return int(rows), int(columns)

    def _dense(self, shape: tuple[int, int]) -> np.ndarray:
        data, indices, starts = (np.asarray(self.state.get(key, ())) for key in ("data", "indices", "indptr"))
        if len(starts) != shape[0] + 1 or len(indices) != len(data):
            raise AssetError("a sparse matrix has inconsistent sizes; download the file again")
        major = np.repeat(np.arange(shape[0]), np.diff(starts))
        if len(major) != len(data) or (len(data) and not 0 <= indices.min() <= indices.max() < shape[1]):
            raise AssetError("a sparse matrix has indices out of range; download the file again")
        dense = np.zeros(shape)
        np.add.at(dense, (major, indices), data)
        return dense


class _CompressedColumns(_CompressedRows):
    """Stand-in for a scipy csc matrix."""

    def array(self) -> np.ndarray:
        """The dense matrix."""
        return self._dense(self._shape()[::-1]).T


def _reconstructor(cls: object, base: object, state: object) -> object:
    """`copyreg._reconstructor`, for stand-ins only: how old pickles make plain objects."""
    if not (isinstance(cls, type) and issubclass(cls, _Record)):
        raise AssetError(f"refused to construct {cls!r}")
    return cls()


def _encode(text: object, encoding: object) -> bytes:
    """`_codecs.encode`, for latin-1 only: how Python 3 writes bytes in protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise AssetError("refused an unusual byte string")
    return text.encode("latin-1")


def _load_storage(data: object) -> Any:
    """`torch.storage._load_from_bytes`, which would unpickle freely, replaced by the restricted reader."""
    if not isinstance(data, bytes):
        raise AssetError("refused a tensor whose storage is not bytes")
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *_: object) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`, giving a numpy array; as_strided checks the bounds."""
    flat = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
    return flat.as_strided(tuple(size), tuple(stride), offset).numpy().copy()


def _allowed() -> dict[tuple[str, str], Any]:
    multiarray = importlib.import_module("numpy._core.multiarray")
    numpy_names = {"ndarray": np.ndarray, "dtype": np.dtype}
    numpy_names |= {"_reconstruct": multiarray._reconstruct, "scalar": multiarray.scalar}
    table: dict[tuple[str, str], Any] = {
        (module, name): value for module in _NUMPY_MODULES for name, value in numpy_names.items()
    }
    for name in _SPARSE_CLASSES:
        stand_in = _CompressedColumns if name.startswith("csc") else _CompressedRows
        for module in ("", "._" + name[:3], "." + name[:3]):
            table["scipy.sparse" + module, name] = stand_in
    for module in ("copy_reg", "copyreg"):
        table[module, "_reconstructor"] = _reconstructor
    for module in ("__builtin__", "builtins"):
        table[module, "object"] = object
        table[module, "set"] = set
    table["_codecs", "encode"] = _encode
    table["collections", "OrderedDict"] = OrderedDict
    table["torch.storage", "_load_from_bytes"] = _load_storage
    table["torch._utils", "_rebuild_tensor_v2"] = _rebuild_tensor
    return table


class _WhitelistUnpickler(pickle.Unpickler):
    """Resolves the names in `_allowed` and chumpy classes; refuses everything else."""

    _table = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "chumpy" and name.isidentifier():
            return _Chumpy
        if (module, name) not in self._table:
            raise AssetError(
                f"refused {module}.{name}: FLAME files hold only numpy, chumpy and scipy.sparse data"
            )
        return self._table[module, name]


def as_array(value: Any) -> np.ndarray:
    """A numpy array from an array or a stand-in read by this module.

    Raises:
        AssetError: The value holds no numbers.
    """
    if isinstance(value, _Chumpy | _CompressedRows):
        return value.array()
    array = np.asarray(value)
    if array.dtype.hasobject or array.dtype.kind not in "iufb":
        raise AssetError(f"expected numbers, found {type(value).__name__} of type {array.dtype}")
    return array


def read_flame_file(path: Path) -> dict[str, Any]:
    """The dictionary in a `.pkl`, or in a `.npy` that wraps one; nothing in the file is executed.

    Raises:
        AssetError: The file is missing, damaged, names anything outside the list, or holds no dictionary.
    """
    try:
        with path.open("rb") as file:
            value = _read_npy(file) if path.suffix == ".npy" else _unpickle(file)
    except AssetError as error:
        raise AssetError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise AssetError(f"{path} does not exist") from error
    except Exception as error:  # an unpickler raises almost anything on damaged input
        raise AssetError(
            f"{path} is damaged or not a FLAME file ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(value, dict):
        raise AssetError(f"{path} holds a {type(value).__name__}, not a dictionary of arrays")
    return {str(key): item for key, item in value.items()}


def _unpickle(file: io.BufferedIOBase) -> Any:
    return _WhitelistUnpickler(file, encoding="latin1").load()


def _read_npy(file: io.BufferedIOBase) -> Any:
    version = np.lib.format.read_magic(file)
    read_header = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    _, _, dtype = read_header(file)
    if not dtype.hasobject:
        raise AssetError("holds a plain array, not the dictionary of a landmark embedding")
    # After its header, an .npy with objects is one pickle.
    wrapped = _unpickle(io.BytesIO(file.read()))
    return wrapped.item() if isinstance(wrapped, np.ndarray) and wrapped.ndim == 0 else wrapped

"""FLAME files made here, with stand-ins for chumpy and scipy objects, are read without running code."""

import copyreg
import os
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from occface_core.errors import AssetError
from occface_core.morphable.flame_loader import flame_arrays, import_flame
from occface_core.morphable.flame_pickle import as_array, read_flame_file
from occface_core.morphable.head_model import HeadModel

from .conftest import tiny_head_arrays


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.SimpleNamespace]:
    """A fake chumpy, there only while files are written."""
    package, ch, reordering = (types.ModuleType(n) for n in ("chumpy", "chumpy.ch", "chumpy.reordering"))

    class Ch:
        def __init__(self, **fields: Any) -> None:
            self.__dict__.update(fields, _dirty_vars={"x"}, dterms=("x",))

    class Select(Ch):
        pass

    for cls, module in ((Ch, ch), (Select, reordering)):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
    with monkeypatch.context() as patch:
        for module in (package, ch, reordering):
            patch.setitem(sys.modules, module.__name__, module)
        yield types.SimpleNamespace(Ch=Ch, Select=Select)


def raw_flame(chumpy: types.SimpleNamespace) -> dict[str, Any]:
    """The tiny head with FLAME's keys and object types; 6 shape and 4 expression directions."""
    head = {key: value.numpy() for key, value in tiny_head_arrays().items()}
    directions = np.random.default_rng(1).normal(size=(20, 3, 10)) * 0.01
    regressor = np.where(head["joint_regressor"] > 0.03, head["joint_regressor"], 0)
    kintree = np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32)
    return {
        "v_template": chumpy.Ch(x=head["v_template"].astype(np.float64)),
        "f": head["faces"].astype(np.uint32),
        "shapedirs": chumpy.Ch(x=directions),
        "posedirs": head["posedirs"].astype(np.float64),
        "J_regressor": sparse.csc_matrix(regressor),
        "weights": chumpy.Ch(x=head["skin_weights"].astype(np.float64)),
        "kintree_table": kintree,
        "bs_type": "lrotmin",
        "bs_style": "lbs",
    }


def write_flame(path: Path, content: object, protocol: int = 2) -> Path:
    data = pickle.dumps(content, protocol=protocol)
    # Old files name the modules as scipy and numpy had them then.
    data = data.replace(b"cscipy.sparse._csc\n", b"cscipy.sparse.csc\n")
    path.write_bytes(data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    return path


SPLIT = {"n_shape": 5, "n_expression": 3, "expression_start": 6}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_import(tmp_path: Path, chumpy: types.SimpleNamespace, protocol: int) -> None:
    raw = raw_flame(chumpy)
    path = write_flame(tmp_path / "generic_model.pkl", raw, protocol)
    head = import_flame(path, tmp_path / "out" / "flame.safetensors", **SPLIT)
    assert head.name == "flame:generic_model"
    assert head.expression_bounds is None
    assert head.parents == (-1, 0, 1, 1, 1)
    np.testing.assert_allclose(head.shapedirs, raw["shapedirs"].x[..., :5], rtol=1e-6)
    np.testing.assert_allclose(head.expressiondirs, raw["shapedirs"].x[..., 6:9], rtol=1e-6)
    np.testing.assert_allclose(head.joint_regressor, raw["J_regressor"].toarray(), rtol=1e-6)
    again = HeadModel.from_file(tmp_path / "out" / "flame.safetensors")
    torch.testing.assert_close(again.v_template, head.v_template)


def test_python2_strings_and_old_object_style(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    """A protocol 0 pickle as Python 2 wrote it: byte strings, copy_reg._reconstructor, __builtin__."""
    array = np.arange(6.0).reshape(2, 3)
    data = pickle.dumps({"x": chumpy.Ch(x=array), "name": "plain"}, protocol=0)
    data = data.replace(b"ccopyreg\n", b"ccopy_reg\n").replace(b"c__builtin__\n", b"c__builtin__\n")
    (tmp_path / "old.pkl").write_bytes(data.replace(b"Vplain\n", b"S'plain\\xe9'\n"))
    fields = read_flame_file(tmp_path / "old.pkl")
    assert fields["name"] == "plainé"
    np.testing.assert_array_equal(as_array(fields["x"]), array)


def test_selected_chumpy_entries(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    whole = chumpy.Ch(x=np.arange(24.0))
    picked = chumpy.Select(a=whole, idxs=np.array([3, 1, 0, 23]), preferred_shape=(2, 2))
    fields = read_flame_file(write_flame(tmp_path / "a.pkl", {"picked": picked}))
    assert as_array(fields["picked"]).tolist() == [[3, 1], [0, 23]]


@pytest.mark.parametrize("kind", ["csc_matrix", "csr_matrix", "csc_array"])
def test_sparse_matrices(tmp_path: Path, kind: str) -> None:
    dense = np.array([[0.0, 2, 0], [1, 0, 0]])
    path = write_flame(tmp_path / "a.pkl", {"m": getattr(sparse, kind)(dense)})
    np.testing.assert_array_equal(as_array(read_flame_file(path)["m"]), dense)


class Trap:
    """Creates a file when unpickled by an ordinary unpickler."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("suffix", [".pkl", ".npy"])
def test_malicious_files_are_refused_and_not_run(tmp_path: Path, suffix: str) -> None:
    mark = tmp_path / "ran"
    traps = {
        "posix.mkdir|nt.mkdir": Trap(os.mkdir, str(mark)),
        "builtins.eval|__builtin__.eval": Trap(eval, f"open({str(mark)!r}, 'w')"),
        "copyreg.__newobj__|builtins.getattr|__builtin__.getattr": Trap(getattr, "text", "upper"),
        "scipy.sparse.csgraph": Trap(sparse.csgraph.connected_components, 1),
    }
    for names, trap in traps.items():
        path = tmp_path / f"evil{suffix}"
        if suffix == ".npy":
            np.save(path, np.array({"full_lmk_faces_idx": trap}, dtype=object))
        else:
            write_flame(path, {"v_template": trap})
        with pytest.raises(AssetError, match="refused") as caught:
            read_flame_file(path)
        assert str(path) in str(caught.value)
        assert any(name in str(caught.value) for name in names.split("|")) or "module" in str(caught.value)
    assert not mark.exists()


def test_reconstructor_makes_only_stand_ins(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"a": Trap(copyreg._reconstructor, np.ndarray, object, None)}, protocol=2))
    with pytest.raises(AssetError, match="refused to construct"):
        read_flame_file(path)


def test_tensor_storage_cannot_smuggle_a_pickle(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    inner = pickle.dumps(Trap(os.mkdir, str(mark)), protocol=2)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"a": Trap(torch.storage._load_from_bytes, inner)}, protocol=2))
    with pytest.raises(AssetError):
        read_flame_file(path)
    assert not mark.exists()


def test_damaged_files(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    path = write_flame(tmp_path / "a.pkl", raw_flame(chumpy))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AssetError, match="damaged"):
        read_flame_file(path)
    with pytest.raises(AssetError, match="does not exist"):
        read_flame_file(tmp_path / "none.pkl")
    with pytest.raises(AssetError, match="holds a list"):
        read_flame_file(write_flame(path, [1, 2]))
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(AssetError, match="plain array"):
        read_flame_file(tmp_path / "plain.npy")


def test_wrong_contents_are_listed(chumpy: types.SimpleNamespace) -> None:
    raw = {key: getattr(value, "x", value) for key, value in raw_flame(chumpy).items()}
    raw["J_regressor"] = raw["J_regressor"].toarray()
    with pytest.raises(AssetError, match="no v_template"):
        flame_arrays({key: value for key, value in raw.items() if key != "v_template"}, **SPLIT)
    bad = raw | {"posedirs": raw["posedirs"][..., 1:], "weights": raw["weights"] * np.nan}
    with pytest.raises(AssetError, match=r"posedirs \(20, 3, 35\) is not \(20, 3, 36\); weights has NaN"):
        flame_arrays(bad, **SPLIT)
    with pytest.raises(AssetError, match="shapedirs has 10 directions"):
        flame_arrays(raw)
    with pytest.raises(AssetError, match="expected numbers"):
        flame_arrays(raw | {"f": "text"}, **SPLIT)


def deca_embedding(as_tensor: bool) -> dict[str, Any]:
    arrays = {key: value.numpy() for key, value in tiny_head_arrays().items()}
    convert = torch.from_numpy if as_tensor else np.asarray
    return {
        "static_lmk_faces_idx": arrays["lmk68_faces"][17:],
        "static_lmk_bary_coords": arrays["lmk68_bary"][17:],
        "full_lmk_faces_idx": arrays["lmk68_faces"][None],
        "full_lmk_bary_coords": arrays["lmk68_bary"][None],
        "dynamic_lmk_faces_idx": convert(arrays["lmk68_dynamic_faces"]),
        "dynamic_lmk_bary_coords": convert(arrays["lmk68_dynamic_bary"]),
    }


@pytest.mark.parametrize("as_tensor", [False, True])
def test_deca_landmarks(tmp_path: Path, chumpy: types.SimpleNamespace, as_tensor: bool) -> None:
    pkl = write_flame(tmp_path / "generic_model.pkl", raw_flame(chumpy))
    np.save(tmp_path / "landmark_embedding.npy", np.array(deca_embedding(as_tensor), dtype=object))
    out = tmp_path / "flame.safetensors"
    head = import_flame(pkl, out, landmark_embedding=tmp_path / "landmark_embedding.npy", **SPLIT)
    check_landmarks(head)


def test_flame_pytorch_landmarks(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    pkl = write_flame(tmp_path / "generic_model.pkl", raw_flame(chumpy))
    deca = deca_embedding(False)
    static = {"lmk_face_idx": deca["static_lmk_faces_idx"], "lmk_b_coords": deca["static_lmk_bary_coords"]}
    dynamic = {"lmk_face_idx": deca["dynamic_lmk_faces_idx"], "lmk_b_coords": deca["dynamic_lmk_bary_coords"]}
    write_flame(tmp_path / "flame_static_embedding.pkl", static)
    np.save(tmp_path / "flame_dynamic_embedding.npy", np.array(dynamic, dtype=object))
    files = {"landmark_embedding": tmp_path / "flame_static_embedding.pkl"}
    with pytest.raises(AssetError, match="flame_dynamic_embedding"):
        import_flame(pkl, tmp_path / "flame.safetensors", **files, **SPLIT)
    files["dynamic_embedding"] = tmp_path / "flame_dynamic_embedding.npy"
    check_landmarks(import_flame(pkl, tmp_path / "flame.safetensors", **files, **SPLIT))


def check_landmarks(head: HeadModel) -> None:
    """Inner landmarks, contour and the NoW seven sit where the tiny head has them."""
    tiny = HeadModel.from_arrays(tiny_head_arrays())
    verts, pose = tiny.v_template[None], torch.tensor([[0.0, 0.4, 0.0]])
    expected = tiny.landmarks(verts, "68", global_pose=pose)
    torch.testing.assert_close(head.landmarks(verts, "68", global_pose=pose), expected)
    nose_base = head.landmarks(verts, "now7")[0, 4]
    torch.testing.assert_close(nose_base, expected[0, 33])


def test_reference_file_round_trip(tmp_path: Path, flame_format_arrays: dict[str, np.ndarray]) -> None:
    raw = {key: value for key, value in flame_format_arrays.items() if value.dtype.kind in "iuf"}
    pkl = write_flame(tmp_path / "head.pkl", raw)
    head = import_flame(pkl, tmp_path / "head.safetensors", expression_start=100)
    assert (head.n_vertices, head.n_shape, head.n_expression) == (4665, 100, 50)
    eyes = flame_format_arrays["component"] * (flame_format_arrays["component"] > 1)
    np.testing.assert_array_equal(head.component, eyes)

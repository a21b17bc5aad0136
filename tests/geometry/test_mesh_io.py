import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from occface_core.errors import MeshError
from occface_core.geometry.mesh import Mesh, Rig
from occface_core.geometry.mesh_io import load_mesh, save_mesh

SUFFIXES = ("obj", "ply", "glb")
BYTE = 0.5 / 255 + 1e-6


@pytest.fixture
def mesh(generator) -> Mesh:
    """An octahedron with everything a mesh can carry; its texture coordinates have a seam."""
    verts = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]) * 0.1 / 3
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    uv_faces = torch.tensor(faces)
    uv_faces[4:] += 6
    return Mesh(
        verts=verts,
        faces=torch.tensor(faces),
        vertex_colors=torch.rand(6, 3, generator=generator),
        uv=torch.rand(12, 2, generator=generator),
        uv_faces=uv_faces,
        texture=torch.rand(8, 5, 3, generator=generator),
        vertex_properties={"visibility": torch.rand(6, generator=generator), "sigma_mm": torch.arange(6.0)},
        morph_targets={"jawOpen": torch.randn(6, 3, generator=generator)},
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_triangles_come_back_exactly(mesh, tmp_path, suffix):
    path = tmp_path / f"head.{suffix}"
    save_mesh(mesh, path)
    loaded = load_mesh(path)
    assert torch.equal(loaded.verts[loaded.faces], mesh.verts[mesh.faces])


@pytest.mark.parametrize("suffix", ["obj", "glb"])
def test_textures_come_back(mesh, tmp_path, suffix):
    path = tmp_path / f"head.{suffix}"
    save_mesh(mesh, path)
    loaded = load_mesh(path)
    torch.testing.assert_close(loaded.uv[loaded.uv_faces], mesh.uv[mesh.uv_faces], atol=1e-6, rtol=0)
    torch.testing.assert_close(loaded.texture, mesh.texture, atol=BYTE, rtol=0)


@pytest.mark.parametrize(("suffix", "tolerance"), [("obj", 0), ("ply", BYTE), ("glb", 1e-6)])
def test_vertex_colours_come_back(mesh, tmp_path, suffix, tolerance):
    plain = replace(mesh, uv=None, uv_faces=None, texture=None)
    path = tmp_path / f"head.{suffix}"
    save_mesh(plain, path)
    loaded = load_mesh(path)
    assert torch.equal(loaded.faces, mesh.faces)
    torch.testing.assert_close(loaded.vertex_colors, mesh.vertex_colors, atol=tolerance, rtol=0)


@pytest.mark.parametrize("suffix", ["ply", "glb"])
def test_named_vertex_values_come_back(mesh, tmp_path, suffix):
    plain = replace(mesh, uv=None, uv_faces=None, texture=None)
    path = tmp_path / f"head.{suffix}"
    save_mesh(plain, path)
    loaded = load_mesh(path)
    assert list(loaded.vertex_properties) == ["visibility", "sigma_mm"]
    for name, values in mesh.vertex_properties.items():
        assert torch.equal(loaded.vertex_properties[name], values)


def test_glb_keeps_named_morph_targets_and_their_weights(mesh, tmp_path):
    wink = torch.zeros(6, 3)
    wink[4] = 0.01  # mostly zero: stored as the few rows that are not
    targets = {**mesh.morph_targets, "eyeBlinkLeft": wink, "nothing": torch.zeros(6, 3)}
    plain = replace(
        mesh, uv=None, uv_faces=None, texture=None, morph_targets=targets, morph_weights={"eyeBlinkLeft": 0.5}
    )
    save_mesh(plain, tmp_path / "head.glb")
    loaded = load_mesh(tmp_path / "head.glb")
    assert list(loaded.morph_targets) == list(targets)
    assert all(torch.equal(loaded.morph_targets[name], offset) for name, offset in targets.items())
    assert loaded.morph_weights == {"eyeBlinkLeft": 0.5}


def test_glb_knows_no_nan(mesh, tmp_path):
    unsaid = torch.tensor([1.5, torch.nan, 0.0, 2.0, torch.nan, 3.0])
    plain = replace(mesh, uv=None, uv_faces=None, texture=None, vertex_properties={"sigma_mm": unsaid})
    save_mesh(plain, tmp_path / "head.glb")
    loaded = load_mesh(tmp_path / "head.glb")
    assert loaded.vertex_properties["sigma_mm"].tolist() == [1.5, -1.0, 0.0, 2.0, -1.0, 3.0]


def test_a_mesh_with_joints_is_read_at_rest(mesh, tmp_path):
    rig = Rig(
        names=("root", "jaw"),
        parents=(-1, 0),
        joints=torch.tensor([[0.0, -0.1, 0.0], [0.0, 0.0, 0.1]]),
        rotations=torch.tensor([[0.0, 1.0, 0.0], [0.3, 0.0, 0.0]]),
        weights=torch.tensor([[0.25, 0.75]]).repeat(6, 1),
    )
    save_mesh(replace(mesh, rig=rig), tmp_path / "head.glb")
    loaded = load_mesh(tmp_path / "head.glb")
    assert torch.equal(loaded.verts[loaded.faces], mesh.verts[mesh.faces])


def test_meshes_refuse_rigs_and_weights_that_do_not_fit(mesh):
    joints, still = torch.zeros(2, 3), torch.zeros(2, 3)
    with pytest.raises(MeshError, match="smirk"):
        replace(mesh, morph_weights={"smirk": 1.0})
    with pytest.raises(MeshError, match="rig weights has 5 rows for 6 vertices"):
        replace(mesh, rig=Rig(("a", "b"), (-1, 0), joints, still, torch.ones(5, 2)))
    with pytest.raises(MeshError, match="come before their children"):
        Rig(("a", "b"), (1, -1), joints, still, torch.ones(6, 2))
    with pytest.raises(MeshError, match="a rig of 2 joints"):
        Rig(("a", "b"), (-1, 0, 1), joints, still, torch.ones(6, 2))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_independent_reader_sees_the_same_mesh(mesh, tmp_path, suffix):
    trimesh = pytest.importorskip("trimesh")
    path = tmp_path / f"head.{suffix}"
    save_mesh(mesh, path)
    other = trimesh.load(path, process=False, force="mesh")
    corners = mesh.verts[mesh.faces].numpy()
    np.testing.assert_allclose(other.vertices[other.faces], corners, atol=1e-7)
    assert other.is_winding_consistent
    if suffix != "ply":
        np.testing.assert_allclose(other.visual.uv[other.faces], mesh.uv[mesh.uv_faces].numpy(), atol=1e-6)


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_of_other_programs(tmp_path, encoding):
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box()
    path = tmp_path / "box.ply"
    if encoding == "binary_big_endian":
        order = {"f": ">f4", "i": ">i4"}
        header = "ply\nformat binary_big_endian 1.0\nelement vertex 8\n"
        header += "".join(f"property float {axis}\n" for axis in "xyz")
        header += "element face 12\nproperty list uchar int vertex_index\nend_header\n"
        rows = b"".join(b"\3" + face.astype(order["i"]).tobytes() for face in box.faces)
        path.write_bytes(header.encode() + box.vertices.astype(order["f"]).tobytes() + rows)
    else:
        box.export(path, encoding="ascii" if encoding == "ascii" else "binary")
    loaded = load_mesh(path)
    np.testing.assert_allclose(loaded.verts[loaded.faces].numpy(), box.vertices[box.faces])


def test_obj_with_polygons_negative_indices_and_comments(tmp_path):
    path = tmp_path / "square.obj"
    path.write_text(
        "# made by hand\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvn 0 0 1\nf -4//1 -3//1 -2//1 -1//1\n"
    )
    assert load_mesh(path).faces.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_obj_without_its_material_still_loads(mesh, tmp_path):
    save_mesh(mesh, tmp_path / "head.obj")
    (tmp_path / "head.mtl").unlink()
    loaded = load_mesh(tmp_path / "head.obj")
    assert loaded.texture is None
    assert loaded.uv is not None


BAD_FILES = {
    "empty.obj": b"",
    "points.obj": b"v 0 0 0\nv 1 0 0\n",
    "range.obj": b"v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 9\n",
    "words.obj": b"v a b c\nf 1 2 3\n",
    "escape.obj": b"mtllib ../../secret.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 3\n",
    "nan.obj": b"v nan 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 3\n",
    "empty.ply": b"",
    "header.ply": b"ply\nformat ascii 1.0\nelement vertex 3\n",
    "short.ply": b"ply\nformat binary_little_endian 1.0\nelement vertex 9999999999999\n"
    b"property float x\nproperty float y\nproperty float z\nend_header\n\0\0",
    "type.ply": b"ply\nformat ascii 1.0\nelement vertex 1\nproperty quad x\nend_header\n1\n",
    "faces.ply": b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
    b"property float z\nend_header\n0 0 0\n",
    "empty.glb": b"",
    "magic.glb": b"glTX" + bytes(40),
    "length.glb": struct.pack("<3I", 0x46546C67, 2, 4000),
    "json.glb": struct.pack("<5I", 0x46546C67, 2, 24, 4, 0x4E4F534A) + b"{nop",
    "list.glb": struct.pack("<5I", 0x46546C67, 2, 24, 4, 0x4E4F534A) + b"[1] ",
    "mesh.stl": b"solid",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named_in_the_error(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BAD_FILES[name])
    with pytest.raises(MeshError, match=name):
        load_mesh(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_and_unwritable_files(mesh, tmp_path, suffix):
    with pytest.raises(MeshError, match="cannot read"):
        load_mesh(tmp_path / f"absent.{suffix}")
    with pytest.raises(MeshError, match="cannot write"):
        save_mesh(mesh, tmp_path / "no_such_folder" / f"head.{suffix}")


@pytest.mark.parametrize("suffix", ["ply", "glb"])
def test_truncation_at_any_place_is_an_error_or_harmless(mesh, tmp_path, suffix):
    path = tmp_path / f"head.{suffix}"
    save_mesh(mesh, path)
    data = path.read_bytes()
    for length in range(0, len(data) - 1, 37):
        path.write_bytes(data[:length])
        with pytest.raises(MeshError):
            load_mesh(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d["accessors"][0].update(count=10**9),
        lambda d: d["accessors"][0].update(count=-1),
        lambda d: d["accessors"][0].update(componentType=1),
        lambda d: d["bufferViews"][0].update(byteOffset=10**9),
        lambda d: d["meshes"].append(d["meshes"][0]),
        lambda d: d.pop("meshes"),
        lambda d: d["nodes"][0].update(translation=[1, 0, 0]),
        lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]),
        lambda d: d["meshes"][0]["extras"].update(targetNames=["a", "b"]),
        lambda d: d["meshes"][0].update(weights=[0.0, 1.0, 2.0]),
        lambda d: d["accessors"][0].pop("bufferView"),
        lambda d: d["accessors"][0].update(sparse={"count": 10**9, "indices": {}, "values": {}}),
    ],
)
def test_damaged_gltf_documents(mesh, tmp_path, damage):
    path = tmp_path / "head.glb"
    save_mesh(mesh, path)
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + size])
    damage(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    head = struct.pack("<5I", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
    path.write_bytes(head + text + rest)
    with pytest.raises(MeshError, match=r"head\.glb"):
        load_mesh(path)


def test_ply_refuses_property_names_that_would_break_the_header(mesh, tmp_path):
    bad = replace(mesh, vertex_properties={"two words": torch.zeros(6)})
    with pytest.raises(MeshError, match="two words"):
        save_mesh(bad, tmp_path / "head.ply")

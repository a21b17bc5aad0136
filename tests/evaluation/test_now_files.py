"""Reading NoW's folders: the variants in use, and every way they go wrong."""

from pathlib import Path

import numpy as np
import pytest

from occface_core.errors import DataError, MeshError
from occface_core.evaluation.now_files import (
    NowDataset,
    find_prediction,
    read_geometry,
    read_landmarks,
    read_picked_points,
    unexpected_files,
)
from occface_core.geometry.mesh_io import load_mesh, save_mesh


def test_image_list_takes_the_last_three_parts(now_folders) -> None:
    root = now_folders.dataset
    (root / "imagepathstest.txt").write_text("/far/away/anna/selfie/IMG.1.jpeg\n\nbert/selfie/IMG_2.png\n")
    images = NowDataset.open(root, image_set="test").images
    assert [image.key for image in images] == ["anna/selfie/IMG.1", "bert/selfie/IMG_2"]
    assert [image.key for image in NowDataset.open(root).images] == list(now_folders.keys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("anna/IMG_1.jpg\n", "line 1"),
        ("a/selfie/x.jpg\n../selfie/x.jpg\n", "line 2"),
        ("a/selfie/x.jpg\na/selfie/x.jpg\n", "twice"),
    ],
)
def test_bad_image_lists(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "imagepathsvalidation.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        NowDataset.open(tmp_path)


def test_absent_dataset_and_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        NowDataset.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match="image list"):
        NowDataset.open(tmp_path)


def test_exactly_one_scan_per_subject(now_folders) -> None:
    dataset = NowDataset.open(now_folders.dataset)
    scan, points = dataset.scan_files("anna")
    assert (scan.name, points.name) == ("scan.obj", "scan_picked_points.pp")
    scan.with_name("second.obj").write_text("")
    with pytest.raises(DataError, match=r"2 \.obj files"):
        dataset.scan_files("anna")
    with pytest.raises(DataError, match=r"0 \.obj files"):
        dataset.scan_files("nobody")


def test_obj_before_ply_and_npy_before_txt(now_folders) -> None:
    folder, image = now_folders.predictions, NowDataset.open(now_folders.dataset).images[0]
    first = folder / image.key
    first.with_suffix(".ply").write_bytes(b"")
    first.with_suffix(".txt").write_text("")
    found = find_prediction(folder, image)
    assert (found.mesh, found.landmarks) == (first.with_suffix(".obj"), first.with_suffix(".npy"))
    found.mesh.unlink()
    found.landmarks.unlink()
    found = find_prediction(folder, image)
    assert (found.mesh, found.landmarks) == (first.with_suffix(".ply"), first.with_suffix(".txt"))


def test_files_without_an_image_are_listed(now_folders) -> None:
    folder = now_folders.predictions
    (folder / "anna" / "selfie" / "IMG_99.obj").write_text("")
    (folder / "carl" / "selfie").mkdir(parents=True)
    (folder / "carl" / "selfie" / "IMG_1.txt").write_text("")
    (folder / "carl" / "selfie" / "notes.md").write_text("")
    images = NowDataset.open(now_folders.dataset).images
    assert unexpected_files(folder, images) == ["anna/selfie/IMG_99.obj", "carl/selfie/IMG_1.txt"]


def test_picked_points_in_any_attribute_order(tmp_path: Path, now_folders, bump) -> None:
    path = tmp_path / "a.pp"
    points = [f'<point active="1" z="{c}" name="1" y="{b}" x="{a}"/>' for a, b, c in bump.landmarks]
    path.write_text("<PickedPoints>\n" + "\n".join(points) + "\n</PickedPoints>\n")
    np.testing.assert_array_equal(read_picked_points(path), bump.landmarks.astype(np.float32))
    now_folders.write_points(path, bump.landmarks)
    np.testing.assert_array_equal(read_picked_points(path), bump.landmarks.astype(np.float32))
    text = path.read_text().replace("</Pic", ' <point x="1" y="2" z="3" name="more"/>\n</Pic')
    path.write_text(text)  # of more than seven points, those on lines 9 to 15 count
    np.testing.assert_array_equal(read_picked_points(path), bump.landmarks.astype(np.float32))


@pytest.mark.parametrize(
    "text", ["", '<point x="1" y="2" z="3"/>', '<point x="a" y="2" z="3"/>' * 7, '<point x="1" y="2"/>' * 7]
)
def test_bad_picked_points(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.pp"
    path.write_text(text)
    with pytest.raises(DataError, match=r"bad\.pp"):
        read_picked_points(path)
    with pytest.raises(DataError, match=r"none\.pp"):
        read_picked_points(tmp_path / "none.pp")


def test_landmark_formats(tmp_path: Path, bump) -> None:
    want = bump.landmarks.astype(np.float32)
    np.save(tmp_path / "a.npy", want)
    np.save(tmp_path / "b.npy", want[None])
    np.savetxt(tmp_path / "c.txt", want, fmt="%.9g")
    np.savetxt(tmp_path / "d.txt", want, fmt="%.9g", delimiter=", ")
    for name in ("a.npy", "b.npy", "c.txt", "d.txt"):
        np.testing.assert_allclose(read_landmarks(tmp_path / name), want, rtol=1e-7)


def test_bad_landmarks(tmp_path: Path) -> None:
    np.save(tmp_path / "shape.npy", np.zeros((68, 3)))
    np.save(tmp_path / "object.npy", np.array({"left": 1}, dtype=object))  # a pickle: must stay closed
    (tmp_path / "words.txt").write_text("one two three\n" * 7)
    (tmp_path / "short.txt").write_text("1 2 3\n" * 6)
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    for path in tmp_path.iterdir():
        with pytest.raises(DataError, match=path.name):
            read_landmarks(path)
    with pytest.raises(DataError, match="gone"):
        read_landmarks(tmp_path / "gone.npy")


def test_geometry_of_plain_coloured_and_textured_objects(tmp_path: Path) -> None:
    verts = np.array([[0.125, 1, 2], [3, 4, 5], [6, 7, 9], [1, 1, 1]])
    texts = {
        "plain": ("v {} {} {}\n", "f 1 2 3\nf 1 3 4\n"),
        "colour": ("v {} {} {} 0.5 0.5 0.5\n", "vn 0 0 1\nf 1//1 2//1 3//1\nf 1//1 3//1 4//1\n"),
        "texture": ("v {} {} {}\n", "mtllib none.mtl\nvt 0 0\nf 1/1 2/1 3/1\nf 1/1 3/1 4/1\n"),
        "quad": ("v {} {} {}\n", "f 1 2 3 4\n"),
        "negative": ("v {} {} {}\n", "f -4 -3 -2\nf -4 -2 -1\n"),
        "windows": ("v {} {} {}\r\n", "f 1 2 3\r\nf 1 3 4\r\n"),
    }
    for name, (row, faces) in texts.items():
        path = tmp_path / f"{name}.obj"
        path.write_bytes(("".join(row.format(*v) for v in verts) + faces).encode())
        got_verts, got_faces = read_geometry(path)
        np.testing.assert_allclose(got_verts, verts, err_msg=name)
        np.testing.assert_array_equal(got_faces, [[0, 1, 2], [0, 2, 3]], err_msg=name)
    save_mesh(load_mesh(tmp_path / "plain.obj"), tmp_path / "mesh.ply")
    np.testing.assert_allclose(read_geometry(tmp_path / "mesh.ply")[0], verts)


def test_scan_of_points_alone_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "points.obj"
    path.write_text("v 1 2 3\nv 4 5 6\n")
    verts, faces = read_geometry(path)
    assert verts.shape == (2, 3)
    assert faces.shape == (0, 3)


@pytest.mark.parametrize(
    "text", ["v 1 2\nf 1 1 1\n", "v 1 2 3\nf 1 2 9\n", "v a b c\nf 1 1 1\n", "v 1 2 3\nf 1 x 1\n"]
)
def test_broken_meshes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.obj"
    path.write_text(text)
    with pytest.raises(MeshError, match="broken"):
        read_geometry(path)
    with pytest.raises(MeshError, match="absent"):
        read_geometry(tmp_path / "absent.obj")

"""GLB files that animate: what a glTF viewer would draw from the file is the head in the photo."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from occface_core.geometry.mesh_io import load_mesh, save_mesh
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import layout
from occface_core.pipeline.animation import CORRECTIVE, JOINTS, animatable_mesh, parameters
from occface_core.pipeline.export import save_reconstruction
from occface_core.pipeline.reconstructor import FaceReconstructor
from occface_core.pipeline.types import Reconstruction


class Viewer:
    """Morph targets and skinning as the glTF 2.0 specification words them, from the file alone."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        size = struct.unpack_from("<I", data, 12)[0]
        self.document = json.loads(data[20 : 20 + size])
        self.data = data[28 + size :]
        (self.mesh,), self.nodes = self.document["meshes"], self.document["nodes"]
        self.primitive = self.mesh["primitives"][0]

    def view(self, number: int, kind: str) -> np.ndarray:
        view = self.document["bufferViews"][number]
        count = view["byteLength"] // np.dtype(kind).itemsize
        return np.frombuffer(self.data, kind, count, view["byteOffset"])

    def accessor(self, number: int) -> np.ndarray:
        entry = self.document["accessors"][number]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[entry["type"]]
        kind = {5126: "<f4", 5121: "u1", 5125: "<u4"}[entry["componentType"]]
        if "sparse" not in entry:
            return self.view(entry["bufferView"], kind).reshape(-1, width)
        values = np.zeros((entry["count"], width), np.float32)
        sparse = entry["sparse"]
        rows = self.view(sparse["indices"]["bufferView"], "<u4")
        values[rows] = self.view(sparse["values"]["bufferView"], kind).reshape(-1, width)
        return values

    def joint_matrices(self) -> np.ndarray:
        skin = self.document["skins"][0]
        inverse = self.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        world: dict[int, np.ndarray] = {}

        def walk(number: int, above: np.ndarray) -> None:
            node, own = self.nodes[number], np.eye(4)
            own[:3, :3] = Rotation.from_quat(node["rotation"]).as_matrix()
            own[:3, 3] = node["translation"]
            world[number] = above @ own
            for child in node.get("children", []):
                walk(child, world[number])

        for number in self.document["scenes"][0]["nodes"][1:]:
            walk(number, np.eye(4))
        return np.stack([world[joint] @ inverse[k] for k, joint in enumerate(skin["joints"])])

    def drawn(self) -> np.ndarray:
        attributes = self.primitive["attributes"]
        points = self.accessor(attributes["POSITION"]).astype(np.float64)
        for target, weight in zip(self.primitive["targets"], self.mesh["weights"], strict=True):
            points = points + weight * self.accessor(target["POSITION"])
        matrices = self.joint_matrices()[self.accessor(attributes["JOINTS_0"]).astype(int)]
        blended = (self.accessor(attributes["WEIGHTS_0"])[..., None, None] * matrices).sum(1)
        return np.einsum("vij,vj->vi", blended[:, :3, :3], points) + blended[:, :3, 3]


@pytest.fixture(scope="module")
def plain() -> Reconstruction:
    """Any face that the shipped student sees."""
    noise = np.random.default_rng(1).integers(0, 256, size=(160, 160, 3), dtype=np.uint8)
    return FaceReconstructor("student").reconstruct(noise, box=[40, 40, 120, 120])


def smiling(plain: Reconstruction, head: HeadModel, jaw: list[float]) -> Reconstruction:
    """Somebody who smiles, opens the mouth and looks aside."""
    generator = torch.Generator().manual_seed(4)
    params = parameters(plain)
    params = params.replace(
        betas=torch.randn(params.betas.shape, generator=generator),
        expression=torch.rand(params.expression.shape, generator=generator) * 0.4,
        pose=torch.tensor([[0.2, -0.5, 0.1, *jaw]]),
    )
    return replace(
        plain,
        code=params.to_code(layout(plain.code_layout))[0].numpy(),
        verts=head(params.betas, params.expression, params.pose).verts[0].numpy(),
        verts_neutral=head.neutral(params.betas)[0].numpy(),
    )


JAW = [0.25, 0.03, -0.02]


# Below 0.02 radians the corrective of the wide open mouth stands in, scaled: micrometres.
@pytest.mark.parametrize(
    ("jaw", "tolerance"),
    [(JAW, 1e-6), ([0.01, 0, 0], 2e-5), ([0.0, 0, 0], 1e-6)],
    ids=["open", "almost", "shut"],
)
def test_a_viewer_shows_the_head_as_in_the_photo(
    plain: Reconstruction, open_head: HeadModel, tmp_path: Path, jaw: list[float], tolerance: float
) -> None:
    result = smiling(plain, open_head, jaw)
    save_reconstruction(result, tmp_path, "head", head=open_head, formats=["glb"])
    drawn, mesh = Viewer(tmp_path / "head.glb").drawn(), load_mesh(tmp_path / "head.glb")
    # Vertices on texture seams are written several times: corners compare one to one.
    away = np.linalg.norm(drawn[mesh.faces.numpy()] - result.verts[result.faces], axis=-1)
    assert away.max() < tolerance


def test_at_rest_it_is_the_neutral_person_with_every_action(
    plain: Reconstruction, open_head: HeadModel, tmp_path: Path
) -> None:
    person = smiling(plain, open_head, JAW)
    mesh = animatable_mesh(person, open_head, posed=False)
    save_mesh(mesh, tmp_path / "head.glb")
    viewer, loaded = Viewer(tmp_path / "head.glb"), load_mesh(tmp_path / "head.glb")
    drawn = viewer.drawn()[loaded.faces.numpy()]
    np.testing.assert_allclose(drawn, person.verts_neutral[person.faces], atol=1e-6)
    assert list(loaded.morph_targets) == [*open_head.expression_names, "jawOpen", CORRECTIVE]
    assert loaded.morph_weights == {}
    assert [node["name"] for node in viewer.nodes[1:]] == list(JOINTS)
    smile = open_head.expression_names.index("mouthSmileLeft")
    offset = open_head.expressiondirs[..., smile]
    torch.testing.assert_close(loaded.morph_targets["mouthSmileLeft"][loaded.faces], offset[mesh.faces])


def test_the_jaw_target_opens_the_mouth_like_the_joint(plain: Reconstruction, open_head: HeadModel) -> None:
    mesh = animatable_mesh(smiling(plain, open_head, JAW), open_head)
    lower = mesh.morph_targets["jawOpen"][:, 1]
    assert float(lower.min()) < -0.015  # the chin goes down by centimetres
    assert mesh.rig is not None
    np.testing.assert_allclose(mesh.rig.rotations[2].numpy(), JAW, atol=1e-6)


def test_offsets_that_are_mostly_zero_are_stored_short(
    plain: Reconstruction, open_head: HeadModel, tmp_path: Path
) -> None:
    save_mesh(animatable_mesh(plain, open_head), tmp_path / "head.glb")
    dense = 12 * open_head.n_vertices * (len(open_head.expression_names) + 2)
    offsets = Viewer(tmp_path / "head.glb").primitive["targets"]
    assert len(offsets) == 52
    assert (tmp_path / "head.glb").stat().st_size < 0.6 * dense

"""Posing a FLAME-format head, whole or in part.

The model is FLAME's (Li et al. 2017). Frame: metres, x to the subject's left, y up, z out of the face.
Rotations are axis-angle, radians.

Letters: B batch, V verts, F faces, J joints, S shape, E expression, L landmarks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from occface_core.geometry.transforms import axis_angle_to_matrix
from occface_core.morphable.embedding import LandmarkSet
from occface_core.morphable.skinning import blend_shapes, joint_transforms, pose_features, skin


@dataclass(frozen=True)
class HeadOutput:
    """Posed heads.

    Attributes:
        verts: (B,V,3) vertices, metres.
        joints: (B,J,3) joints (root, neck, jaw, left eye, right eye), metres.
    """

    verts: Float[Tensor, "B V 3"]
    joints: Float[Tensor, "B J 3"]


class PosableHead(nn.Module):
    """A FLAME-format head, or some vertices of one: enough to pose it and to find its landmarks.

    Attributes:
        v_template: (V,3) mean head, metres.
        directions: (V,3,S+E+36) shape, expression and pose-corrective directions, kept together so that
            one matrix product evaluates all of them.
        joint_template, joint_directions: (J,3), (J,3,S+E) joints as linear functions of shape and expression;
            the same as regressing them from the shaped vertices, at a thousandth of the work.
        skin_weights: (V,J), rows sum to 1.
        faces: (F,3) triangles, counter-clockwise from outside.
    """

    v_template: Tensor
    directions: Tensor
    joint_template: Tensor
    joint_directions: Tensor
    skin_weights: Tensor
    faces: Tensor

    def __init__(
        self, tensors: Mapping[str, Tensor], n_shape: int, parents: tuple[int, ...], landmark_set: LandmarkSet
    ) -> None:
        super().__init__()
        for name in (
            "v_template",
            "directions",
            "joint_template",
            "joint_directions",
            "skin_weights",
            "faces",
        ):
            self.register_buffer(name, tensors[name], persistent=False)
        self.n_shape = n_shape
        self.n_expression = int(self.joint_directions.shape[2]) - n_shape
        self.parents = parents
        self.landmark_set = landmark_set

    @property
    def n_vertices(self) -> int:
        """V."""
        return self.v_template.shape[0]

    @property
    def shapedirs(self) -> Float[Tensor, "V 3 S"]:
        """Metres per unit shape coefficient."""
        return self.directions[..., : self.n_shape]

    @property
    def expressiondirs(self) -> Float[Tensor, "V 3 E"]:
        """Metres per unit expression coefficient."""
        return self.directions[..., self.n_shape : self.n_shape + self.n_expression]

    @property
    def posedirs(self) -> Float[Tensor, "V 3 K"]:
        """Metres per unit entry of R_j - I; column 9(j-1)+3r+c for entry (r,c) of joint j."""
        return self.directions[..., self.n_shape + self.n_expression :]

    def forward(
        self, betas: Float[Tensor, "B S"], expression: Float[Tensor, "B E"], pose: Float[Tensor, "B P"]
    ) -> HeadOutput:
        """Pose heads.

        Args:
            betas: Shape coefficients.
            expression: Expression coefficients.
            pose: (B,6) global and jaw, or (B,15) global, neck, jaw, left eye, right eye.

        Raises:
            ValueError: `pose` has neither 6 nor 15 columns.
        """
        rotations = axis_angle_to_matrix(full_pose(pose))
        coeffs = torch.cat([betas, expression], dim=1)
        rest_joints = blend_shapes(self.joint_template, self.joint_directions, coeffs)
        features = torch.cat([coeffs, pose_features(rotations)], dim=1)
        unposed = blend_shapes(self.v_template, self.directions, features)
        transforms, joints = joint_transforms(rotations, rest_joints, self.parents)
        return HeadOutput(verts=skin(unposed, self.skin_weights, transforms), joints=joints)

    def neutral(self, betas: Float[Tensor, "B S"]) -> Float[Tensor, "B V 3"]:
        """Heads with neutral face, unposed: the shape alone, metres."""
        return blend_shapes(self.v_template, self.shapedirs, betas)

    def root(
        self, betas: Float[Tensor, "B S"], expression: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B 3"]:
        """The point about which a global pose turns the head, metres."""
        coeffs = torch.cat([betas, expression], dim=1)
        return blend_shapes(self.joint_template[:1], self.joint_directions[:1], coeffs)[:, 0]

    def landmarks(
        self, verts: Float[Tensor, "B V 3"], which: str, *, global_pose: Float[Tensor, "B 3"] | None = None
    ) -> Float[Tensor, "B L 3"]:
        """Landmarks of posed vertices, in the frame of the vertices.

        Args:
            verts: Vertices of this head, any frame (model space or projected).
            which: "68" (iBUG), "68_static", "468" (MediaPipe face mesh) or "now7" (NoW challenge).
            global_pose: Total head rotation, axis-angle. With it the jaw line of "68" slides to the visible
                outline, as annotators place it; without it "68" is the static one.

        Raises:
            AssetError: This head has no such landmarks.
        """
        return self.landmark_set(verts, which, global_pose)

    def landmark_vertex_ids(self, *which: str) -> Int[Tensor, "N"]:
        """Vertices that the named landmarks need, ascending: what to pass to `subset`."""
        return self.landmark_set.vertex_ids(*which)

    def subset(self, vertex_ids: Int[Tensor, "N"]) -> "PosableHead":
        """A light head that computes only some vertices, in the order given.

        Joints, and so poses, stay exactly those of the whole head. Faces and landmark conventions whose
        vertices are all there come along, renumbered.
        """
        new_ids = torch.full((self.n_vertices,), -1, dtype=torch.long, device=vertex_ids.device)
        new_ids[vertex_ids] = torch.arange(len(vertex_ids), device=vertex_ids.device)
        faces = new_ids[self.faces]
        tensors = {
            "v_template": self.v_template[vertex_ids],
            "directions": self.directions[vertex_ids],
            "skin_weights": self.skin_weights[vertex_ids],
            "joint_template": self.joint_template,
            "joint_directions": self.joint_directions,
            "faces": faces[(faces >= 0).all(1)],
        }
        return PosableHead(tensors, self.n_shape, self.parents, self.landmark_set.remap(new_ids))


def full_pose(pose: Float[Tensor, "B P"]) -> Float[Tensor, "B 5 3"]:
    """(B,6) or (B,15) pose -> axis-angle of each joint; joints that are not given stay at rest.

    Raises:
        ValueError: Neither 6 nor 15 columns.
    """
    if pose.shape[1] == 15:
        return pose.unflatten(1, (5, 3))
    if pose.shape[1] != 6:
        raise ValueError(
            f"pose has 6 (global, jaw) or 15 (global, neck, jaw, eyes) columns, not {pose.shape[1]}"
        )
    rest = torch.zeros_like(pose[:, :3])
    return torch.stack([pose[:, :3], rest, pose[:, 3:], rest, rest], dim=1)

"""The shipped hands and how they are turned."""

import numpy as np

from occface_core.occlusion.hands import hand_axes, load_hands


def test_shipped_hands_are_closed_upright_left_hands():
    hands = load_hands()
    assert len(hands.gestures) >= 8
    for mesh in hands.gestures.values():
        assert mesh.verts.shape == mesh.normals.shape == (len(hands.along), 3)
        assert hands.faces.max() < len(mesh.verts)
        assert 0.05 < mesh.verts[:, 1].max() < 0.25  # fingertips, metres from the wrist
        assert mesh.verts[:, 1].min() < -0.2  # elbow end
        np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=0.02)
        assert mesh.sky.min() >= 0
        assert mesh.sky.max() <= 1
    flat = hands.gestures["flat_m"]
    assert flat.verts[:, 2].max() > 0.04  # the thumb side


def test_triangles_face_outward():
    hands = load_hands()
    for mesh in hands.gestures.values():
        a, b, c = (mesh.verts[hands.faces[:, k]] for k in range(3))
        facing = (np.cross(b - a, c - a) * mesh.normals[hands.faces].mean(axis=1)).sum(axis=1)
        assert (facing > 0).mean() > 0.97


def test_hand_axes_are_a_rotation_with_the_palm_inward():
    turn = hand_axes(np.array([0.2, 0.1, 1.0]), np.array([-0.5, 1.0, 0.3]))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) > 0
    assert turn[2, 0] < -0.9  # the palm looks at the face, away from the viewer
    assert turn[1, 1] > 0.5

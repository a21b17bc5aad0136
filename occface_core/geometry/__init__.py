"""Rotations, similarity transforms, meshes and mesh files."""

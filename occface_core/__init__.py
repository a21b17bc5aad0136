"""OccFace: occlusion-robust 3D face reconstruction from one photo."""

__version__ = "0.18.0"

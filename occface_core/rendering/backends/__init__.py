"""rendering backends of OccFace."""

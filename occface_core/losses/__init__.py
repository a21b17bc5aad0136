"""losses of OccFace."""

"""morphable of OccFace."""

"""geometry of OccFace."""

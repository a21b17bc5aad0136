"""rendering of OccFace."""

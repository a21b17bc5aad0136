"""networks of OccFace."""

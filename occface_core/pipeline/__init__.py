"""pipeline of OccFace."""

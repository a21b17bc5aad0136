"""data of OccFace."""

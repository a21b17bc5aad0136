"""evaluation of OccFace."""

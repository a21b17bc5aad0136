"""distillation of OccFace."""

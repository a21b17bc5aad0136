"""occlusion of OccFace."""

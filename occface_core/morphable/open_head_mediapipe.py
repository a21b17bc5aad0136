"""Child script of ``open_head_landmarks``: run MediaPipe's face mesh over a folder of PNG pictures.

It runs under a Python of its own (``mediapipe==0.10.21`` wants numpy < 2) and must not import this package:
``python open_head_mediapipe.py PICTURES OUT.json`` writes ``{file name: [[x, y, z], ...] or null}`` with
the first 468 points, x and y in pixels, z in the same unit relative to the head's centre (smaller is
nearer).
"""

import json
import sys
from pathlib import Path


def detect(folder: Path) -> dict[str, list[list[float]] | None]:
    """Return the mesh of the first face of every picture of ``folder``, None where none was found."""
    import cv2
    import mediapipe

    found: dict[str, list[list[float]] | None] = {}
    with mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, refine_landmarks=True, max_num_faces=1, min_detection_confidence=0.3
    ) as mesh:
        for path in sorted(folder.glob("*.png")) + sorted(folder.glob("*.jpg")):
            picture = cv2.imread(str(path))
            if picture is None:
                found[path.name] = None
                continue
            image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            height, width = image.shape[:2]
            faces = mesh.process(image).multi_face_landmarks
            found[path.name] = (
                [[p.x * width, p.y * height, p.z * width] for p in faces[0].landmark[:468]] if faces else None
            )
    return found


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(detect(Path(sys.argv[1]))), encoding="utf-8")

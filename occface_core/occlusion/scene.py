"""What every empirical painter starts and ends with: pose and light in, a composited object out."""

from dataclasses import dataclass

import numpy as np

from occface_core.occlusion.lighting import Light, blend_in, contact_shadow, estimate_light
from occface_core.occlusion.posing import HeadPose, fit_pose
from occface_core.occlusion.raster import Part, paint_parts
from occface_core.occlusion.surfaces import grid_faces, grid_normals, grid_uv
from occface_core.occlusion.types import Painted, Sample

EYE_SPAN = 0.09  # metres between the outer corners of the eyes: the length by which softness is measured


@dataclass(frozen=True)
class Scene:
    """A face with its pose and light.

    Attributes:
        sample: the picture.
        points: (468,3) face points in pixels with depth.
        pose: weak-perspective pose of the mean face.
        light: light on the face.
    """

    sample: Sample
    points: np.ndarray
    pose: HeadPose
    light: Light

    @classmethod
    def of(cls, sample: Sample) -> "Scene":
        """Read pose and light off a sample.

        Raises:
            OcclusionError: the sample has no points.
        """
        points = sample.face_points
        pose = fit_pose(points[:, :2])
        return cls(sample, points, pose, estimate_light(sample.original, points, pose))

    @property
    def extent(self) -> float:
        """Pixels between the outer corners of the eyes."""
        return EYE_SPAN * self.pose.scale

    def finish(self, rng: np.random.Generator, parts: list[Part], shadow: tuple[float, float]) -> Painted:
        """Paint the parts, soften them like the picture and cast a contact shadow of random strength."""
        colours, alpha = paint_parts(parts, self.sample.height, self.sample.width)
        return self.blend(rng, colours, alpha, shadow)

    def blend(
        self, rng: np.random.Generator, colours: np.ndarray, alpha: np.ndarray, shadow: tuple[float, float]
    ) -> Painted:
        """Soften a painted layer (colours (H,W,3), opacity (H,W)) like the picture and add its shadow."""
        colours, alpha = blend_in(rng, self.sample.original, colours, alpha, self.extent)
        strength = float(rng.uniform(*shadow))
        return Painted(colours, alpha, contact_shadow(alpha, self.sample.face, self.extent, strength))

    def surface(
        self,
        grid: np.ndarray,
        texture: np.ndarray,
        *,
        closed: bool = False,
        two_sided: bool = False,
        shine: float = 0.0,
    ) -> Part:
        """A lit part from a grid (R,C,3) in pixels; ``shine`` adds a highlight from above the viewer."""
        rows, columns = grid.shape[:2]
        around = np.concatenate([grid[:, -1:], grid, grid[:, :1]], axis=1) if closed else grid
        normals = grid_normals(around)
        normals = (normals[:, 1:-1] if closed else normals).reshape(-1, 3)
        if two_sided:  # the side that is seen is lit
            normals = normals * np.where(normals[:, 2:] < 0, np.float32(-1.0), np.float32(1.0))
        gloss = np.zeros(rows * columns, np.float32)
        if shine > 0:
            half = normals @ np.array([0.15, 0.55, 0.82], np.float32)
            gloss = shine * float(self.light.level.mean()) * np.clip(half, 0, 1) ** 24
        return Part(
            verts=np.ascontiguousarray(grid.reshape(-1, 3)),
            faces=grid_faces(rows, columns, closed),
            uv=grid_uv(rows, columns),
            light=self.light.shade(normals),
            gloss=gloss.astype(np.float32),
            texture=texture,
            two_sided=two_sided,
        )


def plain_texture(colour: np.ndarray) -> np.ndarray:
    """(1,1,4) opaque texture of one RGB colour."""
    return np.append(colour, 1.0).astype(np.float32)[None, None]

"""A small supersampling z-buffer that paints textured occluder meshes.

It differs from ``rendering.rasterizer`` in purpose: one image at a time, no gradients, several textured and
partly transparent parts, colours resolved inside the loop. Occluders cover a small window of a small picture,
where building per-pixel arrays for PyTorch would cost more than the drawing.
"""

from dataclasses import dataclass

import numpy as np

from occface_core.occlusion.kernels import compiled
from occface_core.occlusion.surfaces import coarse_face
from occface_core.occlusion.types import Sample

SUPERSAMPLE = 2  # samples per pixel and axis


@dataclass(frozen=True)
class Part:
    """One textured surface of an occluder.

    Attributes:
        verts: (V,3) pixels, depth larger = farther.
        faces: (F,3) int32, counter-clockwise seen from outside (in a y-up world).
        uv: (V,2) texture coordinates in [0,1], v down.
        light: (V,3) colour that multiplies the texture.
        gloss: (V,) highlight added to all channels.
        texture: (h,w,4) RGB and opacity in [0,1].
        two_sided: draw triangles that face away as well.
    """

    verts: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    light: np.ndarray
    gloss: np.ndarray
    texture: np.ndarray
    two_sided: bool = False


@compiled
def _draw(verts, faces, uv, light, gloss, texture, two_sided, zbuf, rgba):  # type: ignore[no-untyped-def]
    height, width = zbuf.shape
    rows, columns = texture.shape[0], texture.shape[1]
    for index in range(faces.shape[0]):
        a, b, c = faces[index, 0], faces[index, 1], faces[index, 2]
        ax, ay, bx, by, cx, cy = verts[a, 0], verts[a, 1], verts[b, 0], verts[b, 1], verts[c, 0], verts[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        # y points down in pixels, so outward triangles turn clockwise: negative area
        if abs(area) < 1e-9 or (area > 0 and not two_sided):
            continue
        x0, x1 = max(int(np.floor(min(ax, bx, cx))), 0), min(int(np.ceil(max(ax, bx, cx))), width)
        y0, y1 = max(int(np.floor(min(ay, by, cy))), 0), min(int(np.ceil(max(ay, by, cy))), height)
        for y in range(y0, y1):
            for x in range(x0, x1):
                px, py = x + 0.5, y + 0.5
                wa = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
                wb = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
                wc = 1.0 - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                depth = wa * verts[a, 2] + wb * verts[b, 2] + wc * verts[c, 2]
                if depth >= zbuf[y, x]:
                    continue
                u = (wa * uv[a, 0] + wb * uv[b, 0] + wc * uv[c, 0]) * columns
                v = (wa * uv[a, 1] + wb * uv[b, 1] + wc * uv[c, 1]) * rows
                tx, ty = min(max(int(u), 0), columns - 1), min(max(int(v), 0), rows - 1)
                alpha = texture[ty, tx, 3]
                if alpha <= 0.0:
                    continue
                zbuf[y, x] = depth
                shine = wa * gloss[a] + wb * gloss[b] + wc * gloss[c]
                for k in range(3):
                    shade = wa * light[a, k] + wb * light[b, k] + wc * light[c, k]
                    rgba[y, x, k] = (texture[ty, tx, k] * shade + shine) * alpha
                rgba[y, x, 3] = alpha


@compiled
def _resolve(rgba, factor, colour, opacity, top, left):  # type: ignore[no-untyped-def]
    rows, columns = rgba.shape[0] // factor, rgba.shape[1] // factor
    share = 1.0 / (factor * factor)
    for y in range(rows):
        for x in range(columns):
            red, green, blue, alpha = 0.0, 0.0, 0.0, 0.0
            for j in range(factor):
                for i in range(factor):
                    sample = rgba[y * factor + j, x * factor + i]
                    red += sample[0]
                    green += sample[1]
                    blue += sample[2]
                    alpha += sample[3]
            if alpha > 0.0:
                colour[top + y, left + x, 0] = min(red / alpha, 1.0)
                colour[top + y, left + x, 1] = min(green / alpha, 1.0)
                colour[top + y, left + x, 2] = min(blue / alpha, 1.0)
                opacity[top + y, left + x] = alpha * share


@compiled
def _silhouette(verts, faces, covered):  # type: ignore[no-untyped-def]
    height, width = covered.shape
    for index in range(faces.shape[0]):
        a, b, c = faces[index, 0], faces[index, 1], faces[index, 2]
        ax, ay, bx, by, cx, cy = verts[a, 0], verts[a, 1], verts[b, 0], verts[b, 1], verts[c, 0], verts[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= -1e-9:
            continue
        x0, x1 = max(int(np.floor(min(ax, bx, cx))), 0), min(int(np.ceil(max(ax, bx, cx))), width)
        y0, y1 = max(int(np.floor(min(ay, by, cy))), 0), min(int(np.ceil(max(ay, by, cy))), height)
        for y in range(y0, y1):
            for x in range(x0, x1):
                px, py = x + 0.5, y + 0.5
                wa = (bx - px) * (cy - py) - (by - py) * (cx - px)
                wb = (cx - px) * (ay - py) - (cy - py) * (ax - px)
                if wa <= 0 and wb <= 0 and wa + wb >= area:
                    covered[y, x] = 1.0


def mesh_coverage(sample: Sample, meshes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Silhouettes of (verts in pixels, faces) pairs over the face, on a coarse grid.

    Returns:
        (M,P) share of the whole face that mesh m hides at grid point p. A row's sum is that mesh's share, the
        sum of several rows' maximum the share of their union.
    """
    face, ratio = coarse_face(sample)
    covered = np.zeros((len(meshes), *face.shape), np.float32)
    for (verts, faces), row in zip(meshes, covered, strict=True):
        _silhouette(verts[:, :2] * ratio, np.ascontiguousarray(faces, np.int32), row)
    return (covered * (face / max(float(face.sum()), 1e-6))).reshape(len(meshes), -1)


def paint_parts(parts: list[Part], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rasterize parts with hidden-surface removal.

    Returns:
        (H,W,3) float32 colour and (H,W) float32 opacity, anti-aliased by supersampling. A see-through texel
        hides the parts behind it (one layer per sample).
    """
    colour, opacity = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    if not parts:
        return colour, opacity
    low = np.min([part.verts[:, :2].min(axis=0) for part in parts], axis=0)
    high = np.max([part.verts[:, :2].max(axis=0) for part in parts], axis=0)
    left, top = (int(v) for v in np.clip(np.floor(low), 0, [width, height]))
    right, bottom = (int(v) for v in np.clip(np.ceil(high), 0, [width, height]))
    if right <= left or bottom <= top:
        return colour, opacity
    rows, columns = (bottom - top) * SUPERSAMPLE, (right - left) * SUPERSAMPLE
    zbuf = np.full((rows, columns), np.inf, np.float32)
    rgba = np.zeros((rows, columns, 4), np.float32)
    for part in parts:
        verts = part.verts.astype(np.float32)
        verts[:, 0] = (verts[:, 0] - left) * SUPERSAMPLE
        verts[:, 1] = (verts[:, 1] - top) * SUPERSAMPLE
        _draw(
            verts,
            np.ascontiguousarray(part.faces, np.int32),
            np.ascontiguousarray(part.uv, np.float32),
            np.ascontiguousarray(part.light, np.float32),
            np.ascontiguousarray(part.gloss, np.float32),
            np.ascontiguousarray(part.texture, np.float32),
            part.two_sided,
            zbuf,
            rgba,
        )
    _resolve(rgba, SUPERSAMPLE, colour, opacity, top, left)
    return colour, opacity

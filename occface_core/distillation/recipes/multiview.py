"""multiview: MGCNet's occlusion-aware view synthesis (Shang et al., ECCV 2020) on rendered views of one face.

Every face of a batch is photographed from several directions. Beside the self-supervised terms of the
teacher, each view must explain the others: pixels warped through the predicted surface onto another view
agree where both see it, both views' faces give the same depth, and landmarks lie on their epipolar lines. The
exact truth of the renders is never used. Weights 0.15 L1 + 0.85 SSIM and 0.1 for depth follow the
paper's code.
"""

import torch
from torch import Tensor

from occface_core.distillation.recipes.common import Losses, Predict, Twin
from occface_core.distillation.recipes.teacher import TeacherRecipe
from occface_core.distillation.scene import Decoded
from occface_core.geometry.transforms import axis_angle_to_matrix
from occface_core.losses.multiview import (
    covisible,
    depth_consistency_loss,
    epipolar_distance,
    view_synthesis_loss,
)
from occface_core.morphable.parameters import FaceParameters
from occface_core.rendering.cameras import inverse_weak_perspective, to_pixels, weak_perspective
from occface_core.rendering.rasterizer import interpolate, rasterize

# The paper's code has 0.1 beside its own other terms. Beside ours, 300 steps lowered the depth error by 0.6 %
# with 0.1 and by 2.9 % with 1.0 (BENCHMARKS.md).
MULTI_VIEW_WEIGHT = 1.0


class MultiviewRecipe(TeacherRecipe):
    """Teacher's terms plus consistency among the views of each face; views lie next to each other."""

    pairs_people = False  # the paper's views are the renders

    def losses(self, predict: Predict, twin: Twin, progress: float) -> Losses:
        """Named, weighted, per-image losses."""
        out = predict(twin.clean)
        decoded = self.scene.decode(out.params)
        # Every image counts as a photograph: the renders' exact truth stays unread.
        unlabelled = Twin(**{**vars(twin), "truth": None, "photos": len(twin.clean)})
        losses = self.terms(out, decoded, unlabelled, progress)
        rows = slice(twin.photos, None)
        if len(twin.clean) - twin.photos >= self.config.views:
            losses |= self.view_terms(out.params.index(rows), decoded, twin, rows)
        return losses

    def view_terms(self, params: FaceParameters, decoded: Decoded, twin: Twin, rows: slice) -> Losses:
        """Each view against another of its group: the next one, or the one after, by turns."""
        count = len(twin.clean[rows])
        shift = 1 + self.step % (self.config.views - 1)
        other = self.partners(count, shift).to(twin.clean.device)
        image, points = twin.clean[rows], twin.points[rows]
        source = params.index(other)
        size, faces = image.shape[-1], self.scene.head.faces
        own_px = to_pixels(decoded.image_verts[rows], size)
        crossed_px = to_pixels(self.project(params, source), size)
        own = rasterize(own_px.detach(), faces, size, size)
        crossed = rasterize(crossed_px.detach(), faces, size, size)
        mask = covisible(own.pix_to_face, crossed.pix_to_face, len(faces))
        # The source's face in this view: its depth must agree with this view's own.
        borrowed = to_pixels(self.project(source, params), size)
        carried = torch.cat(
            [crossed_px[..., :2] * (2 / size) - 1, own_px[..., 2:], borrowed[..., 2:]], dim=-1
        )
        maps = interpolate(own, own_px, faces, carried)
        depth = depth_consistency_loss(maps[..., 2] / size, maps[..., 3] / size, mask)
        return {
            "view_pixels": MULTI_VIEW_WEIGHT * view_synthesis_loss(image, image[other], maps[..., :2], mask),
            "view_depth": MULTI_VIEW_WEIGHT * depth,
            "view_epipolar": MULTI_VIEW_WEIGHT * self.epipolar(params, source, points, points[other]),
        }

    def partners(self, count: int, shift: int) -> Tensor:
        """For each row, the row of another view of the same face."""
        rows = torch.arange(count).view(-1, self.config.views)
        return rows.roll(-shift, dims=1).flatten()

    def project(self, face: FaceParameters, view: FaceParameters) -> Tensor:
        """One prediction's face under another's head turn and camera: (B,V,3) in [-1,1]."""
        pose = torch.cat([view.pose[:, :3], face.pose[:, 3:]], dim=1)
        verts = self.scene.head(face.betas, face.expression, pose).verts
        return weak_perspective(verts, view.camera)

    def epipolar(
        self, target: FaceParameters, source: FaceParameters, target_points: Tensor, source_points: Tensor
    ) -> Tensor:
        """Distance of annotated landmarks in the source to the epipolar lines of those in the target."""
        turn = axis_angle_to_matrix(source.pose[:, :3]) @ axis_angle_to_matrix(target.pose[:, :3]).mT
        root = self.scene.head(target.betas, target.expression, target.pose).joints[:, :1]
        flat = torch.cat([target_points, torch.zeros_like(target_points[..., :1])], dim=-1)
        posed = inverse_weak_perspective(flat, target.camera)
        moved = (posed - root) @ turn.mT + root
        anchor = weak_perspective(moved, source.camera)[..., :2]
        direction = turn[:, :2, 2] * torch.tensor([1.0, -1.0], device=turn.device)
        return epipolar_distance(source_points, anchor, direction)

"""Several views of one rendered face: is the surface right, and the same person in every view?

MGCNet (Shang et al., ECCV 2020) argues that one view leaves depth undecided. Renders of held-out identities
have exact depth, so the claim can be measured: each view is reconstructed by itself, as in use.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.synthetic import SyntheticBatch, SyntheticFaces
from occface_core.evaluation.metrics import MM
from occface_core.losses import form_distance_mm
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderOutput
from occface_core.rendering.cameras import to_pixels, weak_perspective
from occface_core.rendering.rasterizer import interpolate, rasterize

Encoder = Callable[[Tensor], EncoderOutput]
# Training draws from (seed * 1,000,003 + step) * 64 + process: with fewer than 12 processes never from these.
HELD_OUT_SEED = 20_011


def depth_error_mm(
    predicted: Float[Tensor, "B V 3"],
    truth: Float[Tensor, "B V 3"],
    head: HeadModel,
    mask: Float[Tensor, "B 1 S S"],
    scale: Float[Tensor, "B"],
) -> Float[Tensor, "B"]:
    """Mean absolute depth difference over the face's pixels, mm, after the best common offset.

    Args:
        predicted, truth: projected vertices in pixels, depth in pixels too (`to_pixels`).
        head: its triangles.
        mask: true face skin; pixels that the prediction does not cover are left out.
        scale: true camera scale, which turns pixels into metres.

    Returns:
        NaN where no pixel is left. The offset is removed because a weak-perspective camera has none.
    """
    size = mask.shape[-1]
    maps = []
    for verts in (predicted, truth):
        fragments = rasterize(verts, head.faces, size, size)
        depth = interpolate(fragments, verts, head.faces, verts[..., 2:])[..., 0]
        maps.append(torch.where(fragments.pix_to_face >= 0, depth, torch.nan))
    difference = torch.where(mask[:, 0] > 0.5, maps[0] - maps[1], torch.nan).flatten(1)
    centred = difference - difference.nanmedian(dim=1, keepdim=True).values
    return centred.abs().nanmean(dim=1) * (2.0 / size) / scale * MM


@torch.no_grad()
def evaluate_views(
    models: Mapping[str, Encoder],
    faces: SyntheticFaces,
    *,
    groups: int,
    views: int = 3,
    batch_groups: int = 8,
    seed: int = HELD_OUT_SEED,
    progress: Callable[[Iterable], Iterable] = iter,
) -> dict[str, dict[str, Float[Tensor, "N"]]]:
    """Reconstruct each view of `groups` rendered people by itself.

    Returns:
        Per network, and for "mean head" (true pose and camera, mean shape, no expression): `depth_mm` and
        `form_mm` per image (depth error; neutral shape without size), `spread_mm` per person (mean
        distance of a view's neutral shape to the views' mean, without size; root mean square over views).
    """
    rows: dict[str, dict[str, list[Tensor]]] = {}
    for start in progress(range(0, groups, batch_groups)):
        count = min(batch_groups, groups - start) * views
        generator = torch.Generator().manual_seed(seed + 2 * start)
        batch = faces.sample_views(count, views, generator=generator)
        truth = batch.params
        flat = truth.replace(betas=truth.betas * 0, expression=truth.expression * 0)
        answers = {"mean head": flat} | {name: model(batch.image).params for name, model in models.items()}
        for name, params in answers.items():
            for key, values in _compare(params, batch, faces, views).items():
                rows.setdefault(name, {}).setdefault(key, []).append(values)
    return {name: {key: torch.cat(parts) for key, parts in row.items()} for name, row in rows.items()}


def _compare(
    params: FaceParameters, batch: SyntheticBatch, faces: SyntheticFaces, views: int
) -> dict[str, Tensor]:
    head, truth, weight = faces.head, batch.params, faces.head.regions["face"]
    pixels = [
        to_pixels(weak_perspective(head(p.betas, p.expression, p.pose).verts, p.camera), faces.size)
        for p in (params, truth)
    ]
    neutral = head.neutral(params.betas)
    depth = depth_error_mm(pixels[0], pixels[1], head, batch.mask, truth.camera[:, 0])
    form = form_distance_mm(neutral, head.neutral(truth.betas), weight)
    own = neutral.unflatten(0, (-1, views))
    middle = own.mean(1, keepdim=True).expand_as(own).flatten(0, 1)
    apart = form_distance_mm(neutral, middle, weight).unflatten(0, (-1, views))
    return {"depth_mm": depth, "form_mm": form, "spread_mm": apart.square().mean(1).sqrt()}

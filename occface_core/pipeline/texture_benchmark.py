"""How well textures of covered faces are completed: photos against their covered twins, texel by texel.

A covered picture is reconstructed; the truth is the uncovered photo laid over the very same head, so that
errors of geometry count for nothing. Hidden skin is what the cover alone hides.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from occface_core.data.crop import CropTransform, crop_image
from occface_core.data.packed import points_box68
from occface_core.data.pixels import to_bytes
from occface_core.evaluation.twins import EvaluationTwins, ViewBatch
from occface_core.pipeline.laid_over import laid_over
from occface_core.pipeline.reconstructor import FaceReconstructor
from occface_core.pipeline.remnants import without_remnants
from occface_core.pipeline.texels import SeenTexture
from occface_core.pipeline.textures import complete_texture
from occface_core.pipeline.types import Reconstruction

WRONG = 0.12  # mean channel difference from which on a texel is plainly wrong
_SURE, _HIDDEN = 0.95, 0.05  # visibility from which on a texel counts as seen, up to which as hidden
_FEWEST = 50  # texels; less of a kind says nothing about it
_GRAIN = 1.0  # texels, standard deviation of a smoothing: pores and noise are not asked for
MEASURES = ("hidden", "hidden_wrong", "seen", "all", "all_wrong")


@dataclass(frozen=True)
class TextureErrors:
    """Errors of one covered photo: `values` by way of completing, then measure, NaN where nothing counts."""

    family: str
    values: Mapping[str, Mapping[str, float]]


class Recorder(FaceReconstructor):
    """Keeps what the last photo showed of the surface, before anything was taken out of it."""

    seen: SeenTexture | None = None

    def _shown(self, seen: SeenTexture | None, albedo: np.ndarray | None) -> SeenTexture | None:
        self.seen = seen
        return super()._shown(seen, albedo)


def measure_textures(
    reconstructor: Recorder, twins: EvaluationTwins, *, leaks: Sequence[int] = (0,)
) -> Iterator[list[TextureErrors]]:
    """Errors of every batch of twins.

    Args:
        reconstructor: of the network to measure, with the shipped head.
        twins: photos and their covers.
        leaks: pixels of the network's crop by which the true mask is widened, as a bad mask would be, instead
            of the network's own; 0: its own.

    Yields:
        One entry per photo that could be reconstructed; ways are "prior" and "nearby", with "+N" for leaks.
    """
    for step in range(len(twins)):
        batch = twins[step]
        found = []
        for i, box in enumerate(points_box68(one) for one in batch.points.numpy()):
            head = reconstructor.reconstruct_batch([to_bytes(batch.occluded[i])], boxes=[box])[0]
            if isinstance(head, Reconstruction):
                found.append(_errors(reconstructor, batch, i, head, leaks))
        yield found


def _errors(
    reconstructor: Recorder, batch: ViewBatch, i: int, head: Reconstruction, leaks: Sequence[int]
) -> TextureErrors:
    own, albedo = reconstructor.seen, head.albedo
    assert own is not None
    assert albedo is not None
    side = len(own.weight)
    chart, lookup = reconstructor.layouts.chart(side), reconstructor.layouts.lookup(side)
    assert chart is not None
    assert lookup is not None
    cells = reconstructor.encoder.config.input_size
    masks = batch.face_mask, batch.visible
    face, visible = (_in_crop(mask[i], head.crop, cells) for mask in masks)
    clean, covered = to_bytes(batch.clean[i]), to_bytes(batch.occluded[i])

    def lifted(photo: np.ndarray, mask: np.ndarray) -> SeenTexture:
        return laid_over(photo, head, mask, reconstructor.head, lookup)

    truth, seen = lifted(clean, face), lifted(clean, visible).weight
    skin = chart.part == 0
    values = {}
    for leak in leaks:
        shown = own if not leak else lifted(covered, np.minimum(_widened(visible, leak), face))
        for way, one in (("prior", chart), ("nearby", replace(chart, prior=None))):
            texture = complete_texture(without_remnants(shown, albedo, one), albedo, chart=one)
            values[way + (f"+{leak}" if leak else "")] = compared(texture, truth, seen, skin)
    return TextureErrors(batch.family[i], values)


def _in_crop(
    mask: Float[Tensor, "1 S S"], crop: CropTransform, size: int
) -> Float[np.ndarray, "{size} {size}"]:
    """A mask of the photo as the network's would be."""
    return crop_image(to_bytes(mask.expand(3, -1, -1)), crop, size)[..., 0].astype(np.float32) / 255


def _widened(mask: Float[np.ndarray, "M M"], by: int) -> Float[np.ndarray, "M M"]:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
    return cv2.blur(cv2.dilate(mask, disc), (3, 3))


def compared(
    texture: Float[np.ndarray, "U U 3"],
    truth: SeenTexture,
    seen: Float[np.ndarray, "U U"],
    skin: Bool[np.ndarray, "U U"],
) -> dict[str, float]:
    """Mean absolute difference of colours in [0,1], and share of texels that are plainly wrong.

    Args:
        texture: completed. truth: what the uncovered photo shows.
        seen: how much of each texel the covered picture shows. skin: texels that are skin.
    """
    smooth = [cv2.GaussianBlur(x.astype(np.float32), (0, 0), _GRAIN) for x in (texture, truth.colour)]
    off = np.abs(smooth[0] - smooth[1]).mean(-1)
    known = ((truth.weight > _SURE) & skin).astype(np.uint8)
    known = cv2.erode(known, np.ones((3, 3), np.uint8), borderValue=0) > 0
    hidden, shown = off[known & (seen < _HIDDEN)], off[known & (seen > _SURE)]
    wrong = off[known] > WRONG
    return {
        "hidden": _mean(hidden),
        "hidden_wrong": _mean(hidden > WRONG),
        "seen": _mean(shown),
        "all": _mean(off[known]),
        "all_wrong": _mean(wrong),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size >= _FEWEST else float("nan")


def summarised(errors: Sequence[TextureErrors]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean over photos by family (and "all families"), way and measure, and how many photos there are."""
    families = {"all families": list(errors)}
    for one in errors:
        families.setdefault(one.family, []).append(one)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for family, some in sorted(families.items(), key=lambda item: (item[0] != "all families", item[0])):
        rows = table.setdefault(family, {})
        for way in some[0].values if some else ():
            rows[way] = {name: _over_photos([one.values[way][name] for one in some]) for name in MEASURES}
            rows[way]["photos"] = len(some)
    return table


def _over_photos(values: Sequence[float]) -> float:
    told = [value for value in values if np.isfinite(value)]
    return float(np.mean(told)) if told else float("nan")

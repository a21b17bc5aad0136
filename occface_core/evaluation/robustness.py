"""Occlusion robustness: clean photos and their covered twins through several participants.

The reference of every distance is one network on the clean photo (DESIGN: prediction(occluded) against
teacher(clean)); landmarks are measured against the photo's own annotations, and a participant's drift against
its own answer for the clean photo.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from occface_core.data.batches import TwinBatch
from occface_core.errors import ConfigError
from occface_core.evaluation.metrics import (
    identity_spread_mm,
    identity_spread_texture,
    nme,
    posed_error_mm,
    segmentation_scores,
    shape_error_mm,
    texture_error,
)
from occface_core.evaluation.occlusion_rows import PartialRun, Rows, ShapeSums
from occface_core.evaluation.predictions import Network, Prediction, Predictor, ibug68_of
from occface_core.evaluation.twins import views_of
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.encoder import EncoderOutput

Encoder = Callable[[Tensor], EncoderOutput]
OWN_COVER = 0.03  # share of the face; what a photo hides below it is too little to be found or missed
MEAN_HEAD = "mean head"  # on the reference's pose: it knows where the face is and nothing of the person


@runtime_checkable
class Batches(Protocol):
    """`EvaluationTwins`, or a non-augmenting `TwinSampler`."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> TwinBatch: ...


class RobustnessBenchmark:
    """Compares participants on one set of twins.

    Args:
        head, albedo: the face model all networks predict.
        models: name -> network, or anything else that answers like `predictions.Predictor`.
        reference: name of the network whose clean prediction is the reference.
        include_mean: also report the mean head, posed and placed as the reference is.
        device: where batches go; the networks must be there already.
        threads: predictions made at a time. On a CPU this beats threads inside of PyTorch, whose operations
            wait for their slowest thread: where another program keeps a core busy, they all but stop.

    Raises:
        ConfigError: the reference is not among the networks, or a name holds a slash.
    """

    def __init__(
        self,
        head: HeadModel,
        albedo: AlbedoModel,
        models: Mapping[str, Encoder | Predictor],
        *,
        reference: str,
        include_mean: bool = True,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        self.models: dict[str, Predictor] = {
            name: model if hasattr(model, "predict") else Network(model, head, albedo)
            for name, model in models.items()
        }
        first = self.models.get(reference)
        if not isinstance(first, Network):
            raise ConfigError(f"the reference {reference!r} must be one of the networks that are run")
        bad = [name for name in self.models if "/" in name or name == MEAN_HEAD]
        if bad:
            raise ConfigError(f"{bad[0]!r} cannot name a model: no slash, and not {MEAN_HEAD!r}")
        self.reference: str = reference
        self.first: Network = first
        self.face: Tensor = head.regions["face"]
        self.include_mean: bool = include_mean
        self.device: str = device
        self.threads: int = threads

    def run(
        self,
        twins: Batches,
        *,
        progress: Callable[[Iterable], Iterable] = iter,
        partial: PartialRun | None = None,
        workers: int = 0,
        own_covers: bool = False,
    ) -> Rows:
        """Evaluate every photo once.

        Args:
            twins: the photos, batch by batch.
            progress: wraps the batches that are left to do; given an iterable with a length.
            partial: where finished batches are kept and taken up again.
            workers: processes that make the covers.
            own_covers: also measure how much is found of what covers the faces in the photos themselves.
        """
        rows, done = partial.resume() if partial else (Rows(), 0)
        steps = range(done, len(twins))
        batches = _load(twins, steps, workers)
        for step, _ in zip(steps, progress(steps), strict=True):
            columns = self.measure(next(batches), rows.sums, own_covers=own_covers)
            for name, values in columns.items():
                rows.add(name, values)
            if partial:
                partial.append(step, columns, rows.sums)
        return rows

    @torch.no_grad()
    def measure(
        self, batch: TwinBatch, sums: dict[str, ShapeSums], *, own_covers: bool = False
    ) -> dict[str, list]:
        """Values of one batch by column; adds to the running sums."""
        columns: dict[str, list] = {
            "family": list(batch.family),
            "coverage": batch.coverage.tolist(),
            "index": batch.index.tolist(),
        }
        if own_covers:
            columns["own_cover"] = own_cover(batch).tolist()
        batch = batch.to(self.device)
        views = list(views_of(batch))
        answers = self._ask(batch, views)
        target = answers[self.reference]["clean"]
        assert target.params is not None
        for name, model in self.models.items():
            told = answers[name]
            for view in ("clean", "occluded"):
                figures = self._against(told[view], target, batch, model)
                figures |= _mask_scores(told[view], batch, view, own_covers=own_covers)
                if view == "occluded":
                    figures |= _drift(told, batch.points, model.region)
                _store(columns, f"{name}/{view}", figures, told[view].valid)
                self._sum(sums, f"{name}/{view}", told[view], target, model)
            _store(columns, f"{name}/covers", _consistency(told, views, model.region), told["occluded"].valid)
        if self.include_mean:
            still = target.params.replace(
                betas=torch.zeros_like(target.params.betas), albedo=torch.zeros_like(target.params.albedo)
            )
            mean = self.first.of_params(still, batch.clean.shape[-1])
            _store(columns, f"{MEAN_HEAD}/clean", self._against(mean, target, batch, self.first), mean.valid)
            self._sum(sums, f"{MEAN_HEAD}/clean", mean, target, self.first)
        return columns

    def _ask(self, batch: TwinBatch, views: Sequence[str]) -> dict[str, dict[str, Prediction]]:
        """Everybody's answers, by participant and view."""
        asked = [
            (name, view)
            for name, model in self.models.items()
            for view in views
            if model.views is None or view in model.views
        ]
        with ThreadPoolExecutor(self.threads) as pool:
            made = list(pool.map(lambda one: self.models[one[0]].predict(batch, one[1]), asked))
        answers: dict[str, dict[str, Prediction]] = {name: {} for name in self.models}
        for (name, view), prediction in zip(asked, made, strict=True):
            answers[name][view] = prediction
        return answers

    def _against(
        self, got: Prediction, target: Prediction, batch: TwinBatch, model: Predictor
    ) -> dict[str, Tensor]:
        """Distances to the reference, as far as the meshes correspond, and to the annotation."""
        figures: dict[str, Tensor] = {}
        if model.same_head:
            for name, metric, mine, goal in (
                ("shape_mm", shape_error_mm, got.neutral, target.neutral),
                ("posed_mm", posed_error_mm, got.posed, target.posed),
                ("texture", texture_error, got.albedo, target.albedo),
            ):
                if mine is not None and goal is not None:
                    figures[name] = metric(mine, goal, self.face)
        if got.landmarks468 is not None:
            figures["nme"] = nme(got.landmarks468, batch.points)
        if got.landmarks68 is not None:
            figures["nme68"] = nme(got.landmarks68, ibug68_of(batch.points))
        return figures

    def _sum(
        self, sums: dict[str, ShapeSums], key: str, got: Prediction, target: Prediction, model: Predictor
    ) -> None:
        if got.neutral is None or target.neutral is None:
            return
        verts = got.neutral[got.valid]
        distance = (verts - target.neutral[got.valid]).norm(dim=-1) if model.same_head else None
        sums.setdefault(key, ShapeSums()).add(verts[:, model.region > 0.5], distance)


def _drift(told: Mapping[str, Prediction], points: Tensor, region: Tensor) -> dict[str, Tensor]:
    """How far the cover moves a participant's own answer for the clean photo, whatever its conventions."""
    clean, covered = told["clean"], told["occluded"]
    figures: dict[str, Tensor] = {}
    if clean.neutral is not None and covered.neutral is not None:
        figures["drift_mm"] = shape_error_mm(covered.neutral, clean.neutral, region)
    if clean.landmarks68 is not None and covered.landmarks68 is not None:
        moved = covered.landmarks68 - clean.landmarks68
        goal = ibug68_of(points)
        figures["drift_nme68"] = nme(goal + moved, goal)
    return figures


def _consistency(told: Mapping[str, Prediction], views: Sequence[str], region: Tensor) -> dict[str, Tensor]:
    """Spread of shape and albedo over several covers of one photo."""
    covered = [told.get(view) for view in views if view != "clean"]
    figures: dict[str, Tensor] = {}
    if len(covered) < 2 or any(one is None for one in covered):
        return figures
    shapes = [one.neutral for one in covered if one is not None and one.neutral is not None]
    if len(shapes) == len(covered):
        figures["identity_mm"] = identity_spread_mm(torch.stack(shapes), region)
    colours = [one.albedo for one in covered if one is not None and one.albedo is not None]
    if len(colours) == len(covered):
        figures["identity_texture"] = identity_spread_texture(torch.stack(colours), region)
    return figures


def _mask_scores(
    got: Prediction, batch: TwinBatch, view: str, *, own_covers: bool
) -> dict[str, Tensor]:
    if got.mask is None:
        return {}
    truth = batch.face_mask if view == "clean" else batch.visible
    # Inside the outline, and not only where the photo itself leaves skin bare: hair taken for skin counts.
    scores = segmentation_scores(got.mask, truth[:, 0] > 0.5, batch.outline[:, 0] > 0.5)
    if own_covers and view == "clean":
        own = (batch.outline > 0.5) & (batch.face_mask <= 0.5)
        found = (own[:, 0] & ~got.mask).flatten(1).sum(1) / own.flatten(1).sum(1).clamp(min=1)
        scores["own_found"] = torch.where(own_cover(batch) >= OWN_COVER, found, torch.nan)
    return {f"mask_{name}": value for name, value in scores.items()}


def own_cover(batch: TwinBatch) -> Tensor:
    """(B,) share of the landmarks' outline that something in the photo itself is known to hide."""
    return 1 - batch.face_mask.flatten(1).sum(1) / batch.outline.flatten(1).sum(1).clamp(min=1)


def _store(columns: dict[str, list], key: str, figures: Mapping[str, Tensor], valid: Tensor) -> None:
    for name, values in figures.items():
        columns[f"{key}/{name}"] = torch.where(valid, values, torch.nan).tolist()


def _load(twins: Batches, steps: range, workers: int) -> Iterator[TwinBatch]:
    if workers:
        loader: DataLoader = DataLoader(
            twins,  # type: ignore[arg-type]
            sampler=steps,
            batch_size=None,
            num_workers=workers,
        )
        return iter(loader)
    return (twins[step] for step in steps)

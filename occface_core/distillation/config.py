"""One frozen, validated configuration for every recipe."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from occface_core.data.ranges import check_share_range
from occface_core.distillation.terms import TERMS, parse_weights
from occface_core.errors import ConfigError
from occface_core.networks.backbones import BACKBONES

RECIPES: tuple[str, ...] = ("teacher", "learner", "damior", "diamor", "focus", "multiview")
PROFILING: tuple[str, ...] = ("teacher", "learner", "damior", "diamor")  # recipes with `profile_share`
DISTILLING: tuple[str, ...] = ("learner", "damior", "diamor")  # recipes with `guided_by` and `completes`
OCCLUDERS: tuple[str, ...] = ("painted", "batched")
PRECISIONS: tuple[str, ...] = ("auto", "32-true", "bf16-mixed")
DEVICES: tuple[str, ...] = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on. A run with the same config and data gives the same losses.

    Attributes:
        recipe: one of `RECIPES`.
        out: run folder: checkpoints, metrics.json, losses.jsonl and .csv, TensorBoard events, sample sheets.
        photos: folder of photos with landmarks (tar shards or images), or None: synthetic renders alone.
        split: shard prefix or sub-folder to train on; `dev_split` is shown on sheets, never trained on.
        hidden: folder of SPLIT-hidden.npz files, what covers faces in the photos themselves;
            None: everything inside the outline of the landmarks counts as visible.
        teacher: checkpoint path or asset name; distillation recipes need it.
        start_from: checkpoint to start from (a student starts from its teacher unless this says "scratch").
        guided_by: network that looks first and tells the trained one what it saw, see networks/guided.py;
            of a guided network its first look. Empty: none.
        completes: network, guided or not, that says what is hidden and draws it, so that the trained one sees
            the completed face, see networks/completing.py. Empty: none.
        only: part of the network to train, "mask_head" for instance; the rest stays bit for bit. Empty: all.
        minutes: time budget; the learning rate falls to zero at its end.
        steps: stop after so many steps instead (exact reruns); 0 means by time.
        local_channels: channels per cell that reach the code unpooled, see networks/encoder.py; 0: none.
        evidence_points: landmarks a student looks for one by one, see networks/evidence.py; 0: none.
        evidence_blocks: residual convolutions before their heatmaps.
        mask_size: side of the predicted face mask; 0: none. mask_detail, mask_edges: channels of its
            refinement at half of the crop's resolution and at all of it; 0: none.
        code_loss: "plain" (as published) or "normalised" mean squared error for distillation.
        synthetic_share: part of each batch that is rendered with exact truth.
        loss_weights: factors on top of the recipe's own weights, "shape=0,posed=2"; 0 switches a term off.
        person_share: teacher: part of a batch's photos that comes as two photos of one person each, where
            the photos say who is who.
        closed_eyes_share: part of a batch's photos whose eyes are all but closed, see data/draws.py.
        stretch_share: part of a batch's photos that are stretched, see data/batches.py.
        duplicates: occlusions of each photo in a diamor batch; damior: its starting network, also the
            estimates its identities must agree with (empty: consistency among duplicates alone).
        focus_cycle: steps of one EM cycle; its first quarter trains the segmenter.
        focus_start: part of a focus run that learns covered photos' landmarks before the alternation begins.
        views: photographs of each rendered face in a multiview batch.
        occluders: "painted": one by one in the loading processes; "batched": all at once on the training
            device, for GPUs that the loading processes cannot feed. Same families, other pixels.
        occluder_family: "random", "irrational", "empirical" or one family's name.
        second_share: part of the covered pictures with a second object on top, sunglasses over a mask.
        poor_share: part of the pictures a student sees with few pixels and noise, see data/degrade.py.
        harsh_share: part of them in harsh light or retouched, see data/harsh.py.
        cut_share: part of them as of photos that end close to the face, see data/cuts.py.
        profile_share: part of the photos that are turned out of their plane, see data/profiling.py; for
            recipes with a teacher, which fits them, and for `teacher`, which then has one, too.
        precision: "32-true", "bf16-mixed", or "auto": bf16-mixed where it is faster.
        devices: processes on this machine; under torchrun what it started.
        checkpoint_minutes: training time between two resumable states.
        sheet_minutes: training time between two sample sheets; 0: no sheets at all.
        sheet_faces: rows of a sheet.
    """

    recipe: str = "teacher"
    out: Path = Path("runs/teacher")
    photos: Path | None = None
    split: str = "train"
    dev_split: str = "dev"
    cache: Path = Path("runs/cache")
    hidden: Path | None = None
    limit: int | None = None
    teacher: str = "teacher"
    start_from: str = ""
    guided_by: str = ""
    completes: str = ""
    only: str = ""
    backbone: str = "resnet18"
    input_size: int = 112
    mask_size: int = 112
    mask_detail: int = 16
    mask_edges: int = 16
    local_channels: int = 32
    evidence_points: int = 100
    evidence_blocks: int = 1
    minutes: float = 30.0
    steps: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup: float = 0.03
    seed: int = 0
    workers: int = 1
    precision: str = "auto"
    device: str = "auto"
    devices: int = 1
    code_loss: str = "plain"
    loss_weights: str = ""
    synthetic_share: float = 0.2
    photometric: float = 1.0
    occluders: str = "painted"
    occluder_family: str = "random"
    coverage: tuple[float, float] = (0.1, 0.6)
    second_share: float = 0.0
    poor_share: float = 0.0
    harsh_share: float = 0.0
    cut_share: float = 0.0
    profile_share: float = 0.0
    clean_share: float = 0.2
    person_share: float = 0.5
    closed_eyes_share: float = 0.0
    stretch_share: float = 0.0
    duplicates: int = 4
    damior: str = ""
    focus_cycle: int = 120
    focus_start: float = 0.25
    views: int = 3
    checkpoint_minutes: float = 5.0
    sheet_minutes: float = 10.0
    sheet_faces: int = 6
    log_every: int = 20

    def __post_init__(self) -> None:
        choices = {"recipe": RECIPES, "backbone": BACKBONES, "code_loss": ("plain", "normalised")}
        choices |= {"precision": PRECISIONS, "device": DEVICES, "occluders": OCCLUDERS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} {getattr(self, name)!r} is not one of {', '.join(allowed)}")
        if self.minutes <= 0 and self.steps <= 0:
            raise ConfigError(f"minutes is {self.minutes}: give a positive time budget, or a number of steps")
        self._check_numbers()
        self._check_batch()
        parse_weights(self.loss_weights, self.recipe)

    def _check_numbers(self) -> None:
        if self.batch_size < 2:
            raise ConfigError(f"batch_size {self.batch_size}: batch normalisation needs at least 2")
        if not 0 < self.learning_rate < 1:
            raise ConfigError(f"learning_rate {self.learning_rate} must be within 0..1")
        check_share_range("coverage", self.coverage, may_be_one_value=False)
        covers = ("clean_share", "second_share", "poor_share", "harsh_share", "cut_share")
        photos = ("profile_share", "person_share", "closed_eyes_share", "stretch_share")
        for name in ("synthetic_share", *covers, *photos, "focus_start"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} {getattr(self, name)} must be within 0..1")
        if not 0.0 <= self.warmup < 1.0:
            raise ConfigError(f"warmup {self.warmup} must be within 0..1, below 1")
        for name in ("duplicates", "devices", "log_every", "sheet_faces", "focus_cycle"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} must be at least 1")
        for name in ("checkpoint_minutes", "sheet_minutes", "workers", "photometric", "seed", "steps"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name)} must not be negative")

    def _check_batch(self) -> None:
        if self.profile_share and self.recipe not in PROFILING:
            raise ConfigError(
                f"profile_share {self.profile_share}: recipe {self.recipe} does not learn from turned "
                f"photos; {', '.join(PROFILING)} do"
            )
        if self.profile_share and not self.profile_count:
            raise ConfigError(
                f"profile_share {self.profile_share} of {self.photo_count} photos per batch turns none; "
                "raise it or --batch-size, or leave it out where there are no photos"
            )
        for name in ("guided_by", "completes"):
            if getattr(self, name) and self.recipe not in DISTILLING:
                raise ConfigError(
                    f"{name} {getattr(self, name)}: recipe {self.recipe} trains no further look; "
                    f"{', '.join(DISTILLING)} do"
                )
        if self.guided_by and self.completes:
            raise ConfigError(
                f"guided_by {self.guided_by} and completes {self.completes}: a run trains one further look"
            )
        if self.recipe == "diamor" and self.photo_count % self.duplicates:
            raise ConfigError(
                f"diamor needs photos per batch ({self.photo_count}) to be a multiple of duplicates "
                f"({self.duplicates}); change --batch-size or --synthetic-share"
            )
        if self.recipe == "multiview" and (self.views < 2 or self.synthetic_count % self.views):
            raise ConfigError(
                f"multiview needs renders per batch ({self.synthetic_count}) to be a multiple of views "
                f"({self.views}, at least 2); change --batch-size or --synthetic-share"
            )

    @property
    def synthetic_count(self) -> int:
        """Rendered images per batch; all of them when there are no photos."""
        return self.batch_size if self.photos is None else round(self.batch_size * self.synthetic_share)

    @property
    def photo_count(self) -> int:
        """Photographs per batch."""
        return self.batch_size - self.synthetic_count

    @property
    def alike(self) -> int:
        """Photographs in a row that are one photo under several covers."""
        return self.duplicates if self.recipe == "diamor" else 1

    @property
    def profile_count(self) -> int:
        """Photographs per batch that are turned out of their plane; duplicates of one count once."""
        return round(self.photo_count // self.alike * self.profile_share)

    @property
    def evidence_count(self) -> int:
        """Landmarks the run's network looks for: none when its recipe does not train them."""
        return self.evidence_points if "evidence" in TERMS[self.recipe] else 0

    @property
    def term_weights(self) -> dict[str, float]:
        """`loss_weights` by name of the term."""
        return parse_weights(self.loss_weights, self.recipe)

    def to_dict(self) -> dict:
        """JSON-ready values."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    def replace(self, **changes: object) -> "TrainConfig":
        """A copy with some values changed.

        Raises:
            ConfigError: a name is unknown.
        """
        unknown = set(changes) - {f.name for f in fields(self)}
        if unknown:
            raise ConfigError(f"unknown settings: {', '.join(sorted(unknown))}")
        return replace(self, **changes)  # type: ignore[arg-type]

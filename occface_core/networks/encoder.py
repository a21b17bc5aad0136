"""FaceEncoder: a photo crop in, a named face code out, with optional visible-face mask and uncertainty.

The regression head is DECA's (features -> 1024 -> ReLU -> code, Feng et al., SIGGRAPH 2021); the code is
`code_mean + code_scale * raw`, so that every raw output lives near N(0, 1) whatever unit its group has.

DECA averages its last map over the image, which says what is there but hardly where. With part of the face
covered that costs most: the visible part must place the whole head. `LocalFeatures` therefore hands the
coarsest two maps to the regression unpooled, beside the average.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occface_core.data.crop import CROP_SCALE
from occface_core.errors import ConfigError
from occface_core.morphable.parameters import DECA_236, FaceParameters, layout
from occface_core.networks.backbones import BACKBONES, build_backbone
from occface_core.networks.evidence import PRIOR_SIZE, Evidence, LandmarkEvidence
from occface_core.networks.heads import Bounded, LocalFeatures, MaskHead

HIDDEN = 1024  # numbers that the code is read from


@dataclass(frozen=True)
class EncoderConfig:
    """What a checkpoint must know to rebuild its network."""

    backbone: str = "resnet18"
    input_size: int = 112
    layout: str = DECA_236.name
    head: str = "open"
    mask_size: int = 0  # 0: no visible-face mask head; else the side of its output, a multiple of 8
    sigma_regions: tuple[str, ...] = field(default=())  # regions whose uncertainty (mm) is predicted
    crop_scale: float = CROP_SCALE  # side of the crop over the mean side of the 68-point box
    local_channels: int = 0  # channels per cell that reach the code unpooled; 0: DECA's average alone
    evidence_points: int = 0  # landmarks looked for one by one; 0: none
    evidence_size: int = PRIOR_SIZE  # components of the prior that completes them
    evidence_blocks: int = 0  # residual convolutions before their heatmaps
    mask_detail: int = 0  # channels of the mask's refinement at 1/2 of the crop; 0: none
    mask_edges: int = 0  # channels of its refinement at the crop's own pixels; 0: none
    guided_by: "EncoderConfig | None" = None  # the network that looks first, see networks/guided.py
    completes: bool = False  # sees the face completed by that network, see networks/completing.py

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ConfigError(f"unknown backbone {self.backbone!r}; choose one of {', '.join(BACKBONES)}")
        if not 64 <= self.input_size <= 512:
            raise ConfigError(f"input_size {self.input_size} is outside 64..512")
        if not 0 <= self.evidence_points <= 468 or not 1 <= self.evidence_size <= 200:
            raise ConfigError(
                f"evidence_points {self.evidence_points} must be within 0..468 and evidence_size "
                f"{self.evidence_size} within 1..200"
            )
        if not 0 <= self.local_channels <= 512:
            raise ConfigError(f"local_channels {self.local_channels} is outside 0..512")
        if self.mask_size < 0 or self.mask_size % 8:
            raise ConfigError(f"mask_size {self.mask_size} must be 0 or a multiple of 8")
        if not 0 <= self.evidence_blocks <= 8:
            raise ConfigError(f"evidence_blocks {self.evidence_blocks} must be within 0..8")
        for name in ("mask_detail", "mask_edges"):
            if not 0 <= getattr(self, name) <= 256:
                raise ConfigError(f"{name} {getattr(self, name)} must be within 0..256")
        if self.guided_by is not None:
            self._check_guide(self.guided_by)
        elif self.completes:
            raise ConfigError("completes: there is no network that looks first and draws what is hidden")

    def _check_guide(self, first: "EncoderConfig") -> None:
        """One network can be guided by another only where both see the same crops and speak of one head."""
        if first.completes or (first.guided_by is not None and not self.completes):
            raise ConfigError("the network that looks first must not be guided by another")
        if self.completes and not first.mask_size:
            raise ConfigError("completes: the network that looks first must say what is hidden (mask_size)")
        if self.completes and self.mask_size:
            raise ConfigError("completes: the mask is the first look's; mask_size must be 0")
        for name in ("input_size", "layout", "head", "crop_scale"):
            own, theirs = getattr(self, name), getattr(first, name)
            if own != theirs:
                raise ConfigError(f"{name} is {own!r}, but {theirs!r} in the network that looks first")

    def to_dict(self) -> dict:
        """JSON-ready values."""
        first = None if self.guided_by is None else self.guided_by.to_dict()
        return asdict(self) | {"sigma_regions": list(self.sigma_regions), "guided_by": first}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "EncoderConfig":
        """What `to_dict` gave; entries that older networks lack have their defaults.

        Raises:
            TypeError: an entry is unknown.
        """
        first = values.get("guided_by")
        regions = tuple(values.get("sigma_regions", ()))
        guide = None if first is None else EncoderConfig.from_dict(first)
        return EncoderConfig(**{**values, "sigma_regions": regions, "guided_by": guide})


@dataclass(frozen=True)
class EncoderOutput:
    """One batch of predictions. `log_sigma` is the natural log of millimetres, one per named region."""

    params: FaceParameters
    code: Float[Tensor, "B N"]
    features: Float[Tensor, "B C"]
    mask_logits: Float[Tensor, "B 1 M M"] | None = None
    log_sigma: Float[Tensor, "B R"] | None = None
    evidence: Evidence | None = None


def default_code_statistics() -> tuple[Float[Tensor, "236"], Float[Tensor, "236"]]:
    """Mean and scale per code entry for the 236 layout on a crop 1.5 times the 68-point box.

    Camera: a 0.15 m wide face fills two thirds of an image that spans 2, hence s near 9. Light: only the
    constant band, whose factor is 1/sqrt(4 pi), lit so that shading is 1.
    """
    mean, scale = torch.zeros(DECA_236.size), torch.ones(DECA_236.size)
    s = DECA_236.slices
    scale[s["exp"]] = 0.3
    mean[s["exp"]] = 0.05
    scale[s["pose"]] = 0.3
    cam = s["cam"].start
    mean[cam], scale[cam] = 9.0, 1.0
    scale[cam + 1 : cam + 3] = 0.02
    light = s["light"].start
    mean[light : light + 3] = 3.5
    scale[s["light"]] = 0.4
    return mean, scale


class FaceEncoder(nn.Module):
    """Teacher and student network.

    Args:
        config: backbone, input size, layout and optional heads.
        expression_bounds: (low, high) of every expression coefficient, or None for an unbounded basis
        (FLAME).
    """

    code_mean: Tensor
    code_scale: Tensor
    sigma_scale: Tensor
    guide_channels = 0  # that the backbone sees beside the colours, see networks/guided.py

    def __init__(
        self, config: EncoderConfig, *, expression_bounds: tuple[float, float] | None = (0.0, 1.0)
    ) -> None:
        super().__init__()
        self.config = config
        self.layout = layout(config.layout)
        self.expression_bounds = expression_bounds
        self.backbone = build_backbone(config.backbone, channels=3 + self.guide_channels)
        width = self.backbone.feature_size
        hidden, last = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, self.layout.size)
        self.layers = nn.Sequential(hidden, nn.ReLU(inplace=True), last)
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)
        self.local = (
            LocalFeatures(self.backbone.pyramid_channels, config.local_channels, HIDDEN)
            if config.local_channels
            else None
        )
        self.evidence = None
        if config.evidence_points:
            size = config.evidence_size
            self.evidence = LandmarkEvidence(
                self.backbone.pyramid_channels[1:],
                config.evidence_points,
                size,
                blocks=config.evidence_blocks,
            )
            # Both start at zero, as the local features do.
            self.evidence_hidden = nn.Linear(size, HIDDEN, bias=False)
            self.evidence_code = nn.Linear(size, self.layout.size, bias=False)
            nn.init.zeros_(self.evidence_hidden.weight)
            nn.init.zeros_(self.evidence_code.weight)
        mean, scale = default_code_statistics()
        if self.layout.size != mean.numel():
            raise ConfigError(f"FaceEncoder predicts the {DECA_236.name} layout, not {self.layout.name}")
        self.register_buffer("code_mean", mean)
        self.register_buffer("code_scale", scale)
        self.mask_head = (
            MaskHead(self.backbone.pyramid_channels, config.mask_size, config.mask_detail, config.mask_edges)
            if config.mask_size
            else None
        )
        regions = len(config.sigma_regions)
        self.sigma_head = nn.Linear(width, regions) if regions else None
        # Calibration measured after training: sigma is multiplied by this, per region.
        self.register_buffer("sigma_scale", torch.ones(regions))

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> EncoderOutput:
        """Predict from RGB crops in [0,1]; other sizes than `config.input_size` are resized."""
        return self.assemble(self.tensors(image))

    def parameters_of(self, image: Float[Tensor, "B 3 S S"]) -> FaceParameters:
        """The face parameters alone: no time is spent on mask and uncertainty."""
        return self.assemble(self.tensors(image, heads=False)).params

    def tensors(self, image: Float[Tensor, "B 3 S S"], *, heads: bool = True) -> dict[str, Tensor]:
        """`forward` as plain tensors by name, for wrappers that hook into a module's output.

        Args:
            image: crops. heads: whether mask and uncertainty are wanted too.
        """
        image = self.resized(image)
        return self.answer(image, *self.look(image), heads=heads)

    def answer(
        self,
        image: Float[Tensor, "B 3 S S"],
        features: Float[Tensor, "B C"],
        pyramid: list[Tensor],
        *,
        heads: bool,
        join: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Read a backbone's features and maps of `image`, see `tensors`.

        Args:
            image: crops. features, pyramid: what the backbone made of them. heads: as in `tensors`.
            join: what another look makes of the raw code.
        """
        evidence = self.evidence(pyramid[1:]) if self.evidence is not None else None
        # Under autocast the code keeps full precision: bfloat16 has 8 bits, a hundredth of a code's spread.
        with torch.autocast(image.device.type, enabled=False):
            features = features.float()
            hidden = self.layers[0](features)
            if self.local is not None:
                hidden = hidden + self.local(pyramid)
            if evidence is not None:
                hidden = hidden + self.evidence_hidden(evidence.z)
            raw = self.layers[2](self.layers[1](hidden))
            if evidence is not None:
                raw = raw + self.evidence_code(evidence.z)
            if join is not None:
                raw = join(raw)
        result = {"code": self.decode_raw(raw), "features": features}
        if evidence is not None:
            result |= {f"evidence_{name}": value for name, value in vars(evidence).items()}
        if not heads:
            return result
        if self.mask_head is not None:
            result["mask_logits"] = self.mask_head(pyramid, image)
        if self.sigma_head is not None:
            result["log_sigma"] = self.sigma_head(features) + self.sigma_scale.log()
        return result

    def mask(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 M M"]:
        """Logits of the visible-face mask alone, of a network that predicts one."""
        if self.mask_head is None:
            raise ConfigError("mask_size 0: this network predicts no visible-face mask")
        image = self.resized(image)
        return self.mask_head(self.look(image)[1], image)

    def resized(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 I I"]:
        """Crops as large as `config.input_size`."""
        size = self.config.input_size
        if image.shape[-1] == size:
            return image
        return F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False, antialias=True)

    def look(self, image: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B C"], list[Tensor]]:
        """The backbone's features and maps, finest first, of crops as large as `config.input_size`."""
        # Centred input trains faster from scratch; DECA's RGB/255 is what the caller gives.
        return self.backbone((image - 0.5) * 4.0)

    def assemble(self, tensors: dict[str, Tensor]) -> EncoderOutput:
        """Name the parameters in what `tensors` returned."""
        found = {k.removeprefix("evidence_"): v for k, v in tensors.items() if k.startswith("evidence_")}
        rest = {k: v for k, v in tensors.items() if not k.startswith("evidence_")}
        params = FaceParameters.from_code(tensors["code"], self.layout)
        return EncoderOutput(params, **rest, evidence=Evidence(**found) if found else None)

    def decode_raw(self, raw: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Scale raw outputs to the code's units and bound the expression."""
        code = self.code_mean + self.code_scale * raw
        if self.expression_bounds is None:
            return code
        s = self.layout.slices["exp"]
        low, high = self.expression_bounds
        return torch.cat(
            [code[:, : s.start], Bounded.apply(code[:, s], low, high), code[:, s.stop :]], dim=1
        )

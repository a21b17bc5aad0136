"""A second look that is told what the first one saw.

A covered face must be told apart from its cover before it can be measured, and a network that does both at
once measures worse beside the cover than away from it (docs/networks.md). `GuidedEncoder` does one after the
other. A first network, frozen, says what is visible and draws the face it found; the second sees the photo,
that mask and that drawing, and answers anew. Drawing an estimate into a network's input to have it corrected
is from Zhu et al., "Face Alignment Across Large Poses: A 3D Solution" (CVPR 2016), whose projected normalised
coordinate code is part of the guide; the mask and the shaded drawing are ours.
"""

from dataclasses import replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occface_core.errors import ConfigError
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.backbones import widened
from occface_core.networks.encoder import EncoderConfig, EncoderOutput, FaceEncoder
from occface_core.rendering.renderer import Renderer

Network = TypeVar("Network", bound=nn.Module)


class Guide:
    """Draws what a network answered, at the scale of a backbone's input.

    Not a module: a head and its albedo belong to no checkpoint of a network.

    Args:
        head, albedo: the face model of the network. size: side of the drawing, pixels.
    """

    CHANNELS = 7  # visible face, drawn colours, neutral coordinates

    def __init__(self, head: HeadModel, albedo: AlbedoModel, size: int) -> None:
        self.head, self.albedo = head, albedo
        self.device = head.v_template.device
        self.renderer = Renderer(head, size, cull_back=True).to(self.device)
        face = head.v_template[head.regions["face"] > 0.5]
        # Within about -2..2 over the face, as colours are in a backbone's input.
        self.place = ((head.v_template - face.mean(0)) / face.std(0)).clamp(-3, 3)

    def draw(self, output: EncoderOutput) -> Float[Tensor, "B 7 S S"]:
        """Channels for the second look: mask -2 (hidden) to 2 (visible skin), colours and coordinates.

        Where the head is not drawn its channels are 0. A network without a mask sees all as visible; numbers
        that are not finite draw nothing.
        """
        params = output.params
        sane = output.code.isfinite().all(dim=1)
        verts = self.head(params.betas, params.expression, params.pose).verts
        verts = torch.where(sane[:, None, None], verts, self.head.v_template)
        camera = torch.where(sane[:, None], params.camera, params.camera.new_tensor([9.0, 0.0, 0.0]))
        colour = self.albedo.vertex_albedo(params.albedo, self.head)
        place = self.place.expand(len(verts), -1, -1)
        drawn = self.renderer(verts, camera, colour, params.sh_coeffs, attributes=place)
        assert drawn.attributes is not None
        picture = (drawn.image.clamp(0, 1) - 0.5) * 4.0 * drawn.mask
        shown = sane[:, None, None, None].to(picture.dtype)
        visible = torch.full_like(picture[:, :1], 2.0)
        if output.mask_logits is not None:
            visible = (output.mask_logits.float().nan_to_num().sigmoid() - 0.5) * 4.0
            visible = F.interpolate(visible, picture.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([visible, (picture * shown).nan_to_num(), drawn.attributes * shown], dim=1)


class GuidedEncoder(FaceEncoder):
    """A network that sees a crop, and what another network, kept inside and never trained, made of it.

    Everything else is a `FaceEncoder`'s. Colours go the way they go there, the guide's channels and
    `known_code` start silent: with the weights of a `FaceEncoder` it answers as that one until it is trained.

    Args:
        config: with `guided_by`, the first network's configuration.
        expression_bounds: as in `FaceEncoder`, of both.

    Raises:
        ConfigError: there is no such configuration, or it is of another head than the shipped one.
    """

    guide_channels = Guide.CHANNELS

    def __init__(
        self, config: EncoderConfig, *, expression_bounds: tuple[float, float] | None = (0.0, 1.0)
    ) -> None:
        if config.guided_by is None:
            raise ConfigError("guided_by is missing: a guided network needs one that looks first")
        if config.head != "open":
            raise ConfigError(f"guided networks draw the open head; this one is for head {config.head!r}")
        super().__init__(config, expression_bounds=expression_bounds)
        self.first = FaceEncoder(config.guided_by, expression_bounds=expression_bounds)
        self.first.requires_grad_(False).eval()
        self.known_code = nn.Linear(self.layout.size, self.layout.size, bias=False)
        nn.init.zeros_(self.known_code.weight)
        self._guide: Guide | None = None

    def train(self, mode: bool = True) -> "GuidedEncoder":
        """Training mode for the second network; the first stays as it is."""
        super().train(mode)
        self.first.eval()
        return self

    def guide(self, device: torch.device) -> Guide:
        """What draws the first answer, made when it is first needed."""
        if self._guide is None or self._guide.device != device:
            head, albedo = HeadModel.load().to(device), AlbedoModel.load().to(device)
            self._guide = Guide(head, albedo, self.config.input_size)
        return self._guide

    def tensors(self, image: Float[Tensor, "B 3 S S"], *, heads: bool = True) -> dict[str, Tensor]:
        """As `FaceEncoder.tensors`, after the second look."""
        image = self.resized(image)
        first = self.look_first(image)
        with torch.autocast(image.device.type, enabled=False):
            raw = ((first.code - self.code_mean) / self.code_scale).nan_to_num()
            known = self.known_code(raw)
        return self.answer(image, *self.look_again(image, first), heads=heads, known=known)

    def look(self, image: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B C"], list[Tensor]]:
        """The second backbone's features and maps."""
        return self.look_again(image, self.look_first(image))

    def look_first(self, image: Float[Tensor, "B 3 S S"]) -> EncoderOutput:
        """What the first network answers; nothing learns through it."""
        with torch.no_grad():
            return self.first(image)

    def look_again(
        self, image: Float[Tensor, "B 3 S S"], first: EncoderOutput
    ) -> tuple[Float[Tensor, "B C"], list[Tensor]]:
        """The second backbone's features and maps of a crop and of the first answer to it."""
        with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
            guide = self.guide(image.device).draw(first)
        return self.backbone(torch.cat([(image - 0.5) * 4.0, guide.to(image.dtype)], dim=1))


def looking_first(network: Network) -> Network | FaceEncoder:
    """The first look of a guided network; any other network looks first itself."""
    return network.first if isinstance(network, GuidedEncoder) else network


def startable(source: FaceEncoder, model: FaceEncoder) -> dict[str, Tensor]:
    """State of `source` in the shapes of `model`, where only one of the two is guided.

    A guided network starts from another's second look, or from a network that is not guided, to whose first
    convolution it adds silent channels. A network that is not guided starts from a guided one's first look.
    """
    if not isinstance(model, GuidedEncoder):
        return looking_first(source).state_dict()
    given = source.state_dict()
    if isinstance(source, GuidedEncoder):
        return {k: v for k, v in given.items() if not k.startswith("first.")} | first_of(model)
    stem = next(k for k, v in given.items() if k.startswith("backbone.") and v.ndim == 4)
    given[stem] = widened(given[stem], model.state_dict()[stem].shape[1])
    silent = {k: v for k, v in model.state_dict().items() if k.startswith("known_code.")}
    return given | silent | first_of(model)


def first_of(model: GuidedEncoder) -> dict[str, Tensor]:
    """State of a guided network's first look under its names there."""
    return {f"first.{name}": value for name, value in model.first.state_dict().items()}


def guided_encoder(config: EncoderConfig, first: FaceEncoder) -> GuidedEncoder:
    """An untrained second look at what a copy of `first` sees; `config` is the second network's alone."""
    bounds = first.expression_bounds
    model = GuidedEncoder(replace(config, guided_by=first.config), expression_bounds=bounds)
    model.first.load_state_dict(first.state_dict())
    return model


def make_encoder(
    config: EncoderConfig, *, expression_bounds: tuple[float, float] | None = (0.0, 1.0)
) -> FaceEncoder:
    """An untrained network of a configuration, guided where it says so."""
    kind = FaceEncoder if config.guided_by is None else GuidedEncoder
    return kind(config, expression_bounds=expression_bounds)

"""A second look that is told what the first one saw.

A covered face must be told apart from its cover before it can be measured, and a network that does both at
once measures worse beside the cover than away from it (docs/networks.md). `GuidedEncoder` does one after the
other. A first network, frozen, says what is visible and draws the face it found; the second sees the photo,
that mask and that drawing, and answers anew. Drawing an estimate into a network's input to have it corrected
is from Zhu et al., "Face Alignment Across Large Poses: A 3D Solution" (CVPR 2016), whose projected normalised
coordinate code is part of the guide; the mask and the shaded drawing are ours.
"""

from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occface_core.errors import ConfigError
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.encoder import EncoderConfig, EncoderOutput, FaceEncoder
from occface_core.rendering.renderer import Renderer

FILLED = ("face", "eyes", "lips", "teeth", "mouth_interior")  # regions of the head that a drawing completes


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
        place = ((head.v_template - face.mean(0)) / face.std(0)).clamp(-3, 3)
        inside = torch.stack([head.regions[name] for name in FILLED]).amax(0)
        self.attributes = torch.cat([place, inside[:, None]], dim=1)

    def draw(self, output: EncoderOutput) -> Float[Tensor, "B 7 S S"]:
        """Channels for the second look: mask -2 (hidden) to 2 (visible skin), colours and coordinates.

        Where the head is not drawn its channels are 0. A network without a mask sees all as visible; numbers
        that are not finite draw nothing.
        """
        return self._drawn(output)[0]

    def complete(
        self, image: Float[Tensor, "B 3 S S"], output: EncoderOutput
    ) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 7 S S"]]:
        """Crops with the drawn face over what of it is hidden, and the channels of `draw`.

        Eyes and the inside of the mouth count as face. Hair, hat and background stay, as does what covers
        them. A pixel beside what is hidden goes with it, for it shows the rim of the cover; the seam is three
        pixels wide.
        """
        channels, inside = self._drawn(output)
        hidden = F.max_pool2d(0.5 - channels[:, :1] / 4.0, 3, stride=1, padding=1) * inside
        hidden = F.avg_pool2d(F.pad(hidden, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        drawn = channels[:, 1:4] / 4.0 + 0.5
        return torch.lerp(image, drawn.to(image.dtype), hidden.to(image.dtype)), channels

    def _drawn(self, output: EncoderOutput) -> tuple[Float[Tensor, "B 7 S S"], Float[Tensor, "B 1 S S"]]:
        """The channels, and 1 where the drawn head is face."""
        params = output.params
        sane = output.code.isfinite().all(dim=1)
        verts = self.head(params.betas, params.expression, params.pose).verts
        verts = torch.where(sane[:, None, None], verts, self.head.v_template)
        camera = torch.where(sane[:, None], params.camera, params.camera.new_tensor([9.0, 0.0, 0.0]))
        colour = self.albedo.vertex_albedo(params.albedo, self.head)
        attributes = self.attributes.expand(len(verts), -1, -1)
        drawn = self.renderer(verts, camera, colour, params.sh_coeffs, attributes=attributes)
        assert drawn.attributes is not None
        picture = (drawn.image.clamp(0, 1) - 0.5) * 4.0 * drawn.mask
        shown = sane[:, None, None, None].to(picture.dtype)
        visible = torch.full_like(picture[:, :1], 2.0)
        if output.mask_logits is not None:
            visible = (output.mask_logits.float().nan_to_num().sigmoid() - 0.5) * 4.0
            visible = F.interpolate(visible, picture.shape[-2:], mode="bilinear", align_corners=False)
        place, inside = drawn.attributes[:, :3], drawn.attributes[:, 3:]
        channels = torch.cat([visible, (picture * shown).nan_to_num(), place * shown], dim=1)
        return channels, (inside > 0.9) * shown


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
        kind = FaceEncoder if config.guided_by.guided_by is None else GuidedEncoder
        self.first = kind(config.guided_by, expression_bounds=expression_bounds)
        self.first.requires_grad_(False).eval()
        self.link()
        self._guide: Guide | None = None

    def link(self) -> None:
        """`known_code`: from the first raw code to the second."""
        self.known_code = nn.Linear(self.layout.size, self.layout.size, bias=False)
        nn.init.zeros_(self.known_code.weight)

    def joined(self, raw: Float[Tensor, "B N"], known: Float[Tensor, "B K"]) -> Float[Tensor, "B N"]:
        """The second code, with what the first is known to say."""
        return raw + self.known_code(known)

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
        """As `FaceEncoder.tensors`, after all looks."""
        image = self.resized(image)
        return self.again(image, self.look_first(image), heads=heads)

    def again(
        self, image: Float[Tensor, "B 3 S S"], first: EncoderOutput, *, heads: bool
    ) -> dict[str, Tensor]:
        """The answer to a crop, given the first one."""
        join = partial(self.joined, known=self.known(first))
        return self.answer(image, *self.look_again(image, first), heads=heads, join=join)

    def known(self, first: EncoderOutput) -> Float[Tensor, "B K"]:
        """For `joined`: the first code in the scale of raw outputs; what is not finite says nothing."""
        with torch.autocast(first.code.device.type, enabled=False):
            return ((first.code - self.code_mean) / self.code_scale).nan_to_num()

    def look(self, image: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B C"], list[Tensor]]:
        """The last backbone's features and maps."""
        return self.look_again(image, self.look_first(image))

    def look_first(self, image: Float[Tensor, "B 3 S S"]) -> EncoderOutput:
        """What the first network answers; nothing learns through it."""
        with torch.no_grad():
            return self.first(image)

    def look_again(
        self, image: Float[Tensor, "B 3 S S"], first: EncoderOutput
    ) -> tuple[Float[Tensor, "B C"], list[Tensor]]:
        """The last backbone's features and maps of a crop and of the first answer to it."""
        with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
            picture, guide = self.shown(image, first)
        return self.backbone(torch.cat([(picture - 0.5) * 4.0, guide.to(image.dtype)], dim=1))

    def shown(
        self, image: Float[Tensor, "B 3 S S"], first: EncoderOutput
    ) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 7 S S"]]:
        """The picture that the backbone sees, and the guide beside it."""
        return image, self.guide(image.device).draw(first)

"""A last look at the face without its cover.

A teacher that is accurate on clean faces is frail under covers because it takes the cover for the face. So
the cover is painted over: a student says what is hidden and draws the face it guessed there, and a network
that starts from the teacher's weights looks at the completed picture. Where nothing is hidden that is the
teacher itself; where something is, it measures the visible part as the teacher would, next to a guess that no
longer misleads it. Its answer and the student's are mixed, number by number, in shares it chooses per face
(docs/networks.md).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occface_core.errors import ConfigError
from occface_core.networks.encoder import HIDDEN, EncoderConfig, EncoderOutput
from occface_core.networks.guided import GuidedEncoder


class CompletingEncoder(GuidedEncoder):
    """A network that sees a crop whose hidden face another one, kept inside and never trained, has drawn.

    Beside the completed picture it sees the guide of `GuidedEncoder`, silent at the start: with a teacher's
    weights it first answers the mean of the teacher's code for the completed picture and of the student's.
    The mask is the student's, as it is measured on the picture itself; so is the uncertainty, which
    `sigma_head` corrects.

    Args:
        config: with `completes`, and the student's configuration in `guided_by`.
        expression_bounds: as in `FaceEncoder`, of both.

    Raises:
        ConfigError: `completes` is not set, or the student is of another head than the shipped one.
    """

    def __init__(
        self, config: EncoderConfig, *, expression_bounds: tuple[float, float] | None = (0.0, 1.0)
    ) -> None:
        if not config.completes:
            raise ConfigError("completes is not set: this is a GuidedEncoder's configuration")
        super().__init__(config, expression_bounds=expression_bounds)
        if self.sigma_head is not None:
            nn.init.zeros_(self.sigma_head.weight)
            nn.init.zeros_(self.sigma_head.bias)

    def link(self) -> None:
        """`believe`: from what the regression sees to the share of the student in every number."""
        self.believe = nn.Linear(HIDDEN, self.layout.size)
        nn.init.zeros_(self.believe.weight)
        nn.init.zeros_(self.believe.bias)

    def joined(
        self, raw: Float[Tensor, "B N"], known: Float[Tensor, "B N"], hidden: Float[Tensor, "B 1024"]
    ) -> Float[Tensor, "B N"]:
        """Own code and the student's, mixed."""
        return torch.lerp(raw, known, self.believe(hidden).sigmoid())

    def tensors(self, image: Float[Tensor, "B 3 S S"], *, heads: bool = True) -> dict[str, Tensor]:
        """As `FaceEncoder.tensors`, after all looks."""
        image = self.resized(image)
        first = self.look_first(image)
        result = self.answer(image, *self.look_again(image, first), heads=heads, known=self.raw_code(first))
        if heads and first.mask_logits is not None:
            result["mask_logits"] = first.mask_logits
        if heads and self.sigma_head is not None and first.log_sigma is not None:
            result["log_sigma"] = result["log_sigma"] + first.log_sigma
        return result

    def mask(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 M M"]:
        """Logits of the visible-face mask alone: the student's."""
        with torch.no_grad():
            return self.first.mask(image)

    def look_again(
        self, image: Float[Tensor, "B 3 S S"], first: EncoderOutput
    ) -> tuple[Float[Tensor, "B C"], list[Tensor]]:
        """The backbone's features and maps of the completed crop."""
        completed, guide = self.completed(image, first)
        return self.backbone(torch.cat([(completed - 0.5) * 4.0, guide.to(image.dtype)], dim=1))

    def completed(
        self, image: Float[Tensor, "B 3 S S"], first: EncoderOutput
    ) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 7 S S"]]:
        """The crop with the student's face drawn over what hides it, and the student's guide."""
        with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
            return self.guide(image.device).complete(image, first)

"""A last look at the face without its cover.

A teacher that is accurate on clean faces is frail under covers because it takes the cover for the face. So
the cover is painted over: a student says what is hidden and draws the face it guessed there, and a network
that starts from the teacher's weights looks at the completed picture. Where nothing is hidden that is the
teacher itself; where something is, it measures the visible part as the teacher would, next to a guess that no
longer misleads it. Its answer and the student's are mixed, number by number, in shares chosen per face, and
corrected (docs/networks.md).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occface_core.errors import ConfigError
from occface_core.networks.encoder import EncoderConfig, EncoderOutput
from occface_core.networks.guided import Guide, GuidedEncoder

CELLS = 8  # to a side, that say where the face is hidden
JUDGE = 256  # hidden numbers of what mixes the codes


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
        """`judge`: from both raw codes and what is seen to the student's shares and a correction."""
        size = self.layout.size
        last = nn.Linear(JUDGE, 2 * size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.judge = nn.Sequential(nn.Linear(2 * size + CELLS**2, JUDGE), nn.ReLU(), last)

    def train(self, mode: bool = True) -> "CompletingEncoder":
        """Training mode, but for normalisation: its statistics stay the teacher's.

        With statistics of completed and of poor pictures in them, what was seen clean is no longer measured
        as the teacher measures it.
        """
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def joined(self, raw: Float[Tensor, "B N"], known: Float[Tensor, "B K"]) -> Float[Tensor, "B N"]:
        """Own code and the student's, mixed and corrected; `known`: as the method of that name has it."""
        code, seen = known.split([raw.shape[1], CELLS**2], dim=1)
        # All of them about as large as 1, so that none is learned long before the others.
        told = self.judge(torch.cat([code, 3 * (raw - code), 4 * seen - 1], dim=1))
        share, correction = told.chunk(2, dim=1)
        return torch.lerp(raw, code, share.sigmoid()) + 0.1 * correction

    def known(self, first: EncoderOutput) -> Float[Tensor, "B K"]:
        """The student's raw code, and how much of each cell of the crop it takes for visible face."""
        assert first.mask_logits is not None  # EncoderConfig sees to it
        with torch.autocast(first.code.device.type, enabled=False):
            seen = F.adaptive_avg_pool2d(first.mask_logits.float().sigmoid(), CELLS).flatten(1)
            return torch.cat([super().known(first), seen.nan_to_num()], dim=1)

    def again(
        self, image: Float[Tensor, "B 3 S S"], first: EncoderOutput, *, heads: bool
    ) -> dict[str, Tensor]:
        """The answer to a crop, given the student's, whose mask it keeps."""
        result = super().again(image, first, heads=heads)
        if heads and first.mask_logits is not None:
            result["mask_logits"] = first.mask_logits
        if heads and self.sigma_head is not None and first.log_sigma is not None:
            result["log_sigma"] = result["log_sigma"] + first.log_sigma
        return result

    def mask(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 M M"]:
        """Logits of the visible-face mask alone: the student's."""
        with torch.no_grad():
            return self.first.mask(image)

    def guide(self, device: torch.device) -> Guide:
        """What draws the student's answer: what draws for the student, where it has such."""
        return self.first.guide(device) if isinstance(self.first, GuidedEncoder) else super().guide(device)

    def shown(
        self, image: Float[Tensor, "B 3 S S"], first: EncoderOutput
    ) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 7 S S"]]:
        """The crop with the student's face drawn over what hides it, and the student's guide."""
        return self.guide(image.device).complete(image, first)

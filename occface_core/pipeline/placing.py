"""Where exactly to look: from a face's rough box to the crop in which the network sees it best.

The first look tells how the head is turned in the picture plane. Heads turned by more than `UPRIGHT` are
looked at in a crop that is turned with them, for networks learn from heads that stand nearly upright; where
the first look is unsure, which heads lying on their side or upside down always make it, other turns are
tried. A turn is kept if the network is surer of what it sees. Then a detected box gives way to that of the
landmarks found, and the last look is the one that counts.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from occface_core.data.crop import crop_image
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.mirrored import MirroredEncoder
from occface_core.networks.turned import roll_of, turn_back
from occface_core.pipeline.fitting import Fit, Target, pose_heads, refined, turned
from occface_core.pipeline.loading import FaceNetwork

UPRIGHT = math.radians(12)
# Mean of the regions' log sigma (log mm) from which on a look is unsure. Of 128 development photos under
# covers upright heads lie at -0.12 in the mean, heads turned by 45 degrees at 0.38, lying ones at 0.55.
UNSURE = 0.1
# By how much of it a look in another turn must be surer: lying heads are 0.67 surer once they stand.
SURER = 0.2
OTHER_TURNS = tuple(math.radians(a) for a in (45, -45, 90, -90, 135, -135, 180))
TURNS_AT_MOST = 3  # each brings the head closer to upright; from 50 degrees it takes two


class Placer:
    """Looks at faces with a network until their crops are right.

    Args:
        network: for all looks but the last. last: for the last one, which may take longer.
        head: that the codes describe. batch_size: crops per call.
    """

    def __init__(
        self,
        network: FaceNetwork,
        head: HeadModel,
        device: torch.device,
        *,
        last: FaceNetwork | MirroredEncoder,
        batch_size: int,
    ) -> None:
        self.network, self.last, self.head = network, last, head
        self.device, self.batch_size = device, batch_size

    def placed(self, targets: Iterable[Target], refine: bool | None) -> Iterator[tuple[list[Target], Fit]]:
        """Batch by batch the fits, and the targets with the crops they were made from.

        Args:
            refine: whether boxes give way to those of the landmarks found; None: those that were detected do.
        """
        rest = list(targets)
        while rest:
            batch, rest = rest[: self.batch_size], rest[self.batch_size :]
            batch, looks = self.upright(batch)
            for i, (target, (fit, row)) in enumerate(zip(batch, looks, strict=True)):
                if target.score is not None if refine is None else refine:
                    batch[i] = refined(target, fit, row)
            yield batch, self.look(batch, self.last)

    def look(self, targets: Sequence[Target], network: FaceNetwork | MirroredEncoder) -> Fit:
        """Encode the targets' crops and pose the heads, in the pixels of the crops before they are turned."""
        size = network.config.input_size
        crops = np.stack([crop_image(t.image, t.crop, size, roll=t.roll) for t in targets])
        batch = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float() / 255
        output = network(batch)
        roll = torch.tensor([t.roll for t in targets], device=self.device)
        if bool((roll != 0).any()):
            output = turn_back(output, roll, network.layout, self.head)
        return pose_heads(output, self.head, size)

    def upright(self, targets: Sequence[Target]) -> tuple[list[Target], list[tuple[Fit, int]]]:
        """The targets with their crops turned as their heads are, and each one's look (fit and row)."""
        placed = list(targets)
        fit = self.look(placed, self.network)
        looks = [(fit, i) for i in range(len(placed))]
        unsure = [i for i in range(len(placed)) if doubt(looks[i]) > UNSURE]
        for turn in OTHER_TURNS if unsure else ():
            self.try_turns(placed, looks, dict.fromkeys(unsure, turn), SURER)
        for _ in range(TURNS_AT_MOST):
            rolls = {i: float(roll_of(fit.output)[row]) for i, (fit, row) in enumerate(looks)}
            off = {i: roll for i, roll in rolls.items() if abs(wrapped(roll - placed[i].roll)) > UPRIGHT}
            if not off or not self.try_turns(placed, looks, off, 0.0):
                break
        return placed, looks

    def try_turns(
        self, placed: list[Target], looks: list[tuple[Fit, int]], turns: dict[int, float], margin: float
    ) -> bool:
        """Look again at some targets in turned crops; keep what is surer by `margin`. Whether any was."""
        again = {i: turned(placed[i], roll) for i, roll in turns.items()}
        fit, kept = self.look(list(again.values()), self.network), False
        for row, (i, target) in enumerate(again.items()):
            if fit.output.log_sigma is None or doubt((fit, row)) < doubt(looks[i]) - margin:
                placed[i], looks[i], kept = target, (fit, row), True
        return kept


def doubt(look: tuple[Fit, int]) -> float:
    """Mean log sigma of a look, log mm; minus infinity where the network tells none."""
    log_sigma: Tensor | None = look[0].output.log_sigma
    return -math.inf if log_sigma is None else float(log_sigma[look[1]].mean())


def wrapped(angle: float) -> float:
    """The same angle in [-pi, pi), radians."""
    return (angle + math.pi) % (2 * math.pi) - math.pi

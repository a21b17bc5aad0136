"""Where exactly to look: from a face's rough box to the crop in which the network sees it best.

The first look tells how the head is turned in the picture plane. Heads turned by more than `UPRIGHT` are
looked at in a crop that is turned with them, for networks learn from heads that stand nearly upright; where
the first look is unsure, which heads lying on their side or upside down always make it, other turns are
tried. A turn is kept if the network is surer of the landmarks it finds, and sure of them: most heads stand
upright, so a guess among bad looks is given up. Then a detected box gives way to
theirs, and the last look is the one that counts.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from occface_core.data.crop import crop_image
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.mirrored import MirroredEncoder
from occface_core.networks.turned import roll_of, turn_back
from occface_core.pipeline.fitting import Fit, Target, pose_heads, refined, turned
from occface_core.pipeline.loading import FaceNetwork

UPRIGHT = math.radians(12)
# Doubt (below) from which on a look is unsure. Of 96 development photos under covers, 95 % of upright heads
# lie below -4.0, heads turned by 45 degrees at -2.9 in the mean, lying ones at -2.5.
UNSURE = -3.7
# By how much of it a look in another turn must be surer: lying heads are 1.8 surer once they stand.
SURER = 0.4
# How sure the network must be of a head in one of the other turns. Of 24 photos, half of them under covers,
# turned by 60 to 180 degrees, 174 of 180 that ended below it were right, and 4 of 21 that did not.
SURE = -3.4
OTHER_TURNS = tuple(math.radians(a) for a in (45, -45, 90, -90, 135, -135, 180))
TURNS_AT_MOST = 3  # each brings the head closer to upright; from 50 degrees it takes two


@dataclass(frozen=True)
class Look:
    """One face in a fit: its row there, and how much the network doubts what it saw.

    Attributes:
        doubt: mean log sigma of the landmarks it found; minus infinity where it looks for none.
        roll: how far the head is turned clockwise in the picture, radians.
    """

    fit: Fit
    row: int
    doubt: float
    roll: float


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
            for i, (target, look) in enumerate(zip(batch, looks, strict=True)):
                if target.score is not None if refine is None else refine:
                    batch[i] = refined(target, look.fit, look.row)
            yield batch, self.look(batch, self.last)[0].fit

    def look(self, targets: Sequence[Target], network: FaceNetwork | MirroredEncoder) -> list[Look]:
        """Encode the targets' crops and pose the heads, in the pixels of the crops before they are turned."""
        size = network.config.input_size
        crops = np.stack([crop_image(t.image, t.crop, size, roll=t.roll) for t in targets])
        batch = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float() / 255
        output = network(batch)
        doubts = [-math.inf] * len(targets)
        if output.evidence is not None:
            doubts = output.evidence.log_sigma.mean(1).tolist()
        roll = torch.tensor([t.roll for t in targets], device=self.device)
        if bool((roll != 0).any()):
            output = turn_back(output, roll, network.layout, self.head)
        fit = pose_heads(output, self.head, size)
        rolls = roll_of(output).tolist()
        return [Look(fit, row, *said) for row, said in enumerate(zip(doubts, rolls, strict=True))]

    def upright(self, targets: Sequence[Target]) -> tuple[list[Target], list[Look]]:
        """The targets with their crops turned as their heads are, and what was seen in them."""
        placed = list(targets)
        looks = self.look(placed, self.network)
        unsure = [i for i, look in enumerate(looks) if look.doubt > UNSURE]
        usual = {i: (placed[i], looks[i]) for i in unsure}
        step = max(1, self.batch_size // len(OTHER_TURNS))
        kept: list[int] = []
        for start in range(0, len(unsure), step):
            turns = dict.fromkeys(unsure[start : start + step], OTHER_TURNS)
            kept += self.try_turns(placed, looks, turns, SURER)
        self.straighten(placed, looks, range(len(placed)))
        guessed = [i for i in kept if looks[i].doubt > SURE]
        for i in guessed:
            placed[i], looks[i] = usual[i]
        self.straighten(placed, looks, guessed)
        return placed, looks

    def straighten(self, placed: list[Target], looks: list[Look], moving: Iterable[int]) -> None:
        """Turn the crops of some targets as their heads are turned in them."""
        for _ in range(TURNS_AT_MOST):
            off = [i for i in moving if abs(wrapped(looks[i].roll - placed[i].roll)) > UPRIGHT]
            if not off:
                break
            moving = self.try_turns(placed, looks, {i: (looks[i].roll,) for i in off}, 0.0)

    def try_turns(
        self,
        placed: list[Target],
        looks: list[Look],
        turns: Mapping[int, Sequence[float]],
        margin: float,
    ) -> list[int]:
        """Look at some targets in all the turns given for them; keep the surest that is surer by `margin`.

        Returns:
            Which targets were turned.
        """
        again = [(i, turned(placed[i], roll)) for i, rolls in turns.items() for roll in rolls]
        best: dict[int, tuple[Target, Look]] = {}
        for (i, target), look in zip(again, self.look([t for _, t in again], self.network), strict=True):
            if i not in best or look.doubt < best[i][1].doubt:
                best[i] = target, look
        kept = [
            i
            for i, (_, look) in best.items()
            if look.doubt < looks[i].doubt - margin or look.doubt == -math.inf
        ]
        for i in kept:
            placed[i], looks[i] = best[i]
        return kept


def wrapped(angle: float) -> float:
    """The same angle in [-pi, pi), radians."""
    return (angle + math.pi) % (2 * math.pi) - math.pi

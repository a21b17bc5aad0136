"""Random numbers that depend on a sample's seed alone: a hash of seed, purpose and position.

A generator's stream would tie a sample's numbers to its place in the batch and to the device. Hashing with
32-bit integer operations gives the same numbers on every device and for every batch size.
"""

from math import prod
from zlib import crc32

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from occface_core.occlusion.batched.device import constant

_ADD = -1640531527  # 0x9E3779B9 as a signed number: the golden ratio's bits
_FEW = 24  # numbers of a small draw
_PURPOSES: dict[str, None] = {}  # of the small draws so far, as an ordered set; no number depends on it
_MULTIPLY = (2146121005, -2073254261)  # 0x7FEB352D, 0x846CA68B: Wellons' lowbias32


def _mix(bits: Tensor) -> Tensor:
    """A bijection of 32-bit numbers in which every bit of the input moves half of the output's."""
    bits = (bits ^ ((bits >> 16) & 0xFFFF)) * _MULTIPLY[0]
    bits = (bits ^ ((bits >> 15) & 0x1FFFF)) * _MULTIPLY[1]
    return bits ^ ((bits >> 16) & 0xFFFF)


def _signed(number: int) -> int:
    """The 32-bit signed number with the same bits."""
    return (number & 0xFFFFFFFF) - ((number & 0x80000000) << 1)


def _share(bits: Tensor) -> Tensor:
    """Numbers in [0,1) from the upper 24 bits."""
    return ((bits >> 8) & 0xFFFFFF).float() * 2.0**-24


class Draws:
    """Random numbers of a batch of samples.

    Args:
        seeds: (B,) one seed per sample.
    """

    def __init__(self, seeds: Int64[Tensor, " B"]) -> None:
        self.seeds = seeds
        low, high = ((seeds >> shift & 0xFFFFFFFF) for shift in (0, 32))
        self._low, self._high = ((x - ((x & 0x80000000) << 1)).int() for x in (low, high))
        self._place: dict[str, int] = {}
        self._table = self._shares = torch.empty(0)

    def __len__(self) -> int:
        return len(self.seeds)

    def bits(self, purpose: str, *shape: int) -> Int32[Tensor, "B ..."]:
        """(B,*shape) uniform 32-bit numbers; another purpose gives independent ones."""
        count, shape = prod(shape), shape or (1,)
        if count <= _FEW and self._knows(purpose):
            return self._table[:, self._place[purpose], :count].unflatten(1, shape)
        return self._hash((purpose,), count)[:, 0].unflatten(1, shape)

    def _hash(self, purposes: tuple[str, ...], count: int) -> Int32[Tensor, "B P N"]:
        key = tuple(_signed(crc32(purpose.encode())) for purpose in purposes)
        names = constant(key, self.seeds.device, torch.int32)
        keys = _mix(_mix(self._low[:, None] + names) ^ self._high[:, None])[..., None]
        counter = torch.arange(count, dtype=torch.int32, device=self.seeds.device)
        return _mix(_mix(counter * _ADD ^ keys) + keys)

    def _knows(self, purpose: str) -> bool:
        """Whether the table of small draws holds a purpose; each new one is in the tables made from then on.

        Some dozens of small draws would otherwise be some thousands of small operations.
        """
        _PURPOSES.setdefault(purpose)
        if not self._place:
            names = tuple(_PURPOSES)
            self._place = {name: number for number, name in enumerate(names)}
            self._table = self._hash(names, _FEW)
            self._shares = _share(self._table)
        return purpose in self._place

    def uniform(
        self, purpose: str, *shape: int, low: float = 0.0, high: float = 1.0
    ) -> Float[Tensor, "B ..."]:
        """(B,*shape) uniform numbers in [low, high)."""
        count = prod(shape)
        if count <= _FEW and self._knows(purpose):
            share = self._shares[:, self._place[purpose], :count].unflatten(1, shape or (1,))
        else:
            share = _share(self.bits(purpose, *shape))
        return share if (low, high) == (0.0, 1.0) else low + (high - low) * share

    def below(self, purpose: str, limit: int, *shape: int) -> Int64[Tensor, "B ..."]:
        """(B,*shape) uniform whole numbers from 0 to limit - 1."""
        return (self.uniform(purpose, *shape) * limit).long().clamp(max=limit - 1)

    def chance(self, purpose: str, share: float, *shape: int) -> Tensor:
        """(B,*shape) True with a probability of ``share``."""
        return self.uniform(purpose, *shape) < share

    def gaussian(self, purpose: str, *shape: int) -> Float[Tensor, "B ..."]:
        """(B,*shape) roughly normal numbers: the sum of a hash's four bytes, from -3.5 to 3.5."""
        bits = self.bits(purpose, *shape)
        total = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24 & 255)
        return (total.float() - 510.0) * (1.0 / 147.8)

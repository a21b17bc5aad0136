"""Random numbers that depend on a sample's seed alone: a hash of seed, purpose and position.

A generator's stream would tie a sample's numbers to its place in the batch and to the device. Hashing with
32-bit integer operations gives the same numbers on every device and for every batch size.
"""

from math import prod
from zlib import crc32

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

_ADD = -1640531527  # 0x9E3779B9 as a signed number: the golden ratio's bits
_MULTIPLY = (2146121005, -2073254261)  # 0x7FEB352D, 0x846CA68B: Wellons' lowbias32


def _mix(bits: Tensor) -> Tensor:
    """A bijection of 32-bit numbers in which every bit of the input moves half of the output's."""
    bits = (bits ^ ((bits >> 16) & 0xFFFF)) * _MULTIPLY[0]
    bits = (bits ^ ((bits >> 15) & 0x1FFFF)) * _MULTIPLY[1]
    return bits ^ ((bits >> 16) & 0xFFFF)


def _signed(number: int) -> int:
    """The 32-bit signed number with the same bits."""
    return (number & 0xFFFFFFFF) - ((number & 0x80000000) << 1)


class Draws:
    """Random numbers of a batch of samples.

    Args:
        seeds: (B,) one seed per sample.
    """

    def __init__(self, seeds: Int64[Tensor, " B"]) -> None:
        self.seeds = seeds
        low, high = ((seeds >> shift & 0xFFFFFFFF) for shift in (0, 32))
        self._low, self._high = ((x - ((x & 0x80000000) << 1)).int() for x in (low, high))

    def __len__(self) -> int:
        return len(self.seeds)

    def bits(self, purpose: str, *shape: int) -> Int32[Tensor, "B ..."]:
        """(B,*shape) uniform 32-bit numbers; another purpose gives independent ones."""
        key = _mix(self._low + _signed(crc32(purpose.encode())))
        key = _mix(key ^ self._high)
        counter = torch.arange(prod(shape), dtype=torch.int32, device=self.seeds.device)
        return _mix(_mix(counter[None] * _ADD ^ key[:, None]) + key[:, None]).unflatten(1, shape or (1,))

    def uniform(
        self, purpose: str, *shape: int, low: float = 0.0, high: float = 1.0
    ) -> Float[Tensor, "B ..."]:
        """(B,*shape) uniform numbers in [low, high)."""
        share = ((self.bits(purpose, *shape) >> 8) & 0xFFFFFF).float() * 2.0**-24
        return low + (high - low) * share

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

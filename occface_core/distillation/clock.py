"""The learning-rate schedule and the clock it follows."""

import math
from dataclasses import dataclass

from occface_core.distillation.config import TrainConfig


def schedule(progress: float, warmup: float) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to zero at progress 1."""
    if progress < warmup:
        return max(progress / warmup, 0.02)
    t = min((progress - warmup) / max(1e-9, 1 - warmup), 1.0)
    return 0.5 * (1 + math.cos(math.pi * t))


@dataclass
class Clock:
    """Where a run stands: step count and training seconds so far, both restored on resume."""

    step: int = 0
    seconds: float = 0.0

    def progress(self, config: TrainConfig) -> float:
        """Share of the budget used, 0 to 1."""
        used = self.step / config.steps if config.steps else self.seconds / (60.0 * config.minutes)
        return min(used, 1.0)

"""Ranges of shares, and the settings that hold one."""

import re
from collections.abc import Callable

import pytest

from occface_core.data.batches import BatchConfig
from occface_core.data.ranges import check_share_range
from occface_core.distillation.config import TrainConfig
from occface_core.errors import ConfigError
from occface_core.evaluation.twins import TwinSettings


def test_a_range_lies_within_0_and_1() -> None:
    check_share_range("coverage", (0, 1), may_be_one_value=False)
    check_share_range("coverage", (0.4, 0.4), may_be_one_value=True)
    for pair in ((0.5, 0.2), (-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5), (0.1, 0.2, 0.3), (0.5,)):
        with pytest.raises(ConfigError, match=re.escape(f"coverage {pair} must be an increasing pair")):
            check_share_range("coverage", pair, may_be_one_value=True)
    with pytest.raises(ConfigError, match="increasing pair"):
        check_share_range("coverage", (0.4, 0.4), may_be_one_value=False)


@pytest.mark.parametrize("settings", [TrainConfig, BatchConfig])
def test_training_draws_from_a_range(settings: Callable[..., object]) -> None:
    with pytest.raises(ConfigError, match=r"coverage \(0\.4, 0\.4\) must be an increasing pair"):
        settings(coverage=(0.4, 0.4))


def test_benchmarks_may_measure_at_one_coverage() -> None:
    assert TwinSettings(coverage=(0.4, 0.4)).coverage == (0.4, 0.4)

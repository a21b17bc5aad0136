"""Ranges of shares that settings hold."""

from collections.abc import Sequence

from occface_core.errors import ConfigError


def check_share_range(name: str, pair: Sequence[float], *, may_be_one_value: bool) -> None:
    """See that a setting is a range of shares, (low, high).

    Args:
        name: of the setting, for the message.
        pair: its value.
        may_be_one_value: whether low may equal high, as in a benchmark at one coverage.

    Raises:
        ConfigError: it is not an increasing pair within 0..1.
    """
    fits = len(pair) == 2 and 0.0 <= pair[0] <= pair[1] <= 1.0
    if not fits or (pair[0] == pair[1] and not may_be_one_value):
        raise ConfigError(f"{name} {pair} must be an increasing pair within 0..1")

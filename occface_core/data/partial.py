"""Unfinished work that a later command goes on with: never with other settings than it was begun with."""

from collections.abc import Mapping
from pathlib import Path

from occface_core.errors import ConfigError


def refuse_other_settings(
    holder: Path, what: str, there: Mapping, now: Mapping, anew: str = "--restart"
) -> None:
    """See that work can go on.

    Args:
        holder: file or folder that holds the work. what: what it is, "an unfinished run".
        there: settings it was begun with. now: settings of this command; both as JSON values.
        anew: the option that begins again.

    Raises:
        ConfigError: they differ.
    """
    changed = [
        f"{key}: {there.get(key)!r} there, {now.get(key)!r} now"
        for key in sorted(there.keys() | now.keys())
        if there.get(key) != now.get(key)
    ]
    if changed:
        raise ConfigError(
            f"{holder} holds {what} with other settings, which must not be mixed ({'; '.join(changed)}); "
            f"repeat that command, choose another --out, or say {anew}"
        )

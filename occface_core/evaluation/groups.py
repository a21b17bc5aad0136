"""Groups of people by the labels a photo set carries, so that a benchmark can say for whom a network works.

UTKFace's labels (`age_gender_ethnicity`, Zhang et al., CVPR 2017) were estimated from the photos: they tell
how a person appears to others, not who the person is. Hence "apparent" in every name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SMALL = 20  # a group of fewer photos is marked: its mean says little
_UTKFACE = re.compile(r"(\d{1,3})_([01])_([0-4])")
GENDERS = ("male", "female")
ETHNICITIES = ("White", "Black", "Asian", "Indian", "other")
AGE_BANDS = (
    (0, 17, "under 18"),
    (18, 29, "18-29"),
    (30, 44, "30-44"),
    (45, 59, "45-59"),
    (60, 999, "60 and over"),
)
_MOST_LABELS = 30  # more different free labels than this are no groups


@dataclass(frozen=True)
class Appearance:
    """What a label says in words; empty strings where it says nothing."""

    age: str = ""
    gender: str = ""
    ethnicity: str = ""


def appearance(label: str) -> Appearance:
    """Read an `age_gender_ethnicity` label; anything else gives an empty answer."""
    match = _UTKFACE.fullmatch(label)
    if match is None:
        return Appearance()
    years, gender, ethnicity = (int(part) for part in match.groups())
    band = next(name for low, high, name in AGE_BANDS if low <= years <= high)
    return Appearance(band, GENDERS[gender], ETHNICITIES[ethnicity])


def label_groups(labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Group name -> which photos are in it, (N,) bool; only groups that occur, in a readable order.

    Labels of another kind than UTKFace's make one group each, unless there are so many different ones that
    they cannot be groups.
    """
    seen = [appearance(label) for label in labels]
    orders = {"age": [name for *_, name in AGE_BANDS], "gender": GENDERS, "ethnicity": ETHNICITIES}
    groups: dict[str, np.ndarray] = {}
    for what, order in orders.items():
        values = np.array([getattr(one, what) for one in seen], dtype=object)
        groups |= {f"apparent {what} {value}": values == value for value in order}
    free = [label if one == Appearance() else "" for label, one in zip(labels, seen, strict=True)]
    names = sorted(set(free) - {""})
    if len(names) <= _MOST_LABELS:
        groups |= {f"label {name}": np.array([f == name for f in free], dtype=bool) for name in names}
    return {name: pick.astype(bool) for name, pick in groups.items() if pick.any()}

"""Labels in words, and who is in which group."""

import pytest

from occface_core.evaluation.groups import Appearance, appearance, label_groups


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("26_0_0", Appearance("18-29", "male", "White")),
        ("60_1_4", Appearance("60 and over", "female", "other")),
        ("116_1_3", Appearance("60 and over", "female", "Indian")),
        ("17_0_2", Appearance("under 18", "male", "Asian")),
        ("", Appearance()),
        ("26_2_0", Appearance()),
        ("26_0_0_2017", Appearance()),
        ("studio", Appearance()),
    ],
)
def test_labels_in_words(label: str, expected: Appearance) -> None:
    assert appearance(label) == expected


def test_groups_hold_who_belongs_and_say_apparent() -> None:
    groups = label_groups(["26_0_0", "31_1_1", "", "29_1_0"])
    assert list(groups) == [
        "apparent age 18-29",
        "apparent age 30-44",
        "apparent gender male",
        "apparent gender female",
        "apparent ethnicity White",
        "apparent ethnicity Black",
    ]
    assert groups["apparent age 18-29"].tolist() == [True, False, False, True]
    assert groups["apparent gender female"].tolist() == [False, True, False, True]


def test_labels_of_another_kind_are_groups_of_their_own_unless_all_differ() -> None:
    groups = label_groups(["studio", "street", "studio", "26_0_0"])
    assert groups["label studio"].tolist() == [True, False, True, False]
    assert "label 26_0_0" not in groups
    assert label_groups([f"photo {i}" for i in range(40)]) == {}
    assert label_groups(["", ""]) == {}

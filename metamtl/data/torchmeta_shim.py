"""Makes torchmeta 1.8.0 (Deleu et al. 2019, arXiv 1909.06576) run beside a current torch and torchvision.

torchmeta pins torch < 1.10, so it is installed with `--no-deps`, and four things that have changed since are mended
here: two helpers of torchvision's that it imports and that are gone, a name that it forgot to import, a protocol of
torch's data loader that `SubsetTask` inherits but does not answer, and operators that torchvision's Python half asks
for when its compiled half does not load (PyPI's torchvision is built for CUDA and does not load beside a CPU torch).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from metamtl.errors import MetamtlError, UsageError

VERSION = "1.8.0"
COMMANDS = (
    f"pip install --no-deps torchmeta=={VERSION} torchvision==0.28.0",
    "pip install 'metamtl[torchmeta]'",
)

_MODULES = {
    "torchmeta": "torchmeta",
    "torchvision": "torchvision",
    "h5py": "h5py",
    "requests": "requests",
    "tqdm": "tqdm",
    "ordered_set": "ordered-set",
}
_SUPPRESSIONS = ("nms", "qnms")  # the only operators that torchvision registers without looking whether it has them
_KEPT: list[Any] = []  # torch withdraws the declarations of a Library that is garbage-collected


def missing() -> list[str]:
    """The packages that the bridge needs and that are not installed, by their names on PyPI; imports none of them."""
    return [package for module, package in _MODULES.items() if importlib.util.find_spec(module) is None]


def install() -> None:
    """Make `import torchmeta` work in this process; a second call changes nothing.

    Raises UsageError with the commands to run where a package is missing.
    """
    if absent := missing():
        raise UsageError(f"data=torchmeta needs {', '.join(absent)}, not installed here; run: {' && '.join(COMMANDS)}")
    declare_operators()
    _restore_download_helpers()
    _answer_batched_fetches()


def declare_operators() -> None:
    """Declare `torchvision::nms` and `qnms` where no compiled ones exist: named only, and an error if called."""
    torch: Any = importlib.import_module("torch")  # torch does not type these calls
    _load_compiled_operators(torch)
    absent = [name for name in _SUPPRESSIONS if not hasattr(torch.ops.torchvision, name)]
    if absent:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in absent:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)


def _load_compiled_operators(torch: Any) -> None:
    """Load torchvision's compiled half, if it can be, before anything is declared: declaring twice is an error."""
    package = importlib.util.find_spec("torchvision")
    compiled = PathFinder.find_spec("_C", package.submodule_search_locations) if package else None
    if compiled is not None and compiled.origin is not None:
        try:
            torch.ops.load_library(compiled.origin)
        except OSError:  # built for another torch, or for CUDA libraries that are not here
            return


def _restore_download_helpers() -> None:
    """What `torchmeta.datasets.utils` imports from torchvision (gone since 0.17), and the name it uses unimported."""
    torchvision_utils: Any = importlib.import_module("torchvision.datasets.utils")
    if not hasattr(torchvision_utils, "_get_confirm_token"):
        torchvision_utils._get_confirm_token = confirm_token
    if not hasattr(torchvision_utils, "_save_response_content"):
        torchvision_utils._save_response_content = save_response
    torchmeta_utils: Any = importlib.import_module("torchmeta.datasets.utils")
    torchmeta_utils.check_integrity = torchvision_utils.check_integrity


def confirm_token(response: Any) -> str | None:
    """The token with which Google Drive hands out a file too large for its virus scan; None where it asks for none.

    `response` is a `requests.Response`. Drive once sent the token as a cookie; it now answers with a page, and takes
    any token.
    """
    for name, value in response.cookies.items():
        if name.startswith("download_warning"):
            return str(value)
    return "t" if _is_page(response) else None


def save_response(response: Any, destination: str, chunk_size: int = 2**15) -> None:
    """Write the body of a streamed `requests.Response` to `destination`, which appears whole or not at all.

    Raises MetamtlError where the answer is a web page (a quota, a warning) and not the file.
    """
    target = Path(destination)
    if _is_page(response):
        raise MetamtlError(
            f"Google Drive answered with a web page in place of {target.name}, as it does when its daily quota is "
            f"spent: try another day, or get {response.url} with a browser and put it at {target}."
        )
    part = target.with_name(target.name + ".metamtl.part")
    try:
        with part.open("wb") as stream:
            for chunk in response.iter_content(chunk_size):
                stream.write(chunk)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _is_page(response: Any) -> bool:
    return str(response.headers.get("content-type", "")).startswith("text/html")


def _answer_batched_fetches() -> None:
    """Give `SubsetTask` the `__getitems__` without which `torch.utils.data.Subset` refuses to be made.

    `Subset` fetches whole batches by itself, and therefore raises NotImplementedError for a subclass that overrides
    `__getitem__` alone, as torchmeta's does.
    """
    task: Any = importlib.import_module("torchmeta.utils.data.task").SubsetTask
    task.__getitems__ = _items_one_by_one


def _items_one_by_one(task: Any, indices: Sequence[int]) -> list[Any]:
    return [task[index] for index in indices]

"""Where the files of a pre-trained encoder lie: a folder, an installed package that carries them, or the hub.

No file is opened here but to find it, and nothing heavy is imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from metamtl.errors import UsageError


def model_file(model: str, name: str) -> Path:
    """The file `name` of a model; UsageError where it is not to be found."""
    folder = model_folder(model)
    if folder is not None:
        if not (folder / name).is_file():
            raise UsageError(f"backbone.model={model} has no {name}; it needs a folder that Hugging Face saved.")
        return folder / name
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError as error:
        raise UsageError("A pre-trained encoder needs more packages: pip install 'metamtl[text]'.") from error
    try:
        return Path(hf_hub_download(model, name))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"backbone.model={model} is no folder, no installed package that carries a model, and could not be fetched "
            "from the hub; give the path of a folder that has its config.json."
        ) from error


def model_folder(model: str) -> Path | None:
    """The folder of a model that is on this machine, None where only the hub may have it."""
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        return folder
    spec = find_spec(model) if model.isidentifier() else None
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(file.parent for place in places for file in Path(place).rglob("config.json"))
    return min(found, key=lambda path: len(path.parts), default=None)

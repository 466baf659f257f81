"""Which part of the package may import which, read from the sources; and that the light parts import no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import metamtl

PACKAGE = Path(metamtl.__file__).parent
# What everyone may use; these import one another and `runs.redact` alone.
GROUND = {"errors", "registry", "failures"}
BUILT = {"algos", "transfer", "multitask", "engine", "backbones", "data", "runs", "config", "build"}
LAYERS = {
    "runs": set(),
    "config": set(),
    "data": set(),
    "backbones": {"data"},  # where a pre-trained encoder lies is known to what cuts its texts
    "engine": {"backbones", "data"},
    "algos": {"engine", "backbones", "data"},
    "transfer": {"engine", "backbones", "data", "runs"},
    "multitask": {"engine", "backbones", "data", "runs"},
    "trackers": {"runs"},
    "comparison": {"runs", "config"},
    "dashboard": {"comparison", "runs"},
    "evaluation": {*BUILT, "families", "opening", "trainer"},  # these two stand side by side
    "trainer": {*BUILT, "families", "opening", "trackers", "evaluation"},
    "sharing": {"algos", "backbones", "data"},
    "opening": {"config", "data"},
    "families": {*BUILT, "sharing"},
    "build": {"algos", "transfer", "multitask", "engine", "backbones", "data", "config"},
    "sweep": {"config", "runs", "engine", "opening", "families", "trainer"},
    "deploy": {*BUILT, "trainer", "evaluation"},
    "bench": {*BUILT, "trainer", "evaluation"},
    "reproduce": {"comparison", "config", "runs"},
    "commands": {
        "reproduce",
        "sweep",
        "comparison",
        "config",
        "runs",
        "trainer",
        "evaluation",
        "deploy",
        "data",
        "cli",
        "bench",
        "dashboard",
    },
    "cli": {"commands", "config"},
    "failures": {"runs"},
}


def imports(path: Path) -> Iterator[str]:
    """The parts of metamtl (`data`, `cli`) that a file imports, at its top or later, except for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("metamtl."):
                yield name.split(".")[1]


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def wrong(part_name: str, imported: str) -> bool:
    return imported not in {part_name, *GROUND, "__version__"} | LAYERS.get(part_name, set())


def test_arrows_point_one_way() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if part(path) in LAYERS]
    assert len(files) > 50
    against = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files
        for name in imports(path)
        if wrong(part(path), name)
    ]
    assert against == []


def test_the_rule_would_be_noticed_if_broken(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from metamtl.trainer.loop import Trainer\n")
    assert list(imports(file)) == ["trainer"]
    assert wrong("runs", "trainer")
    assert not wrong("commands", "trainer")


HEAVY = ("torch", "matplotlib", "wandb", "sklearn", "numba")


@pytest.mark.parametrize(
    ("parts", "heavy"),
    [
        (("cli.py", "config", "runs", "commands", "comparison", "reproduce", "failures.py"), HEAVY),
        (("cli.py", "commands", "config/library.py", "config/complete.py"), (*HEAVY, "hydra", "omegaconf", "numpy")),
    ],
    ids=["no torch", "no Hydra"],
)
def test_light_parts_import_nothing_heavy(parts: tuple[str, ...], heavy: tuple[str, ...]) -> None:
    files = [file for name in parts for file in ([PACKAGE / name] if "." in name else (PACKAGE / name).glob("*.py"))]
    modules = [".".join(("metamtl", *file.relative_to(PACKAGE).with_suffix("").parts)) for file in files]
    program = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(*set({heavy!r}) & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_data_sources_are_listed_without_torch() -> None:
    program = """
import sys
from metamtl.registry import lookup
for name in ("glyphs", "omniglot", "cifar_fs", "folder", "mini_imagenet", "sinusoid"):
    lookup("data", name)
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_list_imports_neither_torch_nor_hydra() -> None:
    program = """
import sys
from metamtl.cli import main
main(["list"]); main(["--help"]); main(["completion", "--words", "train", "algo="])
print({"torch", "hydra", "omegaconf", "numpy"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"

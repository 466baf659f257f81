"""metamtl: multi-task meta-learning, few-shot adaptation and knowledge transfer as one composition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metamtl.deploy.model import load as load
    from metamtl.deploy.record import load_predictor as load_predictor

__version__ = "0.1.0"

_LAZY = {"load": "metamtl.deploy.model", "load_predictor": "metamtl.deploy.record"}


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is used: `import metamtl` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module 'metamtl' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})

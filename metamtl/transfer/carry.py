"""Putting a source's weights into a target's network, name by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metamtl.errors import UsageError
from metamtl.transfer.knowledge import Knowledge


def plain_name(name: str) -> str:
    """The name that a weight has in a network whose layers are not reshaped."""
    return name.replace(".parametrizations", "").removesuffix(".original")


def targets(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network's backbone and head by their plain names; what reshaping added is left out."""
    found = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        if ".parametrizations." not in name or name.endswith(".original"):
            found[plain_name(name)] = tensor
    return found


def carry(network: nn.Module, knowledge: Knowledge, head: bool = False) -> list[str]:
    """Copies the backbone, and the head where it is wanted; the names of what was copied.

    Raises UsageError where a weight is absent from the source or of another shape.
    """
    if any(name.startswith("film.") for name in knowledge.parameters) and getattr(network, "film", None) is None:
        run = knowledge.provenance.get("run", "the source")
        raise UsageError(
            f"transfer.source: the features of {run} are modulated by its task: add film to the target's strategies, "
            "as in transfer=[finetune,film]."
        )
    wanted = targets(network)
    own = dict(network.named_parameters())
    carried = []
    with torch.no_grad():
        for name, tensor in wanted.items():
            if not name.startswith(("backbone.", "head.") if head else "backbone."):
                continue  # a task encoder, which transfer=film carries
            if name not in knowledge.parameters and name not in own:
                continue  # a running average that the source has no need of, or a shift that reshaping added
            tensor.copy_(fitting(name, tensor, knowledge.parameters, knowledge.provenance))
            carried.append(name)
    return carried


def fitting(name: str, like: Tensor, parameters: Mapping[str, Tensor], provenance: Mapping[str, object]) -> Tensor:
    """The source's tensor of that name on the target's device; UsageError where it does not fit."""
    run = provenance.get("run", "the source")
    found = parameters.get(name)
    if found is None:
        raise UsageError(
            f"transfer.source: {run} has no weight {name}: give the target the backbone that the source was trained "
            "with (backbone=... and its keys)."
        )
    if found.shape != like.shape:
        raise UsageError(
            f"transfer.source: {name} is {list(found.shape)} in {run} and {list(like.shape)} here: give both the same "
            "backbone and inputs of one shape."
        )
    return found.to(like)

"""Parameters under dotted names, for methods that meta-learn something for every weight of a network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Named(nn.Module):
    """Holds a parameter for each name, which may have dots as a network's weights do."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in values.items():
            place: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if part not in dict(place.named_children()):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.register_parameter(last, nn.Parameter(value.detach().clone()))

    def values(self) -> dict[str, Tensor]:
        """The parameters by their names."""
        return dict(self.named_parameters())

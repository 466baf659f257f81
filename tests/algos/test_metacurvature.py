"""Meta-Curvature against matrix products written out, and against MAML."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metamtl.algos.metacurvature import MetaCurvature
from tests.algos.suite import TINY, Blobs, engine_of, make, outputs_of


def metacurvature(backbone: str = "mlp", **changes: Any) -> MetaCurvature:
    learner = make("metacurvature", backbone, "batch", **changes)
    assert isinstance(learner, MetaCurvature)
    return learner


def test_a_convolutions_gradient_is_multiplied_along_its_axes() -> None:
    """Output channels, input channels, and the kernel's places taken together (equation 7)."""
    learner, generator = metacurvature("conv4", inner_lr=1.0), torch.Generator().manual_seed(0)
    name = "backbone.blocks.1.0.weight"
    matrices = {n: w for n, w in learner.curvature.values().items() if n.startswith(name)}
    assert [matrices[f"{name}.{axis}"].shape[0] for axis in range(3)] == [8, 8, 9]
    with torch.no_grad():
        for matrix in matrices.values():
            matrix.copy_(torch.randn(matrix.shape, generator=generator))
    gradient = torch.randn(8, 8, 3, 3, generator=generator, dtype=torch.float64)
    outs, ins, places = (matrices[f"{name}.{axis}"] for axis in range(3))
    wanted = -torch.einsum("ao,bi,ck,oik->abc", outs, ins, places, gradient.flatten(2)).view(8, 8, 3, 3)
    moved = learner.update({name: torch.zeros(8, 8, 3, 3, dtype=torch.float64)}, {name: gradient}, 0)
    torch.testing.assert_close(moved[name], wanted)


@pytest.mark.parametrize("backbone", ["mlp", "conv4"])
def test_it_starts_as_maml_and_learns_its_matrices(backbone: str) -> None:
    batch = Blobs(TINY[backbone]).tasks(2)
    learner, maml = metacurvature(backbone, inner_steps=2), make("maml", backbone, "batch", inner_steps=2)
    found, wanted = (engine_of(one).meta_gradient([batch]).gradient for one in (learner, maml))
    for name, g in wanted.items():
        torch.testing.assert_close(found[name], g, rtol=1e-9, atol=1e-10)
    moved = {name.rsplit(".", 1)[-1] for name, g in found.items() if "curvature" in name and g.abs().max() > 0}
    assert moved == ({"0", "1"} if backbone == "mlp" else {"0", "1", "2"})


def test_other_matrices_adapt_otherwise() -> None:
    task = Blobs((12,)).tasks(1).single()
    assert isinstance(task.query.x, torch.Tensor)
    learner, maml = metacurvature(), make("maml", "mlp", "batch")
    same = outputs_of(learner, task.support, task.query.x)
    torch.testing.assert_close(same, outputs_of(maml, task.support, task.query.x))
    with torch.no_grad():
        learner.curvature.values()["head.weight.1"].mul_(2.0)
    assert not torch.allclose(outputs_of(learner, task.support, task.query.x), same, rtol=1e-3)

"""What may happen to inputs after training, at five severities, and to the labels of a support set.

In the manner of Hendrycks & Dietterich (2019), Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations, ICLR, section 3, for inputs of any size and scale: noise is measured in standard deviations of the
inputs, blur in shares of a picture's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.data.task import Examples

NOISE = (0.2, 0.4, 0.6, 0.8, 1.0)  # standard deviations of the inputs
BLUR = (0.02, 0.03, 0.05, 0.07, 0.1)  # standard deviation of a Gaussian, as a share of the longer side
ROTATION = (10.0, 20.0, 30.0, 45.0, 60.0)  # degrees, either way
WRONG_LABELS = (0.2, 0.4)  # shares of the support set
Disturb = Callable[..., Tensor]  # of inputs, a `severity` and a `seed`


def noisy(x: Tensor, severity: float, seed: int) -> Tensor:
    """x [...] with Gaussian noise of `severity` times its own standard deviation."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=random, dtype=torch.float32).to(x)
    return x + severity * x.std() * noise


def blurred(x: Tensor, severity: float, seed: int) -> Tensor:
    """Pictures [..., H, W] under a Gaussian of `severity` times their longer side; borders are continued."""
    maps = x.reshape(-1, 1, *x.shape[-2:])
    sigma = severity * max(x.shape[-2:])
    reach = min(math.ceil(3 * sigma), *(side - 1 for side in x.shape[-2:]))
    places = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(maps, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(rows, kernel.view(1, 1, -1, 1)).view(x.shape)


def rotated(x: Tensor, severity: float, seed: int) -> Tensor:
    """Pictures [..., C, H, W] turned by `severity` degrees, each one way or the other; borders are continued."""
    maps = x.reshape(-1, *x.shape[-3:])
    random = torch.Generator().manual_seed(seed)
    ways = torch.randint(2, (len(maps),), generator=random).to(x) * 2 - 1
    angles = ways * math.radians(severity)
    sine, cosine, nothing = angles.sin(), angles.cos(), torch.zeros_like(angles)
    height, width = x.shape[-2:]
    # coordinates run from -1 to 1 along either side, whatever its length
    rows = (cosine, -sine * height / width, nothing, sine * width / height, cosine, nothing)
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(maps.shape), align_corners=False)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False).view(x.shape)


INPUTS: Mapping[str, tuple[Disturb, tuple[float, ...]]] = {
    "noise": (noisy, NOISE),
    "blur": (blurred, BLUR),
    "rotation": (rotated, ROTATION),
}


def mislabelled(support: Examples, share: float, seed: int) -> Examples:
    """A batch of support sets in which a `share` of the labels [T, N], two at least, are exchanged between classes.

    Exchanged, so that every class keeps as many examples: without one, methods of class means would have nothing to
    say. An example keeps its label where more than half of those chosen are of its class.
    """
    labels = support.labels
    random = torch.Generator().manual_seed(seed)
    count = min(max(2, round(share * labels.shape[1])), labels.shape[1])
    chosen = torch.rand(labels.shape, generator=random).argsort(1)[:, :count].to(labels.device)
    # in the order of their classes, and half of them on: another class
    chosen = chosen.gather(1, labels.gather(1, chosen).argsort(dim=1, stable=True))
    exchanged = labels.gather(1, chosen).roll(count // 2, 1)
    return Examples(support.x, labels.scatter(1, chosen, exchanged), support.ways)

"""What `build_parts` does to the tensors of a learner."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metamtl.build import build_parts
from metamtl.config.compose import compose
from metamtl.data.opening import open_source

SINUSOID = ("algo=maml", "data=sinusoid", "trainer.device=cpu", "engine=loop")


class Volumes(nn.Module):
    """A number as an image and as a volume, through a kernel of each; the image's is frozen."""

    features = 2

    def __init__(self) -> None:
        super().__init__()
        self.volume = nn.Conv3d(1, 2, 2, padding=1)
        self.register_buffer("image", torch.randn(2, 2, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, 2]."""
        maps: Tensor = self.volume(x[:, :, None, None, None]).mean(2)
        return torch.conv2d(maps, self.get_buffer("image"), padding=1).mean((2, 3))


def test_kernels_of_images_have_their_channels_last_and_no_other_tensor_is_touched() -> None:
    config = compose(SINUSOID)
    learner = build_parts(config, open_source(config), backbone=Volumes()).learner
    strides = {name.rpartition(".")[2]: tensor.stride() for name, tensor in learner.network.backbone.named_buffers()}
    assert strides == {"image": (18, 1, 6, 2)}
    assert all(weight.is_contiguous() for weight in learner.parameters())

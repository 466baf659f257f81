"""Small shapes: a meta-gradient of a few milliseconds."""

from __future__ import annotations

from metamtl.bench.shapes import Shape

_IMAGES = (
    *("algo=maml", "data=glyphs", "backbone=conv4", "backbone.width=4", "backbone.blocks=2", "algo.inner_lr=0.5"),
    *("task.ways=3", "task.shots=2", "task.queries=2", "trainer.meta_batch=3", "algo.inner_steps=2"),
)
STRIDED = Shape("strided", (*_IMAGES, "backbone.downsample=stride", "backbone.readout=mean"), (1, 8, 8))
POOLED = Shape("pooled", (*_IMAGES, "backbone.downsample=pool", "backbone.norm=none"), (3, 9, 9))
WAVES = Shape(
    "waves",
    (
        *("algo=maml", "data=sinusoid", "task.shots=3", "task.queries=4", "trainer.meta_batch=3"),
        *("algo.inner_steps=2", "algo.inner_lr=0.1", "backbone.hidden=[6,5]", "backbone.norm=batch"),
    ),
)
SMALL = (STRIDED, POOLED, WAVES)

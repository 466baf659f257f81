"""Families whose labels are more than a class or a few numbers: regions of a picture, boxes, several classes at once.

What is missing (-1 of classes, NaN of numbers) takes part neither in a loss nor in a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.data.family import Family, Ratio, mean_of_known
from metamtl.data.source import Source
from metamtl.data.task import Examples, at_least_single
from metamtl.errors import UsageError


class Segmentation(Family):
    """A class for each pixel: cross-entropy, mean intersection over union of the classes, and accuracy.

    As usual since Long, Shelhamer & Darrell (2015), Fully Convolutional Networks for Semantic Segmentation, CVPR:
    outputs are made at the size of the backbone's last map and brought to that of the labels, `size`, bilinearly;
    intersections and unions are counted over all pixels of a split.
    """

    metric = "iou"
    higher_is_better = True

    def __init__(self, name: str, classes: int, size: Sequence[int]) -> None:
        super().__init__(name, classes)
        self.size = (int(size[0]), int(size[1]))
        of_class = tuple(Ratio({f"both/{c}": 1}, {f"either/{c}": 1}) for c in range(classes))
        self.ratios: Mapping[str, Sequence[Ratio]] = {
            "iou": of_class,
            "pixel_accuracy": (Ratio({f"both/{c}": 1 for c in range(classes)}, {"pixels": 1}),),
        }

    def read(self, backbone: nn.Module) -> None:
        """Asks for the last map."""
        if not getattr(backbone, "has_maps", True):
            raise UsageError(
                f"{self.name} labels pixels, and sharing=trunk and cascade hand features on and no map: take "
                "sharing=hard, film, mmoe, cross_stitch or stem."
            )
        if not hasattr(backbone, "of_maps"):
            raise UsageError(f"{self.name} labels pixels, for which this backbone has no map: take conv4 or resnet12.")
        backbone.of_maps = True  # type: ignore[assignment]

    def head(self, features: int) -> nn.Module:
        """The last map [N, features, h, w] to outputs [N, classes, H, W]."""
        return nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(features, self.outputs, 1),
            nn.Upsample(size=self.size, mode="bilinear", align_corners=False),
        )

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean cross-entropy [] of outputs [N, classes, H, W] over the pixels whose class is known."""
        labels = examples.labels
        each = F.cross_entropy(at_least_single(outputs), labels.clamp(min=0), reduction="none")
        return mean_of_known(each, labels >= 0)

    def metrics(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """Figures of these pictures alone: `iou` over the classes that are there or predicted, and `pixel_accuracy`."""
        counts = self.counts(outputs, examples)
        both, either = (
            torch.stack([counts[f"{kind}/{c}"] for c in range(self.outputs)]) for kind in ("both", "either")
        )
        present = either > 0
        iou = (both / either.clamp(min=1)).sum() / present.sum()
        return {"iou": iou, "pixel_accuracy": both.sum() / counts["pixels"]}

    def counts(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """`pixels` that are labelled; of each class those labelled and predicted so, `both`, or one of it, `either`."""
        labels, number = examples.labels, at_least_single(outputs).dtype
        found, known = outputs.argmax(1), labels >= 0
        counts = {"pixels": known.sum().to(number)}
        for c in range(self.outputs):
            so_labelled, so_found = labels == c, (found == c) & known
            counts[f"both/{c}"] = (so_labelled & so_found).sum().to(number)
            counts[f"either/{c}"] = (so_labelled | so_found).sum().to(number)
        return counts


class Boxes(Family):
    """One box an example, its corners xmin, ymin, xmax and ymax as shares of the sides; NaN where there is none.

    Outputs are the logits of centre and size. The loss is five times the L1 distance of these and twice one less the
    generalised intersection over union (Rezatofighi et al. 2019, CVPR), as in Carion et al. (2020), End-to-End Object
    Detection with Transformers, ECCV, section 3.1, with the weights of its appendix.
    """

    metric = "iou"
    higher_is_better = True
    distance_weight, overlap_weight = 5.0, 2.0

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean loss [] of outputs [N, 4] over the examples that have a box."""
        found, wanted, known = self._boxes(outputs, examples)
        distance = (_centred(found) - _centred(wanted)).abs().sum(1)
        inside, union, around = _areas(found, wanted)
        overlap = inside / union - (around - union) / around
        return mean_of_known(self.distance_weight * distance + self.overlap_weight * (1 - overlap), known)

    def metrics(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """`iou`, the mean intersection over union; NaN where no example has a box."""
        found, wanted, known = self._boxes(outputs, examples)
        inside, union, _ = _areas(found, wanted)
        return {"iou": (inside / union).masked_fill(~known, 0.0).sum() / known.sum()}

    def _boxes(self, outputs: Tensor, examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
        """Corners [N, 4] predicted and wanted (the whole picture where none is), and which are known."""
        centre, side = at_least_single(outputs).sigmoid().chunk(2, 1)
        known = ~examples.labels.isnan().any(1)
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).to(examples.labels)
        wanted = torch.where(known[:, None], examples.labels, whole)
        return torch.cat([centre - side / 2, centre + side / 2], 1), wanted, known


class SeveralClasses(Family):
    """Classes that are each there or not, 1 or 0: binary cross-entropy, F1 over all of them, accuracy and ranking.

    `average_precision` is each example's own, of the ranking of its classes by their outputs, and the mean over those
    examples that have any class (Schapire & Singer 2000, BoosTexter, Machine Learning 39, section 3).
    """

    metric = "f1"
    higher_is_better = True
    ratios: Mapping[str, Sequence[Ratio]] = {
        "f1": (Ratio({"right": 2}, {"found": 1, "there": 1}),),
        "precision": (Ratio({"right": 1}, {"found": 1}),),
        "recall": (Ratio({"right": 1}, {"there": 1}),),
    }

    def said(self, outputs: Tensor) -> Tensor:
        """The probability of each class by itself."""
        return at_least_single(outputs).sigmoid().to(outputs)

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean binary cross-entropy [] of logits [N, classes] over the labels that are known."""
        labels, logits = examples.labels, at_least_single(outputs)
        each = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).to(logits.dtype), reduction="none")
        return mean_of_known(each, labels >= 0)

    def metrics(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """`accuracy` over the labels that are known, `average_precision`, and the `f1` of these examples alone."""
        known, there, counts = examples.labels >= 0, examples.labels == 1, self.counts(outputs, examples)
        hits = ((outputs > 0) == there) & known
        f1 = 2 * counts["right"] / (counts["found"] + counts["there"])
        average = _average_precision(outputs, there, known).to(f1.dtype)
        return {"f1": f1, "accuracy": hits.sum().to(f1.dtype) / known.sum(), "average_precision": average}

    def counts(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """How many classes are `there`, how many are `found`, and how many of these `right`."""
        number = at_least_single(outputs).dtype
        there, found = examples.labels == 1, (outputs > 0) & (examples.labels >= 0)
        counted = {"right": there & found, "found": found, "there": there}
        return {name: these.sum().to(number) for name, these in counted.items()}


def dense_family(source: Source) -> Family | None:
    """The family of a source of such labels; None of any other."""
    made: Mapping[str, Callable[[], Family]] = {
        "segmentation": lambda: Segmentation(source.name, source.output_size or 1, source.input_shape[1:]),
        "boxes": lambda: Boxes(source.name, 4),
        "multilabel": lambda: SeveralClasses(source.name, source.output_size or 1),
    }
    return made[source.kind]() if source.kind in made else None


def _average_precision(outputs: Tensor, there: Tensor, known: Tensor) -> Tensor:
    """The mean [] over examples of the share of classes there among those ranked no lower than each that is there."""
    no_lower = (outputs[:, None, :] >= outputs[:, :, None]) & known[:, None, :]
    share = (no_lower & there[:, None, :]).sum(2) / no_lower.sum(2).clamp(min=1)
    each = share.masked_fill(~there, 0.0).sum(1) / there.sum(1).clamp(min=1)
    return each.sum() / there.any(1).sum()


def _centred(corners: Tensor) -> Tensor:
    """Centre and size [N, 4] of corners [N, 4]."""
    low, high = corners.chunk(2, 1)
    return torch.cat([(low + high) / 2, high - low], 1)


def _areas(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of pairs of boxes [N, 4] the areas [N] of intersection, union and the least box around both."""
    (a_low, a_high), (b_low, b_high) = first.chunk(2, 1), second.chunk(2, 1)
    inside = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0).prod(1)
    union = (a_high - a_low).prod(1) + (b_high - b_low).prod(1) - inside
    around = (torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)).prod(1)
    return inside, union, around

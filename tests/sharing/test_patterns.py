"""What every sharing pattern shares and what it does not; that tasks under vmap are those of a loop; each by itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metamtl.backbones.conv4 import Conv4
from metamtl.backbones.mlp import MLP
from metamtl.backbones.text import TextEncoder
from metamtl.config.compose import compose
from metamtl.config.library import Library
from metamtl.data.dense import Segmentation, SeveralClasses
from metamtl.data.family import Classification
from metamtl.data.labelled import LabelledClasses
from metamtl.data.tagging import Tagging
from metamtl.engine.network import Network
from metamtl.errors import UsageError
from metamtl.families import Families, build_families
from metamtl.opening import open_sources
from metamtl.registry import build
from metamtl.sharing.base import Shape, Sharing
from metamtl.sharing.film import Modulated
from metamtl.trainer.optim import make_optimizer, set_rate
from metamtl.trainer.transfer import Application
from tests.multitask.test_families import WAVES, gradients

OPTIONS = Library.load().groups["sharing"]
PATTERNS = sorted(OPTIONS)
# of each family's weights, whose names hold one of these are its own
OWN: Mapping[str, tuple[str, ...]] = {
    "hard": (".head.",),
    "film": (".head.", ".embedding"),
    "mmoe": (".head.", ".gate."),
    "cross_stitch": (".head.",),
    "cascade": (".head.", ".labels"),
    "grouped": (".head.",),
    "stem": (".head.", ".layers.0."),
    "trunk": (".head.", ".inner.", ".bring."),
}
VECTOR: Shape = (5,)
IMAGE: Shape = (3, 16, 16)
TEXT: Shape = (7, 2)


def pattern(name: str, **options: Any) -> Sharing:
    found: Sharing = build("sharing", {**OPTIONS[name].raw, **options})
    return found


def a_backbone(shape: Shape) -> nn.Module:
    if shape == VECTOR or len(shape) == 1:
        return MLP(input_shape=shape, hidden=[6, 6], norm="running")
    if len(shape) == 3:
        return Conv4(input_shape=shape, width=4, blocks=2, downsample="pool", readout="flatten", norm="running")
    return TextEncoder(input_shape=shape, vocabulary=20, width=6, blocks=2, readout="both", norm="group")


def backbones(name: str, *shapes: Shape, **options: Any) -> list[nn.Module]:
    torch.manual_seed(0)
    named = {f"family{number}": shape for number, shape in enumerate(shapes)}
    return list(pattern(name, **options).backbones(named, lambda family: a_backbone(named[family])).values())


def inputs(shape: Shape, count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 20, (count, *shape), generator=generator) if len(shape) == 2 else torch.rand(count, *shape)


@cache
def waves() -> dict[str, Any]:
    return compose([*WAVES, "backbone.hidden=[8,8]"])


def families_of(sharing: str, engine: str = "auto", **options: Any) -> Families:
    config = {**waves(), "sharing": {**OPTIONS[sharing].raw, **options}, "engine": engine}
    return build_families(config, open_sources(config))


# ---- what holds for all ----


@pytest.mark.parametrize("name", PATTERNS)
def test_what_should_be_shared_is_and_nothing_else(name: str) -> None:
    families = families_of(name)
    shared = {id(weight) for weight in families.shared_weights}
    low, high = (dict(parts.learner.named_parameters()) for parts in families.each.values())
    assert shared
    for weights in (low, high):
        for weight_name, weight in weights.items():
            own = any(part in f".{weight_name}" for part in OWN[name])
            if name == "cascade" and (weights is low or ".backbone.head." in weight_name):
                own = False  # the head below belongs to both
            assert (id(weight) in shared) != own, weight_name


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("shape", [VECTOR, IMAGE], ids=["vector", "image"])
def test_no_buffer_is_shared(name: str, shape: Shape) -> None:
    one, two = backbones(name, shape, shape)
    first, second = ({id(buffer) for buffer in backbone.buffers()} for backbone in (one, two))
    assert first and not first & second


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("shape", [VECTOR, IMAGE, TEXT], ids=["vector", "image", "text"])
def test_features_are_as_long_as_they_say(name: str, shape: Shape) -> None:
    for backbone in backbones(name, shape, shape):
        assert backbone(inputs(shape)).shape == (4, backbone.features)


@pytest.mark.parametrize("name", PATTERNS)
def test_padding_says_nothing(name: str) -> None:
    """With weights that begin at zero moved, such as those of a modulation."""
    x = inputs(TEXT)
    longer = torch.cat([x, x.new_zeros(len(x), 3, x.shape[2])], 1)
    for backbone in backbones(name, TEXT, TEXT):
        for weight in backbone.parameters():
            nn.init.normal_(weight, std=0.1)
        torch.testing.assert_close(backbone(longer), backbone(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(PATTERNS) - {"cascade"}))
def test_a_family_may_ask_for_words(name: str) -> None:
    sentences, words = backbones(name, TEXT, TEXT)
    words.of_words = True  # type: ignore[assignment]
    assert words(inputs(TEXT)).shape == (4, 7, words.features)
    assert sentences(inputs(TEXT)).shape == (4, sentences.features)


@pytest.mark.parametrize("name", sorted(set(PATTERNS) - {"trunk", "cascade"}))
def test_a_family_may_ask_for_a_map(name: str) -> None:
    flat, maps = backbones(name, IMAGE, IMAGE)
    maps.of_maps = True  # type: ignore[assignment]
    assert maps(inputs(IMAGE)).shape == (4, maps.features, 4, 4)
    assert flat(inputs(IMAGE)).shape == (4, 64)


def test_a_family_of_pixels_is_told_which_sharing_has_no_map() -> None:
    with pytest.raises(UsageError, match=r"labels pixels, and sharing=trunk and cascade hand .* take sharing=hard"):
        Segmentation("outlines", 2, IMAGE[1:]).read(backbones("trunk", IMAGE)[0])


@pytest.mark.parametrize("name", PATTERNS)
def test_an_update_moves_every_weight_and_is_the_same_in_a_loop_and_under_vmap(name: str) -> None:
    found = {}
    for how in ("loop", "vmap"):
        families = families_of(name, how)
        if name == "film":
            for module in families.module.modules():  # gamma and beta are zero at first
                if isinstance(module, nn.Linear) and module.in_features == 8 and module.out_features == 16:
                    nn.init.normal_(module.weight, generator=torch.Generator().manual_seed(2))
        found[how] = families.combined(*gradients(families), 0)
    assert found["loop"].keys() == {weight for weight, _ in families.module.named_parameters()}
    for weight, slope in found["loop"].items():
        torch.testing.assert_close(found["vmap"][weight], slope, rtol=1e-9, atol=1e-12)
        assert slope.any(), weight


@pytest.mark.parametrize("name", sorted(set(PATTERNS) - {"stem", "trunk"}))
def test_other_input_shapes_are_refused_where_they_cannot_be_shared(name: str) -> None:
    with pytest.raises(UsageError, match=rf"sharing={name} needs inputs of one shape: those of family0 are \[5\]"):
        backbones(name, VECTOR, (6,))


# ---- each by itself ----


def test_film_begins_as_the_plain_backbone_and_may_then_differ_by_family() -> None:
    (plain,), (one, two) = backbones("hard", IMAGE), backbones("film", IMAGE, IMAGE)
    x = inputs(IMAGE)
    torch.testing.assert_close(one(x), two(x))
    torch.manual_seed(0)
    torch.testing.assert_close(one(x), plain(x))
    modulated = [module for module in one.modules() if isinstance(module, Modulated)]
    for module in modulated:
        nn.init.normal_(module.film.weight)
    assert not torch.allclose(one(x), two(x))
    assert len(modulated) == 2 and len({id(module.embedding) for module in modulated}) == 1


def test_film_says_what_a_head_of_the_familys_own_cannot() -> None:
    """Scales and shifts before the last rectifier may switch a feature on that is nought everywhere without them."""
    (one,) = backbones("film", VECTOR)
    *_, last = (module for module in one.modules() if isinstance(module, Modulated))
    with torch.no_grad():
        last.layer = nn.Identity()
        last.film.bias[:6] = -2.0  # gamma: what was below zero is above it
    x = inputs(VECTOR)
    linear = one.layers[1][0](one.layers[0](x))  # type: ignore[index, operator]
    torch.testing.assert_close(one(x), torch.relu(-linear))


def test_mmoe_mixes_the_experts_by_a_gate_of_the_family() -> None:
    one, two = backbones("mmoe", VECTOR, VECTOR, experts=3)
    x = inputs(VECTOR)
    every = torch.stack([expert(x) for expert in one.inner])  # type: ignore[union-attr]
    shares = torch.softmax(one.gate(every.mean(0)), 1)  # type: ignore[operator]
    torch.testing.assert_close(one(x), torch.einsum("ne,end->nd", shares, every))
    assert not torch.allclose(one(x), two(x))
    with torch.no_grad():
        two.gate.bias.copy_(torch.tensor([0.0, 50.0, 0.0]))  # type: ignore[union-attr, operator]
    torch.testing.assert_close(two(x), every[1])


def test_cross_stitch_is_apart_with_all_of_its_own_and_mixes_otherwise() -> None:
    x = inputs(VECTOR)
    torch.manual_seed(0)
    alone = [a_backbone(VECTOR) for _ in range(2)]
    for column, plain in zip(backbones("cross_stitch", VECTOR, VECTOR, own=1.0), alone, strict=True):
        torch.testing.assert_close(column(x), plain(x))
    one, two = backbones("cross_stitch", VECTOR, VECTOR, own=0.5)
    torch.testing.assert_close(one(x), two(x))  # halves of both after every block
    assert not torch.allclose(one(x), alone[0](x))


def test_units_of_cross_stitch_learn_at_a_pace_of_their_own() -> None:
    families = families_of("cross_stitch", pace=30.0)
    application = Application(families)
    optimizer = make_optimizer(
        {"name": "sgd", "lr": 0.0, "weight_decay": 0.0, "momentum": 0, "nesterov": False}, application.groups()
    )
    before = {name: weight.detach().clone() for name, weight in families.module.named_parameters()}
    for weight in families.module.parameters():
        weight.grad = torch.ones_like(weight)
    set_rate(optimizer, 0.01, lambda part: application.rate(part, 0))
    optimizer.step()
    for name, weight in families.module.named_parameters():
        moved = before[name] - weight
        torch.testing.assert_close(moved, torch.full_like(moved, 0.3 if name.endswith(".alpha") else 0.01))
    assert [group["part"] for group in Application(families_of("cross_stitch", pace=1.0)).groups()] == ["rest"]


def test_a_cascade_shows_a_head_what_another_says() -> None:
    families = families_of("cascade")
    low, high = (parts.learner.network for parts in families.each.values())
    x = torch.rand(4, 1, dtype=torch.float64)
    features = high.backbone(x)
    torch.testing.assert_close(features[:, 8:], low(x, True) @ high.backbone.labels)  # numbers, as they are
    torch.testing.assert_close(features[:, :8], low.backbone(x))
    assert low.head is not None
    slopes = torch.autograd.grad(high(x, True).sum(), list(low.head.parameters()))
    assert slopes[0].any()


def test_a_cascade_tells_the_labels_by_their_probabilities() -> None:
    """The outputs themselves are linear in the features, so that a linear head would learn nothing of them."""
    network = Network(a_backbone(VECTOR), nn.Linear(6, 3), "running")
    several = SeveralClasses("several", 3)
    x = inputs(VECTOR)
    for family in (Classification("one", 3), LabelledClasses("labelled", 3), Tagging("tags", "abc"), several):
        below = SimpleNamespace(network=network, family=family)
        fed = pattern("cascade", feeds={"high": "low"}).joined("high", a_backbone(VECTOR), {"low": below})  # type: ignore[dict-item]
        outputs, told = network(x, True), fed(x)[:, 6:]
        expected = outputs.sigmoid() if family is several else outputs.softmax(-1)
        torch.testing.assert_close(told, expected @ fed.labels)
        assert fed.features == 6 + 32


@pytest.mark.parametrize("feeds", [{"low": "high"}, {"high": "lower"}, {"higher": "low"}])
def test_a_cascade_against_the_order_is_refused(feeds: dict[str, str]) -> None:
    ((fed, below),) = feeds.items()
    with pytest.raises(UsageError, match=rf"sharing.feeds.{fed}={below}: name a family and one that stands before it"):
        families_of("cascade", feeds=feeds)


def test_a_cascade_needs_a_head_with_outputs() -> None:
    cascade = pattern("cascade")
    found = cascade.backbones({"low": VECTOR, "high": VECTOR}, lambda _: a_backbone(VECTOR))
    headless = SimpleNamespace(network=Network(found["low"], None, "running"))
    with pytest.raises(UsageError, match="the family low has no linear head whose outputs high could see"):
        cascade.joined("high", found["high"], {"low": headless})  # type: ignore[dict-item]


def test_groups_have_nothing_in_common() -> None:
    one, two, three = backbones("grouped", VECTOR, VECTOR, (6,), groups=[["family0", "family1"]])
    assert next(one.parameters()) is next(two.parameters())
    assert not {id(weight) for weight in one.parameters()} & {id(weight) for weight in three.parameters()}
    families = families_of("grouped", groups=[["low"], ["high"]])
    assert not families.shared_weights
    update = families.combined(*gradients(families), 0)
    assert update.keys() == {name for name, _ in families.module.named_parameters()}
    for wrong in (["family0", "other"], ["family0", "family0"]):
        with pytest.raises(UsageError, match=f"sharing.groups: {wrong[1]} must be a family, in one group"):
            backbones("grouped", VECTOR, VECTOR, groups=[wrong])


def test_a_stem_takes_inputs_of_other_shapes() -> None:
    grey, colour = backbones("stem", (1, 8, 8), IMAGE)
    assert grey.blocks[0] is not colour.blocks[0]  # type: ignore[index]
    shared = {id(weight) for weight in grey.parameters()} & {id(weight) for weight in colour.parameters()}
    assert shared == {id(weight) for weight in grey.blocks[1].parameters()}  # type: ignore[index, union-attr]
    assert colour(inputs(IMAGE)).shape == (4, colour.features) != grey(inputs((1, 8, 8))).shape
    with pytest.raises(UsageError, match="block 1 of family1 has other sizes than that of family0"):
        backbones("stem", VECTOR, (6,), blocks=0)
    with pytest.raises(UsageError, match="the backbone has 2 blocks, so none is shared"):
        backbones("stem", VECTOR, (6,), blocks=2)


def test_an_image_and_a_text_share_a_trunk() -> None:
    image, text = backbones("trunk", IMAGE, TEXT, width=9, hidden=[8, 7])
    assert image(inputs(IMAGE)).shape == text(inputs(TEXT)).shape == (4, 7)
    shared = {id(weight) for weight in image.parameters()} & {id(weight) for weight in text.parameters()}
    assert shared == {id(weight) for weight in image.trunk.parameters()}  # type: ignore[union-attr]
    assert not hasattr(image, "of_maps") and hasattr(text, "of_words")

"""What does not fit is refused in one sentence that names the thing and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from metamtl.backbones.conv4 import Conv4
from metamtl.config.compose import compose
from metamtl.data.dense import SeveralClasses
from metamtl.data.task import Examples
from metamtl.engine.network import Network
from metamtl.errors import MetamtlError, UsageError
from metamtl.families import build_families
from metamtl.opening import open_sources
from metamtl.trainer.transfer import Application
from metamtl.transfer.base import Trained
from metamtl.transfer.coral import Correlation
from metamtl.transfer.ewc import fisher_diagonal
from metamtl.transfer.kd import KD
from metamtl.transfer.teacher import whole
from tests.transfer.made import DIGITS, families_of, with_source

WAVES = ("data=sinusoid", "backbone.hidden=[5]", "trainer.precision=float64", "trainer.meta_batch=2")

PROTOTYPES = ("algo=protonet", "data=glyphs", "backbone.width=4", "trainer.device=cpu")


def refused(*overrides: str) -> str:
    config = compose([*overrides])
    with pytest.raises(UsageError) as found:
        Application(build_families(config, open_sources(config)))
    return str(found.value)


def test_a_strategy_without_its_source() -> None:
    assert refused(*DIGITS, "transfer=finetune") == (
        "transfer=finetune needs a source: transfer.source=outputs/RUN, a run that has been trained."
    )


def test_strategies_that_settle_the_same_thing() -> None:
    said = refused(*DIGITS, "transfer=[finetune,linear_probe]", "transfer.source=x")
    assert said == "transfer=[finetune,linear_probe]: both settle the learning rate of the backbone: take one of them."


def test_two_strategies_that_measure_importance() -> None:
    said = refused(*DIGITS, "transfer=[ewc,si]", "transfer.source=x")
    assert said == "transfer=[ewc,si]: both settle the importance of weights: take one of them."


def test_outputs_that_are_of_no_classes() -> None:
    network = Network(nn.Identity(), nn.Linear(2, 3), "none")
    several = SeveralClasses("tags", 3)
    with pytest.raises(UsageError, match="fixed classes, of which tags has none"):
        KD(weight=1.0, temperature=4.0).terms(network, several)
    assert KD(weight=0.0, temperature=4.0).terms(network, several) == []
    source = Trained(network, several, (2,), lambda _: Examples(torch.zeros(1, 2), torch.zeros(1, 3)))
    with pytest.raises(UsageError, match="predicts one class"):
        fisher_diagonal(source, "exact", 1)


def test_features_of_words_have_no_one_distance() -> None:
    with pytest.raises(UsageError, match="features of whole examples"):
        whole(torch.zeros(2, 5, 3))


def test_several_strategies_in_one_run_keep_their_keys(source: Path, tmp_path: Path) -> None:
    chosen = ["transfer=[l2sp,replay]", f"transfer.source={source}", "transfer.l2sp.weight=0.5"]
    parts = families_of(tmp_path, *DIGITS, *chosen).first
    assert list(parts.learner.terms) == ["l2sp", "replay"]
    assert [parts.learner.terms[name].weight for name in ("l2sp", "replay")] == [0.5, 1.0]


def test_several_sources_for_one() -> None:
    assert "takes one source, not 2" in refused(*DIGITS, "transfer=l2sp", "transfer.source=[a,b]")


def test_penalties_that_a_learner_cannot_take(cache: Path) -> None:
    inner = ("transfer=l2sp", "transfer.l2sp.at=inner")
    assert "no inner loss" in refused("algo=anil", *WAVES, *inner, "transfer.source=x")
    assert "meta-gradient of its own" in refused("algo=reptile", *WAVES, "transfer=l2sp", "transfer.source=x")
    assert "fixed classes" in refused("algo=maml", *WAVES, "transfer=kd", "transfer.source=x")
    assert "has nothing there" in refused(
        *PROTOTYPES, f"paths.cache={cache}", "transfer=linear_probe", "transfer.source=x"
    )


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("finetune", ("backbone.hidden=[7]",), "backbone.layers.0.0.weight is [5, 6] in"),
        ("l2sp", ("backbone.hidden=[5,5]",), "has no weight backbone.layers.1.0.weight"),
        ("fitnet", ("backbone.hidden=[7]",), "the source has 5 and the target 7"),
        ("kd", ("data.target=odd",), "the source has 10 and the target 2"),
        ("attention", (), "the source has 0 blocks"),
        *(
            (name, ("data.components=7",), f"transfer={name}: the source, as a teacher, has to read the target's")
            for name in ("kd", "fitnet", "rkd", "fusion")
        ),
    ],
)
def test_a_source_that_does_not_fit(
    name: str, changes: tuple[str, ...], said: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as found:
        families_of(tmp_path, *DIGITS, *with_source(name, source), *changes)
    assert said in str(found.value) and len(found.value.problems) == 1


def test_a_source_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run: name a folder under outputs/"):
        families_of(tmp_path, *DIGITS, *with_source("finetune", tmp_path / "nothing"))
    torn = tmp_path / "knowledge.pt"
    torn.write_bytes(b"torn")
    with pytest.raises(MetamtlError, match="is refused: it is no knowledge of metamtl's"):
        families_of(tmp_path, *DIGITS, *with_source("finetune", torn))


def test_pictures_of_another_size_have_no_distance() -> None:
    backbone = Conv4(input_shape=(1, 32, 32), width=4, blocks=4, downsample="pool", readout="flatten", norm="batch")
    network, term = Network(backbone, None, "batch"), Correlation(1.0)
    with torch.no_grad():
        term.compared(network, torch.rand(2, 1, 32, 32))  # without a source there is nothing to compare
        term.hold(torch.rand(3, 1, 32, 32))
        term.compared(network, torch.rand(2, 1, 32, 32))
        term.hold(torch.rand(3, 1, 28, 28))
        with pytest.raises(UsageError, match=r"4 features .* 28\], have no distance to 16 .*readout=mean"):
            term.compared(network, torch.rand(2, 1, 32, 32))


def test_layers_that_families_share() -> None:
    families = ("experiment=multitask/digits4", "backbone.hidden=[5]", "transfer=lora", "transfer.source=x")
    assert "which several families share" in refused(*families)

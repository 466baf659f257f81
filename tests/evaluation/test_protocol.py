from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metamtl.backbones import fused
from metamtl.build import Parts, build_parts
from metamtl.data.classes import ClassSource
from metamtl.data.opening import open_source
from metamtl.data.sampler import eval_key
from metamtl.data.source import TaskShape
from metamtl.engine.network import Network
from metamtl.engine.world import World
from metamtl.errors import MetamtlError, UsageError
from metamtl.evaluation import protocol
from metamtl.evaluation.features import worthwhile
from metamtl.evaluation.protocol import episodes_id, evaluate_episodes
from metamtl.evaluation.run import evaluate_run
from metamtl.runs import checkpoints
from metamtl.runs.files import write_json
from metamtl.trainer.run import train_run
from tests.trainer.processes import command, ended, start_together
from tests.trainer.runs import STEPS, Runs, step_of, weights

ALONE = World(0, 1)


def _result(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text())
    return found


def _evaluated(run: Path, *overrides: str) -> Path:
    """The folder of a new evaluation of the run."""
    before = set(run.glob("eval/*"))
    evaluate_run(run, overrides)
    (folder,) = set(run.glob("eval/*")) - before
    return folder


def _parts(runs: Runs, kind: str, *changes: str) -> Parts:
    """The learner in float64 with its first weights, a little moved so that nothing is symmetric."""
    config = runs.config(kind, "trainer.precision=float64", *changes)
    parts = build_parts(config, open_source(config))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in parts.learner.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return parts


# ---- the same figures, however they are computed ----


@pytest.mark.parametrize("kind", ["protonet", "maml"])
def test_figures_are_equal_bit_for_bit_twice_and_on_two_processes(runs: Runs, tmp_path: Path, kind: str) -> None:
    run = runs.copy(runs.finished(kind), tmp_path)
    words = command("eval", str(run), "eval.episodes=250")  # three blocks
    ended(words, tmp_path)
    ended(words, tmp_path)
    assert [one.end() for one in start_together(2, words, tmp_path)] == [0, 0]
    folders = sorted(run.glob("eval/*"))
    processes = [json.loads((folder / "meta.json").read_text())["processes"] for folder in folders]
    assert sorted(processes) == [1, 1, 2]
    assert len({(folder / "episodes.npy").read_bytes() for folder in folders}) == 1
    assert len({(folder / "result.json").read_bytes() for folder in folders}) == 1
    assert np.load(folders[0] / "episodes.npy").shape == (250, 2)


@pytest.mark.parametrize("kind", ["protonet", "baseline"])
@pytest.mark.parametrize("task", [(), ("task.ways=[2,4]", "task.shots=[1,3]")])
def test_cached_features_agree_with_direct_evaluation(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, kind: str, task: tuple[str, ...]
) -> None:
    parts = _parts(runs, kind, *task)
    with parts.testing():
        assert worthwhile(parts, "test", parts.test_shape, 130)
    cached = evaluate_episodes(parts, ALONE, "test", 130)
    monkeypatch.setattr(protocol, "worthwhile", lambda *_: False)
    direct = evaluate_episodes(parts, ALONE, "test", 130)
    for name in direct:
        np.testing.assert_allclose(cached[name], direct[name], rtol=1e-9)
    assert len(np.unique(direct["loss"])) > 120


def test_ten_thousand_episodes_embed_the_split_once(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = []
    query = Network.query

    def counted(self: Network, x: Any, *rest: Any, **options: Any) -> Tensor:
        embedded.append(len(x))
        return query(self, x, *rest, **options)

    monkeypatch.setattr(Network, "query", counted)
    parts = _parts(runs, "protonet")
    assert isinstance(parts.source, ClassSource)
    figures = evaluate_episodes(parts, ALONE, "test", 10_000)
    assert figures["accuracy"].shape == (10_000,)
    assert sum(embedded) == len(parts.source.items("test")) == 36


def test_features_that_depend_on_the_batch_are_never_cached(runs: Runs) -> None:
    parts = _parts(runs, "protonet", "backbone.norm=batch")
    with parts.testing():
        assert not worthwhile(parts, "test", parts.test_shape, 10_000)


@pytest.mark.parametrize("kind", ["protonet", "maml", "sinusoid"])
@pytest.mark.parametrize("engine", ["vmap", "loop"])
def test_variable_shapes_keep_the_order_of_the_episodes(runs: Runs, kind: str, engine: str) -> None:
    ways = ("task.ways=[2,4]",) if kind != "sinusoid" else ()
    parts = _parts(runs, kind, *ways, "task.shots=[1,3]", f"engine={engine}")
    shape, seed = parts.test_shape, parts.config["eval"]["seed"]
    key = eval_key(seed, parts.source, "test", shape)
    figures = evaluate_episodes(parts, ALONE, "test", 30)
    with parts.testing():
        for number in range(30):
            (arrays,) = parts.source.episodes("test", shape, np.array([number]), key)
            alone = parts.engine.evaluate([parts.preparation.batch(arrays)])
            for name, values in figures.items():
                np.testing.assert_allclose(values[number], alone[name].item(), rtol=1e-9)


# ---- which episodes ----


def test_runs_of_all_seeds_and_methods_meet_the_same_episodes(runs: Runs) -> None:
    def of(kind: str, *changes: str, split: Any = "test", episodes: int = 20) -> str:
        parts = _parts(runs, kind, *changes)
        return episodes_id(parts, split, parts.test_shape, episodes)

    same = of("protonet")
    assert of("protonet", "seed=7") == of("maml", "seed=3", "trainer.precision=float32") == of("baseline") == same
    assert _result(runs.finished("protonet"))["episodes_id"] == _result(runs.finished("maml"))["episodes_id"] == same
    others = [
        of("protonet", "task.ways=2"),
        of("protonet", "task.shots=2"),
        of("protonet", "task.queries=2"),
        of("protonet", "task.ways=[2,3]"),
        of("protonet", "eval.seed=1"),
        of("protonet", "data.seed=1"),
        of("protonet", split="val"),
        of("protonet", episodes=21),
        of("sinusoid"),
    ]
    assert len({same, *others}) == len(others) + 1


def test_episodes_with_one_id_are_one_set_of_drawings(runs: Runs) -> None:
    found = []
    for kind, seed in (("protonet", 0), ("maml", 5)):
        parts = _parts(runs, kind, f"seed={seed}")
        key = eval_key(parts.config["eval"]["seed"], parts.source, "test", parts.test_shape)
        (arrays,) = parts.source.episodes("test", parts.test_shape, np.arange(20), key)
        found.append((arrays.support_x.tobytes(), arrays.query_x.tobytes(), arrays.query_y.tobytes()))
    assert found[0] == found[1]


# ---- metamtl eval ----


def test_an_evaluation_leaves_the_run_as_it_was(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("protonet"), tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    folder = _evaluated(run, "eval.episodes=30", "task.shots=2")
    assert {path: path.read_bytes() for path in before} == before
    assert _result(folder)["test"]["accuracy"]["episodes"] == 30
    assert json.loads((folder / "meta.json").read_text())["status"] == "completed"


def test_without_overrides_it_gives_the_runs_own_figures(runs: Runs, tmp_path: Path) -> None:
    for kind in ("protonet", "maml", "sinusoid"):
        run = runs.copy(runs.finished(kind), tmp_path)
        folder = _evaluated(run)
        assert (folder / "episodes.npy").read_bytes() == (run / "episodes.npy").read_bytes()
        assert _result(folder)["gap"] == _result(run)["gap"]


def test_it_computes_by_compiled_kernels_where_the_run_did(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("protonet"), tmp_path)
    result = _result(run)
    assert _result(_evaluated(run))["engine"]["fused"] == result["engine"]["fused"] == fused.available()
    del result["engine"]["fused"]  # as of a run begun before there were any
    write_json(run / "result.json", result)
    assert not _result(_evaluated(run))["engine"]["fused"]
    assert _result(_evaluated(run, "trainer.fused=true"))["engine"]["fused"] or not fused.available()


def test_other_ways_shots_and_splits(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("protonet"), tmp_path)
    more = _result(_evaluated(run, "task.ways=5", "task.shots=2"))
    assert (more["task"]["ways"], more["task"]["shots"], more["split"]) == (5, 2, "test")
    validation = _result(_evaluated(run, "eval.split=val"))
    assert validation["split"] == "val"
    assert len({_result(run)["episodes_id"], more["episodes_id"], validation["episodes_id"]}) == 3
    maml = runs.copy(runs.finished("maml"), tmp_path)
    assert _result(_evaluated(maml, "task.ways=2"))["task"]["ways"] == 2


def test_more_ways_than_a_head_has_learnt_are_refused(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("maml"), tmp_path)
    with pytest.raises(UsageError, match=r"algo=maml has learnt a head for 3 ways.*task\.ways=5") as refusal:
        evaluate_run(run, ["task.ways=5"])
    assert refusal.value.exit_code == 2
    with pytest.raises(UsageError, match="has 6 classes, too few for 7 ways"):
        evaluate_run(run, ["task.ways=7"])
    with pytest.raises(UsageError, match="is settled when a run starts"):
        evaluate_run(run, ["algo.inner_lr=1"])


def test_a_run_by_compiled_kernels_can_be_tested_where_there_are_none(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.copy(runs.finished("protonet"), tmp_path)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("  fused: null\n", "  fused: true\n"))
    monkeypatch.setattr(fused, "available", lambda: False)
    with pytest.raises(UsageError, match=r"trainer\.fused=true needs numba.*take trainer\.fused=null"):
        evaluate_run(run)
    assert not _result(_evaluated(run, "trainer.fused=null"))["engine"]["fused"]


def test_the_best_weights_are_tested(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("protonet"), tmp_path)
    other = {name: torch.flip(value, [0]) for name, value in weights(run, "best")["learner"].items()}
    payload = tmp_path / "other.pt"
    torch.save({**weights(run), "learner": other}, payload)
    checkpoints.save(run / "checkpoints", "last", payload.read_bytes(), {"step": STEPS})
    assert (_evaluated(run) / "episodes.npy").read_bytes() == (run / "episodes.npy").read_bytes()
    checkpoints.save(run / "checkpoints", "best", payload.read_bytes(), {"step": STEPS})
    assert (_evaluated(run) / "episodes.npy").read_bytes() != (run / "episodes.npy").read_bytes()


def test_damaged_best_weights_fall_back_and_say_so(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs.copy(runs.finished("protonet"), tmp_path)
    best = run / "checkpoints" / "best.pt"
    checkpoints.save(run / "checkpoints", "best", best.read_bytes(), {"step": STEPS})
    best.write_bytes(b"damaged")
    evaluate_run(run)
    assert "best.pt is damaged" in capsys.readouterr().err
    for file in best.parent.glob("*best.pt"):
        file.unlink()
    with pytest.raises(MetamtlError, match=r"has no best\.pt yet"):
        evaluate_run(run)


# ---- what decides ----


def test_selection_sees_validation_only(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test classes are first looked at when training is over and its choice is made and saved."""
    asked: list[tuple[str, int]] = []
    index = ClassSource.index

    def noted(self: ClassSource, split: Any, shape: TaskShape, numbers: Any, key: int) -> Any:
        asked.append((split, max(map(step_of, tmp_path.glob("outputs/*")), default=-1)))
        return index(self, split, shape, numbers, key)

    monkeypatch.setattr(ClassSource, "index", noted)
    train_run(runs.config("protonet", f"paths.outputs={tmp_path / 'outputs'}"), ["metamtl"])
    splits = [split for split, _ in asked]
    first_test = splits.index("test")
    assert set(splits[:first_test]) == {"train", "val"}
    assert "val" not in splits[first_test:]
    assert all(step == STEPS for split, step in asked if split == "test")


def test_the_best_step_is_that_of_the_best_validation(runs: Runs) -> None:
    for kind, better in (("maml", max), ("sinusoid", min)):
        run = runs.finished(kind)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        metric = "val/accuracy" if kind == "maml" else "val/mse"
        validations = {line["step"]: line[metric] for line in lines if line["split"] == "val"}
        assert len(validations) == STEPS // 6
        best = _result(run)["best"]
        assert best[metric] == pytest.approx(better(validations.values()), rel=1e-12)
        assert validations[best["step"]] == pytest.approx(best[metric], rel=1e-12)


def test_the_gap_is_meta_train_minus_meta_test(runs: Runs, tmp_path: Path) -> None:
    result = _result(runs.finished("protonet"))
    assert result["meta_train"]["accuracy"]["episodes"] == 10
    means = [result[part]["accuracy"]["mean"] for part in ("meta_train", "test")]
    assert result["gap"]["accuracy"] == means[0] - means[1]
    run = runs.copy(runs.finished("protonet"), tmp_path)
    assert "gap" not in _result(_evaluated(run, "eval.gap_episodes=0"))


def test_large_images_are_embedded_in_small_blocks_of_the_same_bits_on_two_processes(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block of 84x84x3 images is a 27th of one of 28x28: the 36 test items are two blocks, one a process."""
    large = ("data.size=84", "data.channels=rgb", "trainer.steps=0", "eval.gap_episodes=0")
    run = runs.copy(runs.finished("protonet", *large), tmp_path)
    words = command("eval", str(run), "eval.episodes=120")
    ended(words, tmp_path)
    assert [one.end() for one in start_together(2, words, tmp_path)] == [0, 0]
    folders = list(run.glob("eval/*"))
    assert len(folders) == 2
    assert len({(folder / "episodes.npy").read_bytes() for folder in folders}) == 1
    embedded = []
    query = Network.query

    def counted(self: Network, x: Any, *rest: Any, **options: Any) -> Tensor:
        embedded.append(len(x))
        return query(self, x, *rest, **options)

    monkeypatch.setattr(Network, "query", counted)
    evaluate_run(run, ["eval.episodes=120"])
    assert embedded == [18, 18]

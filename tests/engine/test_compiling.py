"""`compile=auto` compiles where a run saves more than compiling takes, and is settled once."""

import json
import math
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from torch._dynamo.testing import CompileCounter

from detectors import graph_cache
from detectors.__main__ import main
from detectors.config.compose import compose
from detectors.engine import compiling
from detectors.engine.automatic import Assembled
from detectors.engine.build import configured
from detectors.engine.compiling import graphs, worthwhile
from detectors.engine.trainer import assemble
from detectors.module import allow_graphs

WORDS = ["model=yolov3_tiny", "size=small", "image_size=64", "device=cpu", "precision=32-true"]
WORDS += ["data=scenes_easy", "scenes.layout.side=64", "data.train.read.count=20"]
WORDS += ["data.num_workers=0", "data.batch_size=4", "data.val.count=3"]


def built(folder: Path, words: list[str]) -> tuple[DictConfig, Any]:
    """A config, and what assembles its run for a value of `compile`."""
    said = [*WORDS, f"run_dir={folder}", "trainer.max_epochs=200", *words]

    def trial(value: bool) -> Assembled:
        trying = [*said, f"compile={str(value).lower()}"]
        return assemble(configured(trying, "train", compose(trying)))

    return compose([*said, "compile=auto"]), trial


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The durations of the calls that are to be timed; they are made, and graphs are not."""
    durations: list[float] = []

    def seconds(call: Any, device: torch.device) -> float:
        call()
        return durations.pop(0)

    monkeypatch.setattr(compiling, "seconds_of", seconds)
    eager = partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", eager)
    return durations


@pytest.mark.parametrize(
    ("durations", "expected", "told"),
    [
        # 200 epochs of 5 batches: 1000 steps
        ([9, 0.05, 0.05, 0.05], False, r"1000 steps of 0\.05 s are too short a run"),
        ([9, 0.5, 0.5, 0.5, 100, 7, 0.45, 0.45, 0.45], False, r"50 s saved, 100 s to compile 1"),
        ([9, 0.5, 0.7, 0.4, 100, 7, 0.39, 0.3, 0.5], True, r"0\.39 s compiled: 110 s saved, 100"),
        ([9, 0.5, 0.5, 0.5, 100, 7, 0.6, 0.6, 0.6], False, r"-100 s saved"),
    ],
)
def test_the_run_is_long_enough_or_not(
    clock: list[float],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    durations: list[float],
    expected: bool,
    told: str,
) -> None:
    caplog.set_level("INFO")
    clock += durations
    assert worthwhile(*built(tmp_path, [])) is expected
    assert not clock
    (found,) = [r.getMessage() for r in caplog.records if "compile=auto" in r.getMessage()]
    assert found.startswith(f"compile=auto: {str(expected).lower()}, for ")
    assert re.search(told, found)


def test_what_cannot_be_compiled_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert not worthwhile(*built(tmp_path, ["trick=[cbn]"]))
    assert "compile=auto: false, for norm=cbn takes slopes within a step" in caplog.text


def test_several_processes_are_refused(tmp_path: Path) -> None:
    given = built(tmp_path, ["trainer=ddp_cpu"])
    with pytest.raises(ValueError, match=r"compile=auto: the run has 2 processes"):
        worthwhile(*given)


def test_every_canvas_and_bucket_has_a_graph(tmp_path: Path) -> None:
    plain, mixed = (
        built(tmp_path, words)[1](False)[1] for words in ([], ["trick=[mosaic,multiscale]"])
    )
    assert graphs(plain) == 1
    objects = 4 * max(len(row) for row in _objects(mixed))
    rows = [8 * 2**k for k in range(9) if 8 * 2**k < objects]
    assert graphs(mixed) == (1 + len(rows)) * len(mixed.canvases())


def _objects(data: Any) -> Iterator[list[int]]:
    truth = data.annotations("train")
    for k in range(len(truth.image_ids)):
        yield truth.labels[truth.offsets[k] : truth.offsets[k + 1]].tolist()


def test_more_shapes_than_the_limit_of_torch_are_compiled() -> None:
    counter, limit = CompileCounter(), torch._dynamo.config.recompile_limit
    with torch._dynamo.config.patch(recompile_limit=limit):  # what it was comes back
        allow_graphs(limit + 3)
        doubled = torch.compile(lambda x: 2 * x, backend=counter, dynamic=False)
        for size in range(2, limit + 5):
            doubled(torch.ones(size))
    assert counter.frame_count == limit + 3


def test_graphs_are_kept_in_a_folder_of_ours_or_a_named_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(graph_cache.FOLDER, raising=False)
    graph_cache.name_folder()
    assert os.environ[graph_cache.FOLDER] == str(tmp_path / "lightning-detectors" / "inductor")
    monkeypatch.delenv(graph_cache.FOLDER)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where nobody has a home
    graph_cache.name_folder()
    assert graph_cache.FOLDER not in os.environ
    monkeypatch.setenv(graph_cache.FOLDER, "/else/where")
    graph_cache.name_folder()
    assert graph_cache.told().startswith("compiled graphs are kept in /else/where")


def test_a_resumed_run_is_compiled_or_not_as_it_began(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[float] = []

    def train(*words: str) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        run = ["~callback.pictures", "latency=false", "report=false", "hydra.run.dir=run"]
        said = [*WORDS, *run, "compile=auto", "trainer.limit_train_batches=1", *words]
        monkeypatch.setattr(sys, "argv", ["detectors", "train", *said])
        try:
            main()
        finally:
            GlobalHydra.instance().clear()
        return json.loads((tmp_path / "run" / "run.json").read_text())

    seconds = compiling.seconds_of
    monkeypatch.setattr(compiling, "seconds_of", lambda *a: asked.append(seconds(*a)) or asked[-1])
    first = train("trainer.max_epochs=1")
    assert len(asked) == 4
    assert "compile: false" in (tmp_path / "run" / "config.yaml").read_text()
    again = train("trainer.max_epochs=2", "ckpt_path=last")
    assert len(asked) == 4
    assert first["key"] != again["key"]  # another number of epochs
    assert "compile: false" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.parametrize(("how", "compiled"), [("true", []), ("all", [4, 2])])
def test_validation_is_one_graph_for_each_number_of_pictures_where_all_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, compiled: list[int]
) -> None:
    graphs, compile_, pictures = CompileCounter(), torch.compile, list[int]()

    def counted(function: Any, dynamic: bool) -> Any:
        if function.__name__ != "forward":
            return function  # the loss
        seen = compile_(function, dynamic=dynamic, fullgraph=True, backend=graphs)
        return lambda images, *places: pictures.append(len(images)) or seen(images, *places)

    monkeypatch.setattr(torch, "compile", counted)
    words = [word for word in WORDS if word != "data.val.count=3"] + ["data.val.count=6"]
    words += [f"run_dir={tmp_path}", f"compile={how}", "trainer.max_epochs=2"]
    words += ["trainer.limit_train_batches=1", "trainer.num_sanity_val_steps=0"]
    module, data, trainer = assemble(configured(words, "train", compose(words)))
    trainer.fit(module, data)
    assert pictures == 2 * compiled
    assert graphs.frame_count == len(compiled)
    trainer.validate(module, data, verbose=False)
    assert pictures == 2 * compiled


@pytest.mark.slow
def test_averaged_weights_are_validated_alike_where_all_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    graphs, compile_ = CompileCounter(), torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, dynamic: compile_(function, backend=graphs)
    )
    found = []
    for how in ("true", "all"):
        words = [*WORDS, "trick=[ema]", f"run_dir={tmp_path / how}", f"compile={how}"]
        words += ["trainer.max_epochs=2", "optimizer.lr=0.01"]
        module, data, trainer = assemble(configured(words, "train", compose(words)))
        trainer.fit(module, data)
        metrics = trainer.callback_metrics.items()
        found.append(({k: v.item() for k, v in metrics if "/Costs/" not in k}, graphs.frame_count))
        graphs.frame_count = 0
    (trained, few), (all_compiled, more) = found
    assert trained.keys() == all_compiled.keys()
    assert all(value == all_compiled[name] or math.isnan(value) for name, value in trained.items())
    assert more > few


def test_an_augmented_evaluation_is_not_compiled(tmp_path: Path) -> None:
    words = [*WORDS, f"run_dir={tmp_path}", "compile=all", "tta=flip"]
    with pytest.raises(ValueError, match=r"compile=all: .* say compile=true"):
        assemble(configured(words, "train", compose(words)))


@pytest.mark.parametrize("how", ["auto", "all"])
def test_pretraining_knows_neither(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["detectors", "pretrain", f"compile={how}"])
    with pytest.raises(SystemExit):
        main()
    GlobalHydra.instance().clear()
    assert f"compile={how} is for `detectors train`: say compile=true" in capsys.readouterr().err

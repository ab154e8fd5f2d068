"""Faster R-CNN in four alternating steps: one command, which goes on where it was stopped."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from detectors.commands import train
from detectors.config.compose import compose
from detectors.engine.stages import planned_stages
from detectors.weights.checkpoint import load_checkpoint, stored_weights
from tests.small_pictures import write_picture

TINY = [
    "experiment=faster_rcnn_voc_alternating",
    "size=small",
    "image_size=64",
    "part.head.region_head.width=16",
    "part.priors.shapes=[[[16,16],[32,24]]]",  # those larger than a picture learn nothing
    "data=scenes_easy",
    "scenes.layout.side=64",
    "data.train.read.count=6",
    "data.val.count=3",
    "data.num_workers=0",
    "device=cpu",
    "trainer.max_steps=2",
    "trainer.num_sanity_val_steps=0",
    "schedule.milestones=[0.5]",
    "part.backbone.frozen_stages=0",  # of weights that are random
    "latency=false",
    "report=false",
    "~callback.pictures",
    "hydra.run.dir=run",
]
STAGES = ("rpn_1", "fast_1", "rpn_2", "fast_2")


@pytest.fixture(scope="module")
def stopped(detectors, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run that was stopped in its third stage and went on; its folder and lines of its log."""
    here, begun = tmp_path_factory.mktemp("alternating"), []
    lines: list[str] = []
    ordinary = train.one

    def stops(cfg: Any, *rest: Any) -> float:
        begun.append(cfg.run_dir)
        if len(begun) == 3:
            raise SystemExit(143)
        return ordinary(cfg, *rest)

    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("detectors").addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "one", stops)
        with pytest.raises(SystemExit):
            detectors(here, "train", *TINY)
    detectors(here, "train", *TINY, "ckpt_path=last")
    logging.getLogger("detectors").removeHandler(handler)
    return here / "run", [line for line in lines if line.startswith("stage ")]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return stored_weights(load_checkpoint(folder / "checkpoints" / "last.ckpt"))


def test_each_stage_has_its_line_and_what_is_done_is_not_done_again(
    stopped: tuple[Path, list[str]],
) -> None:
    folder, lines = stopped
    told = [line.partition(":")[0] for line in lines]
    numbered = [f"stage {k} of 4, {name}" for k, name in enumerate(STAGES, start=1)]
    assert told == [*numbered[:2], *numbered]
    assert [": was done, " in line for line in lines] == [False, False, True, True, False, False]
    assert all("2 steps" in line for line in lines)
    assert all(("recall" in line) == ("rpn" in line) for line in lines)
    assert all(("AP" in line) == ("fast" in line) for line in lines)
    records = [json.loads((folder / name / "run.json").read_text()) for name in ("", *STAGES)]
    assert [record["state"] for record in records] == ["done"] * 5
    assert [record["steps"] for record in records] == [0, 2, 2, 2, 2]


def test_the_last_steps_share_the_convolutions_of_the_second(
    stopped: tuple[Path, list[str]],
) -> None:
    folder, _ = stopped
    whole = weights(folder)
    stages = {name: weights(folder / name) for name in STAGES}
    sources = {"backbone.": ("fast_1", "rpn_2", "fast_2"), "head.region_head.": ("fast_2",)}
    sources["head.proposal_head."] = ("rpn_2",)
    for name, value in whole.items():
        origins = next(stages for prefix, stages in sources.items() if name.startswith(prefix))
        assert all(torch.equal(value, stages[origin][name]) for origin in origins), name
    assert not any(name.startswith("head.proposal_head.") for name in stages["fast_1"])
    for part, one, other in (
        ("backbone.", "rpn_1", "fast_1"),
        ("head.proposal_head.", "rpn_1", "rpn_2"),
        ("head.region_head.", "fast_1", "fast_2"),
    ):
        pairs = [(v, stages[other][n]) for n, v in stages[one].items() if n.startswith(part)]
        assert any(not torch.equal(a, b) for a, b in pairs), part
    idle = [n for n in stages["rpn_2"] if n.startswith("head.region_head.")]
    assert all(torch.equal(stages["rpn_2"][n], stages["fast_1"][n]) for n in idle)


def test_checkpoints_need_what_they_were_trained_on(
    detectors, stopped: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = stopped
    fed, whole = (folder / name / "checkpoints" / "last.ckpt" for name in ("fast_2", ""))
    detectors(tmp_path, "evaluate", f"ckpt_path={fed}", "device=cpu")
    write_picture(tmp_path / "x.png")
    told = {
        ("evaluate", f"ckpt_path={fed}", "+data.proposals=null"): "these data have none",
        ("evaluate", f"ckpt_path={whole}", "+data.proposals=x.npz"): "not trained on proposals",
        ("predict", f"ckpt_path={fed}", "source=x.png"): "predict: this model was trained on",
        ("export", f"ckpt_path={fed}", "format=pt2"): "format=pt2: this model was trained on",
    }
    for words, reason in told.items():
        with pytest.raises(SystemExit):
            detectors(tmp_path, *words)
        assert reason in capsys.readouterr().err


def test_other_words_do_not_go_on(
    detectors, stopped: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = stopped
    refused = {
        "optimizer.lr=0.5": "optimizer.lr was 0.001 and is 0.5",
        "part.head.sampler.count=7": "the stage fast_1 says part.head.sampler.count=64",
        "weights=x.ckpt": "part.backbone.weights=FILE instead",
        "trainer.devices=2": "takes one device",
    }
    for word, reason in refused.items():
        with pytest.raises(SystemExit):
            detectors(folder.parent, "train", *TINY, "ckpt_path=last", word)
        assert reason in capsys.readouterr().err
    with pytest.raises(SystemExit):
        detectors(folder.parent, "train", *TINY)
    assert "has a stage of an earlier run" in capsys.readouterr().err


@pytest.mark.parametrize("name", STAGES)
def test_numbers_of_the_stages_are_those_of_the_release(name: str) -> None:
    whole = compose([TINY[0], "run_dir=run"])
    stage = next(stage for stage in planned_stages(whole) if stage.name == name)
    cfg = compose([TINY[0], *stage.words, "run_dir=run"])
    first = name.startswith("rpn")
    assert cfg.data.batch_size * cfg.trainer.accumulate_grad_batches == (1 if first else 2)
    assert cfg.trainer.max_steps == (80_000 if first else 40_000)
    assert cfg.schedule.milestones == [60_000 if first else 30_000]
    assert cfg.part.backbone.frozen_stages == 2
    assert ("freeze_backbone" in cfg.callback) == name.endswith("2")
    assert cfg.data.proposals == (None if first else f"run/rpn_{name[-1]}/proposals.npz")
    if first:
        assert cfg.part.head.test_proposals.detections == 2000
        assert cfg.part.head.proposal_head.assigner.sampler.count == 256
    else:
        assert (cfg.part.head.sampler.count, cfg.part.head.sampler.positive_fraction) == (64, 0.25)
        assert cfg.part.head.assigner.get("least", 0.0) == 0.0


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ({"a": {"word": ["x=1"]}}, "stages.a.word: a stage has words, after and proposes"),
        ({"a": {"after": "b"}, "b": {}}, "stages.a.after=b: no stage before it"),
    ],
)
def test_stages_that_cannot_be_are_refused(nodes: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        planned_stages(OmegaConf.create({"stages": nodes}))

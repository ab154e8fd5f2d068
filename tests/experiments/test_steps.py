"""The benchmark of steps runs, and compares like with like."""

import json
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from detectors.engine.hardware import has_bf16
from detectors.measuring import peak_bytes
from detectors.structures import Targets
from experiments import steps

CPU = torch.device("cpu")


def test_a_small_run_reports_every_variant(tmp_path, capsys) -> None:
    file = tmp_path / "report.json"
    options = ["--models", "fcos", "--size", "64", "--batch", "1", "--repeats", "1"]
    options += ["--formats", "fp32"]
    beside = ["--beside", "tests.experiments.test_steps:still"]
    steps.main([*options, *beside, "--threads", "0", "--json", str(file)])
    report = json.loads(file.read_text())
    for work in ("train", "infer"):
        measured = report["results"]["fcos"][work]
        peers = ("torchvision", "tests.experiments.test_steps:still", "ours")
        assert list(measured) == [f"{peer}, fp32" for peer in peers]
        theirs, other, ours = measured.values()
        assert all(variant["seconds"] > 0 for variant in measured.values())
        assert ours["outcome"] == pytest.approx(theirs["outcome"], rel=1e-3)
        assert (theirs["ratio"], other["outcome"]) == (1, 5)
        assert ours["ratio"] == ours["seconds"] / theirs["seconds"]
    assert "fcos" in capsys.readouterr().out


@pytest.mark.slow
def test_a_family_that_torchvision_lacks_is_measured_alone(capsys) -> None:
    options = ["--models", "yolov2", "--size", "64", "--batch", "1", "--repeats", "1"]
    measured = steps.main([*options, "--threads", "0"])["results"]["yolov2"]["train"]
    assert next(iter(measured)) == "ours, fp32"
    assert all(one["ratio"] == 1 for one in measured.values())


@torch._dynamo.config.patch(recompile_limit=2)
def test_more_detectors_than_dynamo_takes_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes over to eager after some graphs of one function, which all families share."""
    graphs = CompileCounter()
    compiled = partial(torch.compile, backend=graphs)
    monkeypatch.setattr(torch, "compile", lambda call, **_: compiled(call, dynamic=False))
    given = ["--compile", "--words", "size=small", "--size", "64", "--batch", "1"]
    for _ in range(3):
        variants = steps.prepare("yolov3_tiny", steps.arguments([*given, "--formats", "fp32"]), CPU)
        before = graphs.frame_count
        variants["ours compiled, fp32"].model.eval()
        variants["ours compiled, fp32"].infer()
        assert graphs.frame_count > before


@pytest.mark.parametrize("place", ["nowhere:still", "tests.experiments.test_steps", "os:none"])
def test_a_peer_that_is_not_there_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match=r"--beside .*expected MODULE:FUNCTION"):
        steps.named(place)


def still(name: str, images: Tensor, targets: Targets, classes: int) -> steps.Work:
    """Another library's, which learns one number and finds five objects."""
    model = nn.Linear(1, 1)
    return steps.Work(model, lambda: model(torch.ones(1)).sum() * 0 + 5, lambda: torch.tensor(5))


def test_a_detector_with_words_races_alone_in_the_formats_asked_for() -> None:
    given = ["--words", "size=small", "--size", "64", "--batch", "1", "--repeats", "1"]
    asked = steps.arguments([*given, "--formats", "fp32"])
    assert list(steps.prepare("yolov3_tiny", asked, CPU)) == ["ours, fp32"]


@pytest.mark.skipif(not has_bf16("cpu"), reason="this processor does not multiply bf16")
def test_ratios_are_to_the_same_format() -> None:
    given = ["--words", "size=small", "--size", "64", "--batch", "1", "--models", "yolov3_tiny"]
    measured = steps.main([*given, "--repeats", "1", "--threads", "0"])["results"]["yolov3_tiny"]
    for work in measured.values():
        assert list(work) == ["ours, fp32", "ours, bf16"]
        assert all(one["ratio"] == 1 for one in work.values())
    of = [one["outcome"] for one in measured["train"].values()]
    assert of[1] == pytest.approx(of[0], rel=0.05)


def test_targets_lie_within_the_images() -> None:
    images, targets = steps.examples(2, 64, 5, CPU)
    assert images.shape == (2, 3, 64, 64)
    assert targets.boxes.min() >= 0
    assert targets.boxes.max() <= 64
    assert (targets.valid.sum(1) >= steps.OBJECTS[0]).all()


def test_peak_memory_counts_what_a_call_frees_again() -> None:
    taken = peak_bytes(lambda: torch.ones(10_000_000).sum(), CPU)
    if taken is None:
        pytest.skip("this system does not tell a process its peak")
    assert 38e6 < taken < 60e6

"""The benchmark of steps runs, and compares like with like."""

import json

import pytest
import torch
from torch import Tensor, nn

from detectors.engine.hardware import has_bf16
from detectors.measuring import peak_bytes
from detectors.structures import Targets
from experiments import steps

CPU = torch.device("cpu")


def test_a_small_run_reports_every_variant(tmp_path, capsys) -> None:
    file = tmp_path / "report.json"
    options = ["--models", "fcos", "--size", "64", "--batch", "1", "--repeats", "1"]
    beside = ["--beside", "tests.experiments.test_steps:still"]
    steps.main([*options, *beside, "--threads", "0", "--json", str(file)])
    report = json.loads(file.read_text())
    for work in ("train", "infer"):
        measured = report["results"]["fcos"][work]
        peers = ("torchvision", "tests.experiments.test_steps:still", "ours")
        formats = ["fp32", "bf16"] if has_bf16("cpu") else ["fp32"]
        assert list(measured) == [f"{peer}, {kind}" for kind in formats for peer in peers]
        assert all(variant["seconds"] > 0 for variant in measured.values())
        for kind, close in zip(formats, (1e-3, 0.05), strict=False):
            theirs, other, ours = (measured[f"{peer}, {kind}"] for peer in peers)
            if (work, kind) != ("infer", "bf16"):  # a few detections, which rounding changes
                assert ours["outcome"] == pytest.approx(theirs["outcome"], rel=close)
            assert (theirs["ratio"], other["outcome"]) == (1, 5)
            assert ours["ratio"] == ours["seconds"] / theirs["seconds"]
    assert "fcos" in capsys.readouterr().out


@pytest.mark.slow
def test_a_family_that_torchvision_lacks_is_measured_alone(capsys) -> None:
    options = ["--models", "yolov2", "--size", "64", "--batch", "1", "--repeats", "1"]
    measured = steps.main([*options, "--threads", "0"])["results"]["yolov2"]["train"]
    assert next(iter(measured)) == "ours, fp32"
    assert all(one["ratio"] == 1 for one in measured.values())


@pytest.mark.parametrize("place", ["nowhere:still", "tests.experiments.test_steps", "os:none"])
def test_a_peer_that_is_not_there_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match=r"--beside .*expected MODULE:FUNCTION"):
        steps.named(place)


def still(name: str, images: Tensor, targets: Targets, classes: int) -> steps.Work:
    """Another library's, which learns one number and finds five objects."""
    model = nn.Linear(1, 1)
    return steps.Work(model, lambda: model(torch.ones(1)).sum() * 0 + 5, lambda: torch.tensor(5))


def test_a_detector_with_words_races_alone_in_the_formats_asked_for() -> None:
    given = ["--words", "size=small", "--formats", "fp32", "--size", "64", "--batch", "1"]
    assert list(steps.prepare("fcos", steps.arguments(given), CPU)) == ["ours, fp32"]


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

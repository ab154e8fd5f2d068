"""The benchmark of steps runs, and compares like with like."""

import json

import pytest
import torch

from detectors.measuring import peak_bytes
from experiments import steps

CPU = torch.device("cpu")


def test_a_small_run_reports_every_variant(tmp_path, capsys) -> None:
    file = tmp_path / "report.json"
    options = ["--models", "fcos", "--size", "64", "--batch", "1", "--repeats", "1"]
    steps.main([*options, "--threads", "0", "--json", str(file)])
    report = json.loads(file.read_text())
    for work in ("train", "infer"):
        measured = report["results"]["fcos"][work]
        assert list(measured) == ["torchvision", "ours, fp32", "ours, default"]
        assert all(variant["seconds"] > 0 for variant in measured.values())
        assert measured["ours, fp32"]["outcome"] == pytest.approx(
            measured["torchvision"]["outcome"], rel=1e-3
        )
    assert "fcos" in capsys.readouterr().out


@pytest.mark.slow
def test_a_family_that_torchvision_lacks_is_measured_alone(capsys) -> None:
    options = ["--models", "yolov2", "--size", "64", "--batch", "1", "--repeats", "1"]
    measured = steps.main([*options, "--threads", "0"])["results"]["yolov2"]["train"]
    assert list(measured) == ["ours, fp32", "ours, default"]
    assert measured["ours, fp32"]["ratio"] == 1


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

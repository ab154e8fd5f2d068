"""Training starts from a checkpoint of ours, whose classes are found again by name."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.config.compose import compose
from detectors.structures import CHECKPOINT_FORMAT, Predictions
from detectors.weights import trained
from detectors.weights.initial import initial_model, random_model
from tests.examples import FAMILIES, THIN

KNOWN = ["ant", "bee", "cat", "dog"]
QUICK = {"yolov3", "faster_rcnn", "centernet", "cornernet"}
FCOS = ["model=fcos", "size=small", "backbone=darknet_thin", "part.neck.channels=64"]


def checkpoint(file: Path, words: Sequence[str], classes: Sequence[str] = KNOWN) -> nn.Module:
    """Write a checkpoint of a detector whose numbers are all drawn; returns the detector."""
    cfg = compose([*words, f"num_classes={len(classes)}"])
    torch.manual_seed(7)
    model = random_model(cfg).eval()
    with torch.no_grad():
        for parameter in model.get_submodule("head").parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.02)
    state = {f"detector.{name}": value for name, value in model.state_dict().items()}
    content = {"format": CHECKPOINT_FORMAT, "config": {"num_classes": len(classes)}}
    torch.save({**content, "classes": list(classes), "state_dict": state}, file)
    return model


def started(
    file: Path | str, words: Sequence[str], names: Sequence[str] | None = None
) -> nn.Module:
    named = [] if names is None else [f"num_classes={len(names)}"]
    cfg = compose([*words, *named, f"weights={file}"])
    torch.manual_seed(1)
    return initial_model(cfg, None if names is None else lambda: names).eval()


def drawn(words: Sequence[str], count: int) -> nn.Module:
    torch.manual_seed(1)
    return random_model(compose([*words, f"num_classes={count}"]))


@torch.no_grad()
def predicted(detector: Any, images: Tensor) -> list[Predictions]:
    """Those of the last look, or of the last stack, there perhaps of several kinds of points."""
    height, width = images.shape[-2:]
    frames = torch.tensor([[0.0, 0.0, width, height]])
    output = detector.head(detector.features(images), frames)
    output = getattr(output, "head", output)  # where a head judges the boxes of another one
    if hasattr(output, "looks"):
        return [output.looks[-1].predictions]
    output = output.stacks[-1] if hasattr(output, "stacks") else output
    return list(output.points.values()) if hasattr(output, "points") else [output]


@pytest.fixture(scope="module")
def fcos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    file = tmp_path_factory.mktemp("weights") / "fcos.ckpt"
    return file, checkpoint(file, FCOS)


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=[pytest.mark.slow] * (f not in QUICK)) for f in FAMILIES]
)
def test_kept_classes_are_predicted_as_by_the_files_detector(family: str, tmp_path: Path) -> None:
    words, file = [f"model={family}", "size=small", *THIN.get(family, [])], tmp_path / "a.ckpt"
    theirs: Any = checkpoint(file, words)
    height, width = theirs.head.only_canvas or (128, 128)
    images = 255 * torch.rand(1, 3, height, width)
    ours = started(file, words, ["dog", "elk", "bee"])
    for found, expected in zip(predicted(ours, images), predicted(theirs, images), strict=True):
        same_for_kept(found, expected)


def same_for_kept(found: Predictions, expected: Predictions) -> None:
    """Of the first and the third class, which are the file's fourth and second."""
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-3)  # sums of other lengths
    background = expected.logits.shape[-1] - len(KNOWN)
    close(found.logits[..., :background], expected.logits[..., :background])
    here, there = [0, 2], [3, 1]
    close(found.logits[..., background:][..., here], expected.logits[..., background:][..., there])
    if found.deltas.dim() == 4:
        close(found.deltas[:, :, here], expected.deltas[:, :, there])
    else:
        close(found.deltas, expected.deltas)
    if found.quality is not None:
        close(found.quality, expected.quality)


def test_rows_of_new_classes_and_all_later_draws_stay_as_without_a_file(
    fcos: tuple[Path, nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        ours = started(fcos[0], FCOS, ["elk", "dog", "fox"]).state_dict()
    after = torch.rand(3)
    plain = drawn(FCOS, 3).state_dict()
    assert torch.equal(after, torch.rand(3))
    for name in ("head.tower.logits.weight", "head.tower.logits.bias"):
        assert torch.equal(ours[name][[0, 2]], plain[name][[0, 2]])
        assert torch.equal(ours[name][1], fcos[1].state_dict()[name][3])
    told = "1 classes kept: ['dog'], 2 new: ['elk', 'fox'], 3 of the file not here: ['ant', 'bee',"
    assert told in caplog.text
    assert f"filled {len(ours)} of {len(ours)} tensors" in caplog.text


def test_the_same_classes_are_taken_whole_and_so_are_as_many_without_names(
    fcos: tuple[Path, nn.Module],
) -> None:
    file, theirs = fcos
    named = started(file, FCOS, KNOWN).state_dict()
    built = detectors.build("fcos", FCOS[1:], num_classes=4, weights=str(file)).state_dict()
    swapped = started(file, FCOS, ["bee", "dog", "ant", "cat"]).state_dict()
    for name, value in theirs.state_dict().items():
        assert torch.equal(named[name], value)
        assert torch.equal(built[name], value)
        rows = [1, 3, 0, 2] if "logits" in name else slice(None)
        assert torch.equal(swapped[name], value[rows] if value.dim() else value)


@pytest.mark.parametrize("words", [["num_classes=3"], ["num_classes=4", "weights_classes=4"]])
def test_class_layers_are_left_out_without_names_or_when_asked(
    words: list[str], fcos: tuple[Path, nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    file, theirs = fcos
    with caplog.at_level(logging.INFO):
        ours = started(file, [*FCOS, *words]).state_dict()
    own = {n for n, value in theirs.state_dict().items() if not torch.equal(value, ours[n])}
    assert own == {"head.tower.logits.weight", "head.tower.logits.bias"}
    for name in own:
        assert f"left out {name}, which depends on the number of classes: (4" in caplog.text


def test_a_head_that_does_not_tell_its_rows_keeps_its_own(
    fcos: tuple[Path, nn.Module], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trained, "class_rows", lambda *_: {})
    with caplog.at_level(logging.INFO):
        ours = started(fcos[0], FCOS, ["dog", "cat"]).state_dict()
    assert torch.equal(ours["head.tower.logits.weight"], drawn(FCOS, 2).head.tower.logits.weight)
    assert "left out head.tower.logits.weight, which depends" in caplog.text
    assert "0 classes kept" in caplog.text


def test_what_does_not_fit_is_refused_with_names_and_shapes(
    fcos: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    file = fcos[0]
    with pytest.raises(ValueError, match=r"neck.extra.p6.conv.weight is \(64, 64.*that the file"):
        started(file, [*FCOS, "neck=fpn_c5"], KNOWN)
    with pytest.raises(ValueError, match=r"do not fit the detector. \d+ missing"):
        started(file, ["model=yolov3", "size=small"], KNOWN)
    with pytest.raises(ValueError, match=r"weights_classes=5, but .* has 4 classes"):
        started(file, [*FCOS, "weights_classes=5"])
    with pytest.raises(ValueError, match=r"nothere.ckpt: no such file"):
        started(tmp_path / "nothere.ckpt", FCOS)
    classifier = {"format": CHECKPOINT_FORMAT, "config": {"num_classes": 2}, "classes": ["a", "b"]}
    torch.save({**classifier, "state_dict": {"classifier.x": torch.ones(1)}}, tmp_path / "c.ckpt")
    with pytest.raises(ValueError, match=r"holds no detector.*part.backbone.weights"):
        started(tmp_path / "c.ckpt", FCOS)
    with pytest.raises(ValueError, match=r"expected FILE.ckpt of `detectors train`, or KIND:PATH"):
        started("file.pt", FCOS)

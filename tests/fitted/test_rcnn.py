"""R-CNN's stages on pictures of coloured squares, with a tiny network and windows on a grid."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from detectors.fitted import Work
from detectors.fitted import rcnn as module
from detectors.fitted.rcnn import RCNN
from detectors.fitted.rcnn_network import CaffeNet, CropNetwork, vgg_pool5
from detectors.ops.numpy_boxes import iou
from detectors.structures import Sample

ACT = partial(nn.ReLU, inplace=True)
COLOURS = ((220, 40, 40), (40, 40, 220))
SIDE, SQUARE = 48, 16


def windows(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of 16 and 20 pixels on a grid, in random order."""
    found = [
        (x, y, x + side, y + side)
        for side in (16, 20)
        for y in range(0, image.shape[0] - side + 1, 4)
        for x in range(0, image.shape[1] - side + 1, 4)
    ]
    return rng.permutation(np.array(found, np.float32))


def picture(number: int, empty: bool = False) -> Sample:
    """Grey noise with a square of each class, at even places, and one that is to be ignored."""
    rng = np.random.default_rng(number)
    image = rng.integers(90, 150, (SIDE, SIDE, 3), np.uint8)
    boxes = np.zeros((0, 4), np.float32)
    if not empty:
        corners = rng.permutation([[0, 2], [28, 0], [2, 30], [30, 28]])[:3]
        boxes = np.concatenate([corners, corners + SQUARE], 1).astype(np.float32)
        for corner, colour in zip(corners, (*COLOURS, COLOURS[0]), strict=True):
            image[corner[1] : corner[1] + SQUARE, corner[0] : corner[0] + SQUARE] = colour
    labels, count = np.array([0, 1, 0])[: len(boxes)], len(boxes)
    ones, frame = np.array([1, 1, 0, 0], np.float32), np.array([0, 0, SIDE, SIDE], np.float32)
    return Sample(image, boxes, labels, np.arange(count) == 2, number, ones, frame)


EXAMPLES = [picture(0, empty=True), *(picture(number) for number in range(1, 7))]


def shown(items: Any, name: str, total: float | None = None) -> Iterator[Any]:
    return iter(items)


def work(folder: Path) -> Work:
    return Work(EXAMPLES, ("red", "blue"), 0, torch.device("cpu"), folder / "stages", shown)


def model(iterations: int = 25, **numbers: Any) -> RCNN:
    torch.manual_seed(0)
    convolutions = CaffeNet(ACT, nn.BatchNorm2d, (8, 8, 8, 8, 8))
    network = CropNetwork(convolutions, 2, 67, hidden=16, dropout=0.0, normed=True)
    mean, std = (120.0,) * 3, (60.0,) * 3
    given = {"positive": 8, "background": 8, "lr": 0.02, "step": 1000, "head_rate": 1.0}
    return RCNN(2, network, windows, mean, std, context=5, iterations=iterations, **given | numbers)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[RCNN, dict[str, dict], Work]:
    pytest.importorskip("sklearn")
    made, on = model(), work(tmp_path_factory.mktemp("rcnn"))
    told = {stage: dict(made.fit(stage, on)) for stage in made.stages}
    return made, told, on


def test_every_stage_tells_what_it_did(fitted: tuple[RCNN, dict[str, dict], Work]) -> None:
    _, told, _ = fitted
    count = len(windows(EXAMPLES[0].image, np.random.default_rng(0)))
    assert told["proposals"]["proposals"] == 7 * count
    assert told["proposals"]["recall at IoU 0.5"] == 1.0
    assert told["network"]["right"] > 0.8
    assert told["features"]["windows"] == 7 * count + 12
    assert told["machines"]["positives"] == 12
    assert told["boxes"]["after"] <= told["boxes"]["squared error before"]


def test_squares_are_found(fitted: tuple[RCNN, dict[str, dict], Work]) -> None:
    made, _, _ = fitted
    for sample in (picture(20), picture(21)):
        found = made.scan(sample.image)
        assert found.boxes.dtype == np.float32
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert found.boxes.min() >= 0
        assert found.boxes.max() <= SIDE
        for label in (0, 1):
            own = found.labels == label
            assert own.sum() <= 100
            best = found.boxes[own][found.scores[own].argmax()]
            assert iou(best, sample.boxes[sample.labels == label]).max() > 0.5


def test_scaled_features_have_the_mean_length_of_the_release(
    fitted: tuple[RCNN, dict[str, dict], Work],
) -> None:
    made, _, on = fitted
    rows = [
        made._scaled(np.load(file)["hidden"], "hidden")
        for file in sorted(on.folder.glob("features_*.npz"))
    ]
    assert np.linalg.norm(np.concatenate(rows), axis=1).mean() == pytest.approx(20, rel=1e-4)


def test_ignored_objects_are_no_window_and_nothing_near_them_is_background(
    fitted: tuple[RCNN, dict[str, dict], Work],
) -> None:
    made, _, on = fitted
    positive, background = made._drawable(on)
    for rows, least, most in ((positive, 0.5, 1.01), (background, -0.01, 0.5)):
        for row in rows:
            sample = EXAMPLES[int(row[0])]
            overlap = iou(row[2:], sample.boxes).max(initial=0.0)
            assert least <= overlap < most
    seen = module._windows(on, 1)
    assert seen.ignore.tolist() == [False, False, True]
    assert (seen.boxes[:2] == seen.objects[:2]).all()


def test_fine_tuning_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after three iterations of which two were kept, it ends with the same weights."""
    made, on = model(4), work(tmp_path)
    made.fit("proposals", on)
    file = on.folder / "network.pt"
    made.fit("network", on)
    stopped = model(4)
    optimizer = module._optimizer(stopped.network, stopped.rates._replace(iterations=2))
    half = model(2)
    monkeypatch.setattr(module, "_optimizer", lambda network, rates: optimizer)
    half.network = stopped.network
    half.fit("network", on)
    module._keep(file, half.network, optimizer, 2)
    monkeypatch.undo()
    again = model(4)
    again.fit("network", on)
    for one, other in zip(again.network.parameters(), made.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_without_a_background_it_is_refused(tmp_path: Path) -> None:
    made, on = model(overlap=0.0), work(tmp_path)
    made.fit("proposals", on)
    with pytest.raises(ValueError, match="0 are background, but both are needed"):
        made.fit("network", on)


def test_a_picture_without_proposals_has_no_windows(
    fitted: tuple[RCNN, dict[str, dict], Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _, _ = fitted
    monkeypatch.setattr(made, "proposals", lambda image, rng: np.zeros((0, 4), np.float32))
    found = made.scan(EXAMPLES[0].image)
    assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))


@pytest.mark.parametrize(("made", "side"), [(CaffeNet, 67), (CaffeNet, 99), (vgg_pool5, 64)])
def test_cells_are_those_that_come_out(made: Any, side: int) -> None:
    network = made(ACT, nn.BatchNorm2d, (4, 4, 4, 4, 4))
    cells = network(torch.zeros(1, 3, side, side)).shape[-2:]
    assert cells == (network.cells(side),) * 2


def test_caffenet_of_227_pixels_has_the_published_maps() -> None:
    assert CaffeNet(ACT).cells(227) == 6
    response = CaffeNet(ACT).response
    x = torch.randn(1, 7, 1, 1)
    squares = torch.stack([x[0, max(c - 2, 0) : c + 3].square().sum() for c in range(7)])
    expected = x.flatten() / (1 + 1e-4 / 5 * squares) ** 0.75
    torch.testing.assert_close(response(x).flatten(), expected)


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    made = model()
    file = tmp_path / "weights.pt"
    torch.save({"fc8.weight": torch.zeros(3, 16)}, file)
    with pytest.raises(ValueError, match=r"has no convolutions\.stages\.0\.0\.weight of shape"):
        made.network.start_from(str(file))
    with pytest.raises(ValueError, match="there is no file"):
        made.network.start_from(str(tmp_path / "none.pt"))
    other = CropNetwork(CaffeNet(ACT, nn.BatchNorm2d, (8,) * 5), 7, 67, 16, 0.0, True)
    torch.save(other.state_dict(), file)
    made.network.start_from(str(file))
    assert torch.equal(made.network.fc7[0].weight, other.fc7[0].weight)
    assert made.network.fc8.weight.shape == (3, 16)


def test_proposals_of_the_pictures_are_those_it_looks_at(tmp_path: Path) -> None:
    """The first `most` of them that are not empty, in training and in a scan."""
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    empty = np.array([[5, 5, 5, 9], [3, 4, 9, 4]], np.float32)
    given = [
        one._replace(proposals=np.concatenate([empty, windows(one.image, rng)]))
        for one in EXAMPLES[:3]
    ]
    made, on = model(3, most=150), dataclasses.replace(work(tmp_path), examples=given)
    fed = RCNN(2, made.network, None, (120.0,) * 3, (60.0,) * 3, context=5, most=7)
    assert fed.needs_proposals
    assert not made.needs_proposals
    assert fed.fit("proposals", on)["proposals"] == 3 * 7
    for row, one in enumerate(given):
        objects = int((~one.ignore).sum())
        assert one.proposals is not None
        assert (module._windows(on, row).boxes[objects:] == one.proposals[2:9]).all()


def test_boxes_in_a_scan_come_from_the_proposals(
    fitted: tuple[RCNN, dict[str, dict], Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _, _ = fitted
    one = picture(20)
    own = made.scan(one.image)
    proposals = windows(one.image, np.random.default_rng(0))
    monkeypatch.setattr(made, "proposals", None)
    found = made.scan(one.image, proposals)
    for first, second in zip(own, found, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_machine_that_was_not_done_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("sklearn")
    made, on = model(2, rounds=1, cost=1000.0), work(tmp_path)
    told = {stage: made.fit(stage, on) for stage in made.stages[:4]}
    assert told["machines"]["machines that did not converge"] >= 1
    assert "were not done after part.fitted.rounds=1: say more rounds" in caplog.text

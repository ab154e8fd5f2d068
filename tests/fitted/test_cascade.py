"""Cascades window by window as the format describes them, and as OpenCV 4.12 found them."""

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detectors.fitted.cascade import Cascade
from detectors.fitted.cascade_scan import clipped, layers, scan, visited
from detectors.fitted.cascade_xml import read_cascade
from detectors.fitted.grouping import grouped
from tests.fitted.small_cascades import XML, picture


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.xml"
    path.write_text(XML)
    return path


def _feature(cascade: Cascade, number: int, window: np.ndarray) -> np.float32:
    """Pixel by pixel; a tilted rectangle holds what its four sides enclose."""
    value = np.float32(0)
    rectangles, weights, tilted = cascade.features
    for (x, y, wide, high), weight in zip(rectangles[number], weights[number], strict=True):
        total = 0
        for v, u in np.ndindex(window.shape):
            if tilted[number]:
                inside = _in_tilted(u - x, v - y, wide, high)
            else:
                inside = x <= u < x + wide and y <= v < y + high
            total += int(window[v, u]) * inside
        value += weight * np.float32(total)
    return value


def _in_tilted(u: int, v: int, wide: int, high: int) -> bool:
    """Whether pixel (u, v) from the upper corner belongs: by counting triangles that hold it."""

    def triangle(x: int, y: int) -> int:
        return int(v < y and abs(u - x + 1) <= y - 1 - v)

    corners = triangle(0, 0) - triangle(-high, high) - triangle(wide, wide)
    return bool(corners + triangle(wide - high, wide + high))


def _stages_passed(cascade: Cascade, window: np.ndarray) -> int | None:
    """How many; None if the window varies too little."""
    inside = window[1:-1, 1:-1].astype(np.int64)
    spread = float(inside.size * (inside**2).sum() - inside.sum() ** 2)
    if spread <= 0 or inside.size * float(np.float32(1 / np.sqrt(spread))) >= 0.1:
        return None
    factor = np.float32(1 / np.sqrt(spread))
    for stage, (first, last) in enumerate(itertools.pairwise(cascade.stages)):
        total = 0.0
        for tree in range(first, last):
            at = cascade.trees[tree]
            while at >= 0:
                value = _feature(cascade, cascade.feature[at], window) * factor
                at = cascade.branches[at][0 if value < cascade.threshold[at] else 1]
            total += float(cascade.leaves[~at])
        if total < float(cascade.stage_thresholds[stage] - np.float32(1e-5)):
            return stage
    return len(cascade.stage_thresholds)


def test_windows_are_those_of_a_walk_from_left_to_right(file: Path) -> None:
    cascade, grey = read_cascade(file), picture(26, 33)
    pyramid = layers(grey, (6, 7), 1.3)
    expected = []
    for layer in pyramid:
        height, width = layer.image.shape
        for y in range(0, height - 5, layer.step):
            x = 0
            while x <= width - 7:
                passed = _stages_passed(cascade, layer.image[y : y + 6, x : x + 7])
                if passed == 2:
                    corner = np.array([x, y, 7, 6], np.float32) * layer.scale
                    expected.append(np.rint(corner).astype(int).tolist())
                x += layer.step * (2 if passed == 0 else 1)
    assert {layer.step for layer in pyramid} == {1, 2}
    assert 5 < len(expected) < 500
    assert scan(cascade, pyramid).boxes.tolist() == expected


def test_many_windows_at_once_are_as_each_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a block is read as a whole or window by window, and one tree or all at a time."""
    cascade = read_cascade(file)
    pyramid = layers(picture(40, 50), (6, 7), 1.2)
    expected = scan(cascade, pyramid)
    for dense, long in itertools.product((0, 10**9), repeat=2):
        monkeypatch.setattr("detectors.fitted.cascade._DENSE", dense)
        monkeypatch.setattr("detectors.fitted.cascade._LONG", long)
        for one, other in zip(scan(cascade, pyramid), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("tilted", [False, True])
def test_frontal_faces_are_opencvs(data_root: Path, tilted: bool) -> None:
    """The file of OpenCV 4.12 on eight pictures; also if tilted sums lay in the buffer."""
    folder = data_root / "opencv"
    cascade = read_cascade(folder / "haarcascade_frontalface_default.xml")
    assert len(cascade.stage_thresholds) == 25
    assert len(cascade.feature) == 2913
    if tilted:  # one more feature, which no node asks for
        rectangles, weights, turned = cascade.features
        more = (np.array([[[8, 0, 2, 2]] * 3]), np.ones((1, 3), np.float32), np.array([True]))
        pairs = zip((rectangles, weights, turned), more, strict=True)
        joined = (np.concatenate(pair) for pair in pairs)
        cascade = cascade._replace(features=type(cascade.features)(*joined))
    oracle = json.loads((folder / "oracle.json").read_text())["cascade"]
    assert sum(len(found["raw"]) for found in oracle.values()) == 104
    for name, found in oracle.items():
        grey = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        boxes = scan(cascade, layers(grey, (24, 24), 1.2)).boxes
        assert sorted(clipped(boxes, *grey.shape).tolist()) == sorted(found["raw"])
        assert clipped(grouped(boxes).boxes, *grey.shape).tolist() == found["grouped"]


def test_visits_by_a_loop() -> None:
    rejected = np.random.default_rng(0).random((20, 31)) < 0.7
    for row, found in zip(rejected, visited(rejected), strict=True):
        x, seen = 0, []
        while x < len(row):
            seen.append(x)
            x += 2 if row[x] else 1
        assert found.nonzero()[0].tolist() == seen


def test_a_picture_smaller_than_the_window_has_none(file: Path) -> None:
    found = scan(read_cascade(file), layers(picture(5, 40), (6, 7)))
    assert [len(values) for values in found] == [0, 0, 0, 0]
    assert found.boxes.shape == (0, 4)


def test_sides_may_be_bounded() -> None:
    grey = picture(60, 60)
    sides = [round(6 * float(layer.scale)) for layer in layers(grey, (6, 6), 1.5)]
    assert sides == [6, 9, 14, 20, 30, 46]
    bounded = layers(grey, (6, 6), 1.5, smallest=9, largest=30)
    assert [round(6 * float(layer.scale)) for layer in bounded] == [9, 14, 20, 30]


def test_clips_to_the_picture() -> None:
    boxes = np.array([[-1, 2, 5, 5], [8, 8, 5, 3]])
    assert clipped(boxes, 10, 12).tolist() == [[0, 2, 4, 5], [8, 8, 4, 2]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("opencv-cascade-classifier", "opencv-haar-classifier", "older format"),
        ("<featureType>HAAR", "<featureType>LBP", "BOOST and LBP"),
        ("0 -1 0 0.002", "0 -1 9 0.002", "feature that is not there"),
        ("0 -1 0 0.002", "0 -2 0 0.002", "no later node and to no leaf"),
        ("1 0 1 0.01 -1 -2 2 -0.05", "1 0 1 0.01 1 -2 2 -0.05", "no later node and to no leaf"),
        ("1 0 1 0.01 -1 -2 2 -0.05", "1 0 1 0.01 2 -2 2 -0.05", "past the last node"),
        ("0.5 -0.5<", "0.5<", "1 nodes has 1 leaves, not 2"),
        ("0 2 7 3 -1.", "1 2 7 3 -1.", "out of the window of 7 x 6"),
        ("3 0 2 3 -1.", "2 0 2 3 -1.", "out of the window of 7 x 6"),
        ("<height>6</height>", "", "<cascade> has no <height>"),
        ("<stageThreshold>0.25", "<stageThreshold>high", "damaged"),
        ("</opencv_storage>", "", "no XML file"),
        (
            "<_><internalNodes>0 -1 3 0.03</internalNodes><leafValues>1. -1.</leafValues></_>",
            "",
            "a stage has no tree",
        ),
        ("<height>6", "<height>2", "no inside"),
        ("0 3 7 1 3.", "0 3 7 -1 3.", "out of the window of 7 x 6"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "damaged.xml"
    assert old in XML
    path.write_text(XML.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        read_cascade(path)
    assert str(path) in str(caught.value)

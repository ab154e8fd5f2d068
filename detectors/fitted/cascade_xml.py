"""Reads cascades of Haar features that OpenCV trained (`opencv-cascade-classifier`)."""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from detectors.fitted.cascade import Cascade
from detectors.fitted.haar_features import HaarFeatures
from detectors.fitted.integral import tilted_corners, upright_corners


class _Tree(NamedTuple):
    feature: np.ndarray  # [n] int64
    threshold: np.ndarray  # [n] float32
    branches: np.ndarray  # [n, 2] int64, rows of the tree or complements of its leaves
    leaves: np.ndarray  # [n + 1] float32


def read_cascade(path: str | Path) -> Cascade:
    """The cascade of a file: stumps or trees of any depth, upright or tilted features.

    Raises:
        ValueError: the file holds no such cascade; says what is wrong with it.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is no XML file: {error}") from error
    node = root.find("cascade")
    if node is None or node.get("type_id") != "opencv-cascade-classifier":
        raise ValueError(
            f"{path} holds no cascade of OpenCV 2.4 or later (opencv-cascade-classifier): files of "
            "the older format must be converted or trained anew"
        )
    kind = (_text(node, "stageType", path), _text(node, "featureType", path))
    if kind != ("BOOST", "HAAR"):
        raise ValueError(
            f"{path} is a cascade of {' and '.join(kind)}: only BOOST and HAAR is read"
        )
    try:
        cascade = _cascade(node, path)
    except (ValueError, IndexError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} is damaged: {error}") from error
    return _checked(cascade, path)


def _cascade(node: ElementTree.Element, path: str | Path) -> Cascade:
    stages = [_each(stage, "weakClassifiers", path) for stage in _each(node, "stages", path)]
    if not stages or not all(stages):
        raise ValueError("a stage has no tree")
    trees = [_tree(tree, path) for stage in stages for tree in stage]
    thresholds = [_text(stage, "stageThreshold", path) for stage in _each(node, "stages", path)]
    starts = np.cumsum([0] + [len(tree.feature) for tree in trees])
    branches = [
        np.where(tree.branches < 0, tree.branches - start - i, tree.branches + start)
        for i, (tree, start) in enumerate(zip(trees, starts, strict=False))
    ]
    return Cascade(
        int(_text(node, "height", path)),
        int(_text(node, "width", path)),
        _features(_each(node, "features", path), path),
        np.cumsum([0] + [len(stage) for stage in stages]),
        np.array(thresholds, np.float64).astype(np.float32),
        starts,
        np.concatenate([tree.feature for tree in trees]),
        np.concatenate([tree.threshold for tree in trees]),
        np.concatenate(branches),
        np.concatenate([tree.leaves for tree in trees]),
    )


def _tree(node: ElementTree.Element, path: str | Path) -> _Tree:
    """Nodes in fours (left, right, feature, threshold); a leaf is written as minus its number."""
    numbers = np.array(_text(node, "internalNodes", path).split(), np.float64).reshape(-1, 4)
    leaves = np.array(_text(node, "leafValues", path).split(), np.float64).astype(np.float32)
    branches, count = numbers[:, :2].astype(np.int64), len(numbers)
    if len(leaves) != count + 1:
        raise ValueError(f"a tree of {count} nodes has {len(leaves)} leaves, not {count + 1}")
    further = branches > 0
    if (branches[further] <= further.nonzero()[0]).any() or (np.abs(branches) > count).any():
        raise ValueError("a branch leads to no later node and to no leaf of its tree")
    if (branches[further] >= count).any():
        raise ValueError("a branch leads past the last node of its tree")
    branches = np.where(further, branches, ~-branches)
    return _Tree(numbers[:, 2].astype(np.int64), numbers[:, 3].astype(np.float32), branches, leaves)


def _features(nodes: list[ElementTree.Element], path: str | Path) -> HaarFeatures:
    rectangles = np.zeros((len(nodes), 3, 4), np.int32)
    weights = np.zeros((len(nodes), 3), np.float32)
    for i, node in enumerate(nodes):
        for j, rectangle in enumerate(_each(node, "rects", path)):
            *sides, weight = (rectangle.text or "").split()
            rectangles[i, j], weights[i, j] = [int(float(side)) for side in sides], float(weight)
    tilted = [(node.findtext("tilted") or "0").strip() != "0" for node in nodes]
    return HaarFeatures(rectangles, weights, np.array(tilted, bool))


def _checked(cascade: Cascade, path: str | Path) -> Cascade:
    """The cascade.

    Raises:
        ValueError: the window is too small, a feature reaches out of it, or a node asks for none.
    """
    if min(cascade.height, cascade.width) < 3:
        raise ValueError(f"{path} is damaged: its window has no inside")
    rectangles, _, tilted = cascade.features
    upright, turned = upright_corners(rectangles[~tilted]), tilted_corners(rectangles[tilted])
    used = np.concatenate(
        [upright[rectangles[~tilted, :, 2] > 0], turned[rectangles[tilted, :, 2] > 0]]
    )
    if min(rectangles.min(), used.min()) < 0 or (used > [cascade.width, cascade.height]).any():
        raise ValueError(
            f"{path} is damaged: a feature reaches out of the window of {cascade.width} x "
            f"{cascade.height} pixels"
        )
    if ((cascade.feature < 0) | (cascade.feature >= len(tilted))).any():
        raise ValueError(f"{path} is damaged: a node asks for a feature that is not there")
    return cascade


def _each(node: ElementTree.Element, name: str, path: str | Path) -> list[ElementTree.Element]:
    found = node.find(name)
    if found is None:
        raise ValueError(f"{path} is damaged: <{node.tag}> has no <{name}>")
    return found.findall("_")


def _text(node: ElementTree.Element, name: str, path: str | Path) -> str:
    found = node.findtext(name)
    if found is None:
        raise ValueError(f"{path} is damaged: <{node.tag}> has no <{name}>")
    return found.strip()

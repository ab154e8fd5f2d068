"""Scores of parts against all displacements tried, and a model fitted on small pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from detectors.fitted.deformable import (
    BIAS,
    REACH,
    Component,
    FeatureLevel,
    feature_level,
    feature_levels,
    one_sided,
    part_boxes,
    placed_features,
    placements,
    root_boxes,
    root_only,
    with_parts,
)
from detectors.fitted.detector import FittedDetector
from detectors.fitted.dpm import Dpm
from detectors.fitted.latent_svm import fitted_component, regularisation, squared_hinge
from detectors.postprocess import Greedy, Suppression
from detectors.structures import Sample
from tests.fitted.works import sample, work


def _random(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _component() -> Component:
    moves = np.array([[0.1, 0.02, 0.2, -0.03], [3.0, 0, 2.0, 0]], np.float32)
    anchors = np.array([[0, 1], [3, 0]])
    octaves = np.array([0.25, -0.5], np.float32)
    filters = _random((3, 2, 32), 0), _random((2, 2, 2, 32), 1)
    return Component(*filters, anchors, moves, 0.5, octaves)


def _level() -> FeatureLevel:
    return FeatureLevel(1.0, 1, _random((7, 6, 32), 2), _random((13, 12, 32), 3))


def test_scores_are_those_of_all_displacements() -> None:
    component, level = _component(), _level()
    found = placements(component, level)
    assert found.scores.shape == (5, 5)
    for y, x in np.ndindex(found.scores.shape):
        root = (level.coarse[y : y + 3, x : x + 2] * component.root).sum()
        expected = BIAS * 0.5 + root + component.octaves[0]
        for part, (v, u), moves in zip(*component[1:4], strict=True):
            tried = [
                (level.fine[q : q + 2, p : p + 2] * part).sum()
                - moves @ [(p - 2 * x - u) ** 2, p - 2 * x - u, (q - 2 * y - v) ** 2, q - 2 * y - v]
                for q in range(12)
                for p in range(11)
                if max(abs(p - 2 * x - u), abs(q - 2 * y - v)) <= REACH
            ]
            expected += max(tried)
        assert found.scores[y, x] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("scale", [1.9, 2.0])
def test_a_score_is_the_product_of_features_and_numbers(turned: bool, scale: float) -> None:
    component, level = _component(), _level()._replace(scale=scale)
    found = placements(component.mirrored() if turned else component, level)
    y, x = np.array([0, 2, 4]), np.array([0, 3, 4])
    for v, u, parts in zip(y, x, found.parts(y, x), strict=True):
        row = placed_features(component, level, v, u, parts, turned)
        assert row @ component.vector() == pytest.approx(found.scores[v, u], abs=1e-3)


def test_the_vector_holds_all_numbers() -> None:
    component = _component()
    again = root_only(3, 2, 2)._replace(
        parts=np.zeros_like(component.parts),
        anchors=component.anchors,
        deformations=np.zeros_like(component.deformations),
    )
    for one, other in zip(again.with_vector(component.vector()), component, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mirror_image_scores_in_the_mirrored_picture_what_the_component_does() -> None:
    """Fractions of grey levels, for a gradient half-way between orientations has a side."""
    picture = np.random.default_rng(0).random((64, 80, 3)).astype(np.float32) * 255
    plain = feature_level(picture, 1.0, around=1)
    turned = feature_level(np.ascontiguousarray(picture[:, ::-1]), 1.0, around=1)
    component = _component()
    one, other = placements(component, plain), placements(component.mirrored(), turned)
    assert one.scores.shape == other.scores.shape
    np.testing.assert_allclose(one.scores, other.scores[:, ::-1], atol=1e-3)
    twice = component.mirrored().mirrored()
    for first, second in zip(twice, component, strict=True):
        np.testing.assert_array_equal(first, second)
    y, x = np.array([2, 3]), np.array([1, 4])
    width = one.scores.shape[1]
    boxes = part_boxes(component, plain, one.parts(y, x))
    across = part_boxes(component, turned, other.parts(y, width - 1 - x))
    np.testing.assert_allclose(boxes, across[..., [2, 1, 0, 3]] * [-1, 1, -1, 1] + [80, 0, 80, 0])


def test_examples_are_mirrored_to_look_to_the_same_side() -> None:
    """Ten rows and their mirror images, every other one given the wrong way round."""
    draw = np.random.default_rng(0)
    side, other = draw.normal(size=(2, 40))
    rows = np.array([side, other] * 5) + 0.3 * draw.normal(size=(10, 40))
    turned = np.array([other, side] * 5) + 0.3 * draw.normal(size=(10, 40))
    chosen = one_sided(rows, turned, draw)
    assert chosen.tolist() in ([False, True] * 5, [True, False] * 5)


def test_a_root_lies_where_its_cells_are() -> None:
    """A square of noise at cell (3, 4) of a flat picture is seen by that cell alone."""
    picture = np.full((80, 96, 3), 128, np.uint8)
    picture[24:32, 32:40] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    level = feature_levels(picture, interval=2, around=3)[0]
    strength = level.coarse[..., :18].sum(axis=-1)
    y, x = np.unravel_index(strength.argmax(), strength.shape)
    box = root_boxes(root_only(1, 1, 2), level, np.array([y]), np.array([x]))
    assert box.tolist() == [[32, 24, 40, 32]]
    fine = level.fine[..., :18].sum(axis=-1)
    v, u = np.unravel_index(fine.argmax(), fine.shape)
    assert (v // 2, u // 2) == (y, x)


def test_parts_cover_the_most_energetic_squares() -> None:
    root = root_only(6, 6, 3)
    root.root[0:2, 0:2, 4] = 1.0
    root.root[4:6, 3:5, 7] = 2.0
    found = with_parts(root, count=2, side=4)
    assert np.abs(found.anchors[0] - [8, 6]).max() <= 1
    assert np.abs(found.anchors[1] - [0, 0]).max() <= 1
    assert found.parts.shape == (2, 4, 4, 32)
    assert found.deformations.tolist() == [[pytest.approx(0.01), 0, pytest.approx(0.01), 0]] * 2


def test_scales_end_at_five_cells() -> None:
    scales = [level.scale for level in feature_levels(np.zeros((80, 200, 3), np.uint8), 2, 1)]
    assert scales == pytest.approx([1, 2**0.5, 2])
    assert feature_levels(np.zeros((39, 200, 3), np.uint8), 2, 1) == []


def test_the_gradient_is_that_of_the_cost() -> None:
    component = _component()
    rows, signs = _random((9, component.vector().size), 4), np.array([1, -1, 1] * 3)
    vector, regularised = component.vector() * 0.1, regularisation(component)
    assert regularised.sum() == component.vector().size + 9 * 8
    _, gradient = squared_hinge(vector, rows, signs, regularised, 0.1)
    for place in (0, 200, len(vector) - 11, len(vector) - 3, len(vector) - 1):
        step = np.zeros_like(vector)
        step[place] = 1e-2
        ahead, behind = (
            squared_hinge(v, rows, signs, regularised, 0.1)[0]
            for v in (vector + step, vector - step)
        )
        assert gradient[place] == pytest.approx((ahead - behind) / 2e-2, abs=2e-2)


def test_a_root_alone_is_a_linear_machine() -> None:
    svm = pytest.importorskip("sklearn.svm")
    root = root_only(1, 1, 2)
    positives, negatives = (_random((20, 35), seed) + shift for seed, shift in ((5, 0.2), (6, 0)))
    found, _ = fitted_component(root, positives, negatives, cost=0.05, rounds=500)
    machine = svm.LinearSVC(C=0.05, loss="squared_hinge", fit_intercept=False, tol=1e-8)
    machine.fit(np.concatenate([positives, negatives]), [1] * 20 + [0] * 20)
    np.testing.assert_allclose(found.vector(), machine.coef_[0], atol=1e-3)


def test_displacements_never_pay() -> None:
    component = _component()
    rows = np.zeros((4, component.vector().size), np.float32)
    rows[:, -11:-3] = -1.0  # all objects are displaced
    found, _ = fitted_component(component, -rows, rows, cost=10.0, rounds=50)
    assert found.deformations[:, ::2].min() >= 0.001 - 1e-9


def _scene(number: int) -> Sample:
    """A picture with a dark ring on noise, which is the first of two classes."""
    draw = np.random.default_rng(number)
    image = draw.integers(100, 200, (96, 128)).astype(np.uint8)
    x, y, radius = (int(draw.integers(*span)) for span in ((24, 104), (24, 72), (16, 22)))
    cv2.circle(image, (x, y), radius - 3, 20, 6)
    box = [x - radius, y - radius, x + radius, y + radius]
    return sample(np.repeat(image[..., None], 3, axis=2), [box], [0], number)


def test_rings_are_found(tmp_path: Path) -> None:
    words = {"components": 1, "parts": 2, "side": 4, "interval": 3, "least": 600, "roots": 1}
    model = Dpm(2, **words, moves=2, pictures=6, hard=10, iterations=40)
    given = work([_scene(n) for n in range(12)], ("ring", "cross"), tmp_path)
    told = []
    for number, stage in enumerate(model.stages):
        told.append(dict(model.fit(stage, given)))
        model.done.fill_(number + 1)
    assert told[0] == {"objects of ring": 12, "objects of cross": 0}
    assert told[-2]["objects of ring"] >= 9
    assert told[-1]["components with boxes of roots"] == 1  # 12 objects are too few for 7 numbers
    post = Suppression(Greedy(0.3), score_threshold=0.0, per_level=100, detections=10)
    detector = FittedDetector(model, post, num_classes=2).eval()
    hits = 0
    for scene in map(_scene, range(100, 108)):
        found = detector(torch.from_numpy(scene.image.transpose(2, 0, 1).copy())[None])
        assert set(found.labels[found.valid].tolist()) <= {0}
        hits += bool((found.boxes[0, 0] - torch.from_numpy(scene.boxes[0])).abs().max() < 10)
    assert hits >= 6
    restored = Dpm(2, **words, moves=2)
    restored.load_state_dict(model.state_dict())
    one, other = (m.scan(_scene(100).image) for m in (model, restored))
    np.testing.assert_array_equal(one.boxes, other.boxes)


def test_pictures_without_objects_are_refused(tmp_path: Path) -> None:
    empty = sample(np.zeros((20, 20, 3), np.uint8), [], [], 0)
    with pytest.raises(ValueError, match="no object of the training pictures"):
        Dpm(1).fit("objects", work([empty], ("ring",), tmp_path))
    assert Dpm(3).described() == {"filters": "2 x (1 + 6) for each class"}


def test_false_placements_lie_apart_and_beside_the_objects(tmp_path: Path) -> None:
    """Every place scores the same, so only these two rules leave any out."""
    model = Dpm(1, parts=1, side=2, hard=5)
    component = root_only(3, 3, 2)._replace(bias=0.1)
    scene = _scene(0)
    levels = feature_levels(scene.image, 2, 1)
    for pose in model._poses([component]):
        rows = list(model._false_in(scene, 0, pose, component, levels))
        assert len(rows) == 5
        for row in rows:
            assert row @ component.vector() == pytest.approx(1.0)
    everywhere = scene._replace(boxes=np.array([[0, 0, 128, 96]], np.float32))
    ignored = everywhere._replace(ignore=np.array([True]))
    assert not list(model._false_in(ignored, 0, pose, component, levels))

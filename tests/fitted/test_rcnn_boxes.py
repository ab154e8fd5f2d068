"""The closed form against scikit-learn, and boxes against the coder of the other families."""

import numpy as np
import pytest
import torch

from detectors.coders import Delta
from detectors.fitted.rcnn_boxes import AT_ONCE, Regressor, RidgeSums, encoded, moved, ridge
from detectors.structures import Priors
from tests.examples import random_boxes


def regressor(features: np.ndarray, targets: np.ndarray, penalty: float) -> Regressor:
    """Of windows that are given three at a time."""
    pairs = RidgeSums(features.shape[1])
    for start in range(0, len(features), 3):
        pairs.add(features[start : start + 3], targets[start : start + 3])
    found, before, after = pairs.regressor(penalty)
    assert before == pytest.approx(np.square(targets).sum())
    left = np.square(targets - found.deltas(features)).sum()
    assert after == pytest.approx(left, rel=1e-6, abs=1e-6)
    return found


@pytest.mark.parametrize(("rows", "columns"), [(60, 7), (5, 12), (1, 3)])
@pytest.mark.parametrize("penalty", [1e-2, 1000.0])
def test_ridge_is_scikit_learns(rows: int, columns: int, penalty: float) -> None:
    """Also where there are fewer rows than numbers."""
    Ridge = pytest.importorskip("sklearn.linear_model").Ridge
    draw = np.random.default_rng(0)
    features, targets = draw.normal(size=(rows, columns)), draw.normal(size=(rows, 4))
    expected = Ridge(penalty, fit_intercept=False, solver="svd").fit(features, targets).coef_.T
    lower = np.asfortranarray(np.tril(features.T @ features))
    found = ridge(lower, features.T @ targets, penalty)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("penalty", [1.0, 1000.0])
def test_sums_give_what_scikit_learn_finds_in_all_rows(penalty: float) -> None:
    """Features in float32 as the network gives them, more rows than are summed together."""
    Ridge = pytest.importorskip("sklearn.linear_model").Ridge
    draw = np.random.default_rng(0)
    features = np.maximum(draw.normal(size=(2 * AT_ONCE + 100, 40)), 0).astype(np.float32)
    noise = 0.1 * draw.normal(size=(len(features), 4))
    targets = features @ draw.normal(size=(40, 4)) * 0.02 + noise
    found = regressor(features, targets, penalty)
    centred = targets - targets.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    root = np.sqrt(values + 1e-3)
    rows = np.concatenate([features, np.ones((len(features), 1))], 1)
    machine = Ridge(penalty, fit_intercept=False, solver="svd")
    machine.fit(rows, centred @ (vectors / root @ vectors.T))
    expected = machine.predict(rows) @ (vectors * root @ vectors.T) + targets.mean(0)
    np.testing.assert_allclose(found.deltas(features), expected, atol=1e-6)


def test_without_features_all_move_by_the_mean() -> None:
    targets = np.random.default_rng(0).normal(size=(30, 4))
    found = regressor(np.zeros((30, 5)), targets, 1.0).deltas(np.zeros((2, 5)))
    np.testing.assert_allclose(found, np.tile(targets.mean(0), (2, 1)), atol=1e-9)


def test_whitening_by_hand() -> None:
    """Of the whitened targets the covariance is the identity, but for what is added."""
    draw = np.random.default_rng(0)
    targets = draw.normal(size=(200, 4)) @ draw.normal(size=(4, 4))
    found = regressor(draw.normal(size=(200, 3)), targets, 1.0)
    centered = targets - targets.mean(0)
    covariance = centered.T @ centered / 200
    np.testing.assert_allclose(
        found.unwhitened @ found.unwhitened.T, covariance + 1e-3 * np.eye(4), atol=1e-9
    )
    whitened = centered @ np.linalg.inv(found.unwhitened)
    rows = np.concatenate([np.zeros((200, 3)), np.ones((200, 1))], 1)
    assert abs(rows.T @ whitened).max() < 1e-9


def test_what_is_linear_in_the_features_is_found() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(300, 6))
    targets = features @ draw.normal(size=(6, 4)) * 0.1 + [0.1, -0.2, 0.0, 0.3]
    found = regressor(features, targets, 1e-6)
    np.testing.assert_allclose(found.deltas(features), targets, atol=1e-5)


def test_all_targets_alike() -> None:
    """A covariance of zero stays finite."""
    found = regressor(np.ones((3, 2)), np.full((3, 4), 0.25), 1.0)
    np.testing.assert_allclose(found.deltas(np.ones((1, 2))), np.full((1, 4), 0.25), atol=1e-9)


def test_boxes_move_as_by_the_coder_of_faster_rcnn() -> None:
    windows, objects = random_boxes(20).double(), random_boxes(20).double()
    priors = Priors(windows[None], torch.ones(20), (20,), (64, 64))
    expected = Delta().encode(objects[None], priors)[0]
    found = encoded(windows.numpy(), objects.numpy())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(moved(windows.numpy(), found), objects.numpy(), atol=1e-9)


def test_a_runaway_growth_is_cut() -> None:
    box = moved(np.array([[0.0, 0, 16, 16]]), np.array([[0, 0, 1e4, -1e4]]))
    np.testing.assert_allclose(box, [[8 - 500, 8, 8 + 500, 8]])

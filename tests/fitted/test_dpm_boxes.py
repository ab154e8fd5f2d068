"""Boxes from the places of filters: by hand, by inversion, and learnt from made-up objects."""

import numpy as np

from detectors.fitted.dpm_boxes import (
    FEWEST,
    cut,
    filter_places,
    least_squares,
    moved,
    moves,
    turned,
)
from tests.examples import random_boxes


def test_places_by_hand() -> None:
    windows = np.array([[10.0, 20, 30, 60]])
    filters = np.array([[[10.0, 20, 30, 60], [10, 20, 20, 30], [26, 50, 30, 60]]])
    expected = [[0, 0, -0.25, -0.375, 0.4, 0.375, 1]]
    np.testing.assert_allclose(filter_places(windows, filters, False), expected)
    other = [[0, 0, 0.25, -0.375, -0.4, 0.375, 1]]
    np.testing.assert_allclose(filter_places(windows, filters, True), other)
    assert filter_places(windows[:0], filters[:0], True).shape == (0, 7)


def test_moves_lead_to_the_boxes() -> None:
    windows, boxes = random_boxes(20).double().numpy(), random_boxes(20).double().numpy()
    for mirrored in (False, True):
        found = moves(windows, boxes, mirrored)
        np.testing.assert_allclose(moved(windows, found, mirrored), boxes, atol=1e-9)


def test_a_mirror_image_moves_as_in_the_mirrored_picture() -> None:
    """The same object twice, the second time in a picture that is mirrored at 100 pixels."""
    windows, boxes = np.array([[10.0, 20, 30, 60]]), np.array([[12.0, 16, 36, 64]])
    across = [[100 - b[2], b[1], 100 - b[0], b[3]] for b in (windows[0], boxes[0])]
    there = moves(np.array(across[:1]), np.array(across[1:]), True)
    np.testing.assert_allclose(there, moves(windows, boxes, False))
    np.testing.assert_allclose(turned(turned(there)), there)


def test_what_is_linear_in_the_places_is_found() -> None:
    draw = np.random.default_rng(0)
    places = np.concatenate([np.zeros((60, 2)), draw.normal(size=(60, 4)), np.ones((60, 1))], 1)
    weights = draw.normal(size=(7, 4)) * 0.1
    weights[:2] = 0  # the root lies in the middle of the window, so it says nothing
    np.testing.assert_allclose(least_squares(places, places @ weights), weights, atol=1e-9)


def test_few_objects_teach_nothing() -> None:
    places = np.random.default_rng(0).normal(size=(2 * FEWEST * 3, 3))
    wanted = np.ones((len(places), 4))
    assert least_squares(places[: FEWEST * 3], wanted[: FEWEST * 3]).any()
    assert not least_squares(places[: FEWEST * 3 - 1], wanted[: FEWEST * 3 - 1]).any()
    assert least_squares(places[:0], wanted[:0]).shape == (3, 4)


def test_no_box_is_inverted_or_out_of_the_picture() -> None:
    windows = np.array([[10.0, 10, 20, 20]])
    found = moved(windows, np.array([[2.0, 0, -2, 0]]), False)
    assert found.tolist() == [[30, 10, 30, 20]]
    assert cut(np.array([[-4.0, 2, 90, 70]]), 50, 80).tolist() == [[0, 2, 80, 50]]

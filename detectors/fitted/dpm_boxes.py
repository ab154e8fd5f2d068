"""Predicts an object's box from where filters lie (Felzenszwalb et al. 2010, sec. 7.1).

A box is that of the root, its sides moved by a linear function of the places of all filters. As in
voc-release5 (`bboxpred_input.m`, `bboxpred_train.m`): least squares, and the root's box is cut to
the picture first.
"""

import numpy as np

FEWEST = 2  # objects for each number of a side, so that it is not learnt by heart


def cut(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes [n, 4] within a picture."""
    return boxes.clip(0, [width, height, width, height])


def filter_places(windows: np.ndarray, filters: np.ndarray, mirrored: bool) -> np.ndarray:
    """[n, 2 F + 1] centres of filters from that of the window, in its sides; the last one is 1.

    Args:
        windows: [n, 4] xyxy, of which none is empty.
        filters: [n, F, 4] xyxy, the root among them.
        mirrored: whether they are those of mirror images, whose places are mirrored back.
    """
    sides = windows[:, 2:] - windows[:, :2]
    centres = (windows[:, :2] + windows[:, 2:]) / 2
    places = (filters[..., :2] + filters[..., 2:]) / 2 - centres[:, None]
    places /= sides[:, None] * [-1 if mirrored else 1, 1]
    ones = np.ones((len(windows), 1))
    return np.concatenate([places.reshape(len(windows), 2 * filters.shape[1]), ones], axis=1)


def moves(windows: np.ndarray, boxes: np.ndarray, mirrored: bool) -> np.ndarray:
    """[n, 4] what the sides of windows are to be moved by to those of boxes, in their sides."""
    sides = np.tile(windows[:, 2:] - windows[:, :2], 2)
    found = (boxes - windows) / sides
    return turned(found) if mirrored else found


def moved(windows: np.ndarray, found: np.ndarray, mirrored: bool) -> np.ndarray:
    """Boxes [n, 4] of windows whose sides are moved; none is inverted."""
    steps = turned(found) if mirrored else found
    boxes = windows + steps * np.tile(windows[:, 2:] - windows[:, :2], 2)
    return np.concatenate([boxes[:, :2], np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


def turned(found: np.ndarray) -> np.ndarray:
    """Moves [n, 4] of the mirror image: left and right change places and signs."""
    return found[:, [2, 1, 0, 3]] * [-1, 1, -1, 1]


def least_squares(places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[2 F + 1, 4] that minimises `|places w - wanted|^2`; zeros where there are too few objects.

    Of several that do, the one of the least length, such as with the root's place, which is 0 but
    at the border of the picture.

    Args:
        places: [n, 2 F + 1] of `filter_places`.
        wanted: [n, 4] of `moves`.
    """
    if len(places) < FEWEST * places.shape[1]:
        return np.zeros((places.shape[1], 4))
    return np.linalg.lstsq(places, wanted, rcond=1e-6)[0]

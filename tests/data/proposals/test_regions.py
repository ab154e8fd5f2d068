"""Similarities of regions, by hand and against loops over pixels."""

from itertools import combinations

import numpy as np
import pytest

from detectors.data.proposals.grouping import grouped
from detectors.data.proposals.regions import (
    SIMILARITIES,
    Segments,
    described,
    neighbours,
    rows,
    similarity,
    texture_bins,
)

ALL = list(SIMILARITIES)
# Quarters of 8 x 8 pixels: upper left and lower right are alike but for one half of the latter.
QUARTERS = np.kron([[0, 1], [2, 3]], np.ones((4, 4), np.int64))


def picture() -> np.ndarray:
    """[8, 8, 1] grey 0 in quarter 0 and the upper half of 3, 100 in 1, 200 in 2, 250 below."""
    values = np.array([0, 100, 200, 0], np.uint8)[QUARTERS]
    values[6:, 4:] = 250
    return values[..., None]


def of_pair(one: int, other: int, members: list[str]) -> float:
    image = picture()
    found = described(QUARTERS, image, texture_bins(image), members)
    return float(similarity(rows(found, [one]), rows(found, [other]), members, 64)[0])


@pytest.mark.parametrize(
    ("pair", "colour", "size", "fill"),
    [
        ((0, 1), 0.0, 0.5, 1.0),  # 32 of 64 pixels, side by side
        ((0, 3), 0.5, 0.5, 0.5),  # across: the box round both has 32 pixels that are of neither
        ((2, 3), 0.0, 0.5, 1.0),
    ],
)
def test_similarities_of_four_quarters(
    pair: tuple[int, int], colour: float, size: float, fill: float
) -> None:
    for name, value in (("colour", colour), ("size", size), ("fill", fill)):
        assert of_pair(*pair, [name]) == pytest.approx(value)
    mean = np.mean([colour, size, fill, of_pair(*pair, ["texture"])])
    assert of_pair(*pair, ALL) == pytest.approx(mean)


def scene(seed: int, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Labels [9, 12] of up to ten regions, every one of which touches another, and an image."""
    rng = np.random.default_rng(seed)
    seeds = rng.random((10, 2)) * [9, 12]
    place = np.stack(np.mgrid[:9, :12], axis=-1)
    nearest = np.abs(place[:, :, None] - seeds).sum(-1).argmin(-1)
    labels = np.unique(nearest, return_inverse=True)[1].reshape(nearest.shape)
    return labels, rng.integers(0, 256, (9, 12, channels)).astype(np.uint8)


def naive_histograms(mask: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour and texture of the pixels of a mask, counted one by one."""
    channels = image.shape[-1]
    colour, texture = np.zeros((channels, 25)), np.zeros((channels, 4, 2, 10))
    bins = texture_bins(image)
    for y, x in zip(*np.nonzero(mask), strict=True):
        for c in range(channels):
            colour[c, int(image[y, x, c]) * 25 // 256] += 1
            for k in range(4):
                falls, strength = divmod(int(bins[c, k, y, x]), 10)
                texture[c, k, falls, strength] += 1
                texture[c, k, 1 - falls, 0] += 1
    return colour.ravel() / colour.sum(), texture.ravel() / texture.sum()


def naive_similarity(a: np.ndarray, b: np.ndarray, image: np.ndarray, name: str) -> float:
    """Of two masks, from their pixels alone."""
    ends = [(m.nonzero()[0].min(), m.nonzero()[0].max() + 1) for m in (a | b, (a | b).T)]
    box = (ends[0][1] - ends[0][0]) * (ends[1][1] - ends[1][0])
    both = int(a.sum() + b.sum())
    if name == "size":
        return 1 - both / a.size
    if name == "fill":
        return 1 - (box - both) / a.size
    kind = ("colour", "texture").index(name)
    pairs = zip(naive_histograms(a, image)[kind], naive_histograms(b, image)[kind], strict=True)
    return sum(min(x, y) for x, y in pairs)


@pytest.mark.parametrize("name", ALL)
def test_similarities_are_those_of_the_pixels(name: str) -> None:
    labels, image = scene(0)
    found = described(labels, image, texture_bins(image), [name])
    pairs = np.array(list(combinations(range(labels.max() + 1), 2)))
    alike = similarity(rows(found, pairs[:, 0]), rows(found, pairs[:, 1]), [name], labels.size)
    expected = [naive_similarity(labels == a, labels == b, image, name) for a, b in pairs]
    np.testing.assert_allclose(alike, expected, atol=1e-12)


def test_a_ramp_rises_to_the_right_and_falls_to_the_left() -> None:
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.uint8), (20, 1))[..., None]
    middle = texture_bins(ramp)[0, :, 5:15, 5:15]
    assert (middle[0] == 9).all()  # strongest along x
    assert (middle[1] == middle[3] % 10).all()  # as strong at 45 and 135 degrees
    assert (middle[3] >= 10).all()  # where it falls
    assert (middle[2] % 10 == 0).all()


def test_neighbours_touch_at_a_side_or_a_corner() -> None:
    for seed in range(3):
        labels, _ = scene(seed)
        expected = set()
        for y, x in np.ndindex(labels.shape):
            for other in labels[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].ravel():
                pair = sorted((int(labels[y, x]), int(other)))
                expected |= {tuple(pair)} if pair[0] != pair[1] else set()
        assert [tuple(pair) for pair in neighbours(labels).tolist()] == sorted(expected)


def naive_grouping(labels: np.ndarray, image: np.ndarray, members: list[str]) -> list[list[int]]:
    """Boxes in the order of creation; every mask and every similarity is looked at anew."""
    masks = {k: labels == k for k in range(labels.max() + 1)}
    pairs = {tuple(pair) for pair in neighbours(labels).tolist()}
    boxes = [_box(mask) for mask in masks.values()]
    while len(masks) > 1:
        alike = {
            (a, b): np.mean([naive_similarity(masks[a], masks[b], image, m) for m in members])
            for a, b in pairs
        }
        best = min(pairs, key=lambda pair: (-round(alike[pair], 9), pair))
        new = len(boxes)
        masks[new] = masks.pop(best[0]) | masks.pop(best[1])
        renamed = {tuple(sorted(new if k in best else k for k in pair)) for pair in pairs}
        pairs = {pair for pair in renamed if pair[0] != pair[1]}
        boxes.append(_box(masks[new]))
    return boxes


def _box(mask: np.ndarray) -> list[int]:
    y, x = mask.nonzero()
    return [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]


@pytest.mark.parametrize("members", [ALL, ["texture", "size", "fill"], ["fill"], ["size"]])
def test_grouping_merges_what_a_naive_loop_merges(members: list[str]) -> None:
    labels, image = scene(1)
    regions = described(labels, image, texture_bins(image), members)
    found = grouped(regions, neighbours(labels), members, labels.size)
    assert found.tolist() == naive_grouping(labels, image, members)


def test_one_region_is_a_grouping() -> None:
    alone = Segments(np.array([6.0]), np.array([[0, 0, 3, 2]]), np.zeros((1, 0)))
    assert grouped(alone, np.zeros((0, 2), np.int64), ["size"], 6).tolist() == [[0, 0, 3, 2]]

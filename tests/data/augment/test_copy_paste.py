"""MixUp, CutMix and Copy-Paste against loops over pixels, and their rules for boxes."""

import numpy as np
import pytest

from detectors.data.augment.copy_paste import CopyPaste, CutMix, copy_paste, cutmix
from detectors.data.augment.mixup import MixUp, mixup
from detectors.data.augment.mosaic import Mosaic
from detectors.data.augment.occlusion import cut_to_shown, shown_shares
from detectors.data.collate import collated
from detectors.structures import Sample

HEIGHT, WIDTH = 16, 24


def sample(seed: int, boxes: list[list[float]] | None = None) -> Sample:
    """Noise; five random boxes on whole pixels unless given."""
    rng = np.random.default_rng(seed)
    if boxes is None:
        corner = rng.integers(0, [WIDTH - 9, HEIGHT - 9], (5, 2))
        boxes = np.concatenate([corner, corner + rng.integers(1, 9, (5, 2))], axis=1).tolist()
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(
        image=rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
        boxes=found,
        labels=np.arange(len(found)) + 10 * seed,
        ignore=np.arange(len(found)) == 1,
        id=seed,
        to_original=np.array([1, 1, 0, 0], np.float32),
        frame=np.array([0, 2, WIDTH, HEIGHT - 2], np.float32),
    )


def shown_pixels(box: np.ndarray, covered: np.ndarray) -> list[tuple[int, int]]:
    left, top, right, bottom = box.astype(int)
    places = [(y, x) for y in range(top, bottom) for x in range(left, right)]
    return [(y, x) for y, x in places if not covered[y, x]]


def naive_below(below: Sample, covered: np.ndarray, visible: float) -> list[list[float]]:
    kept = []
    for box in below.boxes:
        area = (box[2] - box[0]) * (box[3] - box[1])
        shown = shown_pixels(box, covered)
        if shown and len(shown) >= visible * area:
            rows, columns = zip(*shown, strict=True)
            kept.append([min(columns), min(rows), max(columns) + 1, max(rows) + 1])
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_equals_the_naive_form(seed: int) -> None:
    first, second = sample(2 * seed), sample(2 * seed + 1)
    rng = np.random.default_rng(seed)
    start = rng.integers(0, [WIDTH - 4, HEIGHT - 4])
    place = np.concatenate([start, start + rng.integers(2, [WIDTH, HEIGHT] - start)])
    result = cutmix([first, second], place, 0.3)
    covered = np.zeros((HEIGHT, WIDTH), bool)
    above = []
    for y in range(HEIGHT):
        for x in range(WIDTH):
            covered[y, x] = place[0] <= x < place[2] and place[1] <= y < place[3]
            source = second if covered[y, x] else first
            assert (result.image[y, x] == source.image[y, x]).all()
    for box in second.boxes:
        inside = shown_pixels(box, ~covered)
        if inside and len(inside) >= 0.3 * (box[2] - box[0]) * (box[3] - box[1]):
            above.append([*np.maximum(box[:2], place[:2]), *np.minimum(box[2:], place[2:])])
    expected = naive_below(first, covered, 0.3) + above
    np.testing.assert_array_equal(result.boxes, np.array(expected).reshape(-1, 4))
    assert result.image.dtype == np.uint8
    assert result.boxes.dtype == np.float32


@pytest.mark.parametrize("seed", range(20))
def test_copy_paste_equals_the_naive_form(seed: int) -> None:
    first, second = sample(2 * seed), sample(2 * seed + 1)
    taken = np.random.default_rng(seed).random(5) < 0.5
    covered = np.zeros((HEIGHT, WIDTH), bool)
    for left, top, right, bottom in second.boxes[taken].astype(int):
        for y in range(top, bottom):
            for x in range(left, right):
                covered[y, x] = True
    result = copy_paste([first, second], taken, 0.3)
    np.testing.assert_array_equal(result.image[covered], second.image[covered])
    np.testing.assert_array_equal(result.image[~covered], first.image[~covered])
    below = np.array(naive_below(first, covered, 0.3)).reshape(-1, 4)
    np.testing.assert_array_equal(result.boxes, np.concatenate([below, second.boxes[taken]]))


def test_boxes_that_nothing_covers_keep_their_fractions() -> None:
    given = sample(0, [[1.3, 2.6, 5.2, 7.7], [10.2, 3.3, 14.9, 9.1]])
    covered = np.zeros((HEIGHT, WIDTH), bool)
    covered[:, 12:] = True
    assert shown_shares(given.boxes, covered).tolist() == [1.0, pytest.approx(0.4)]
    expected = np.array([[1.3, 2.6, 5.2, 7.7], [10.2, 3.3, 12.0, 9.1]], np.float32)
    np.testing.assert_array_equal(cut_to_shown(given, covered).boxes, expected)


def test_a_sliver_at_the_border_is_no_trouble() -> None:
    given = sample(0, [[0.0, HEIGHT - 0.3, WIDTH, HEIGHT], [WIDTH - 0.2, 0.0, WIDTH, 5.0]])
    covered = np.zeros((HEIGHT, WIDTH), bool)
    covered[HEIGHT - 1, : WIDTH // 2] = True
    found = cut_to_shown(given, covered).boxes
    np.testing.assert_allclose(found[0], [WIDTH // 2, HEIGHT - 0.3, WIDTH, HEIGHT], rtol=1e-6)
    np.testing.assert_array_equal(found[1], given.boxes[1])


def test_mixup_adds_the_pixels_and_keeps_all_objects() -> None:
    first, second = sample(0), sample(1)
    result = mixup([first, second], 0.3, 0.1)
    exact = 0.3 * first.image + 0.7 * second.image
    assert np.abs(result.image - exact).max() <= 0.501
    np.testing.assert_array_equal(result.boxes, np.concatenate([first.boxes, second.boxes]))
    assert result.labels.tolist() == [*first.labels, *second.labels]
    assert result.id == first.id
    assert result.frame.tolist() == [0, 2, WIDTH, HEIGHT - 2]


def test_a_picture_that_hardly_shows_brings_no_objects() -> None:
    first, second = sample(0), sample(1)
    assert mixup([first, second], 0.05, 0.1).labels.tolist() == second.labels.tolist()
    assert mixup([first, second], 0.95, 0.1).labels.tolist() == first.labels.tolist()


def test_objects_to_be_ignored_are_not_pasted() -> None:
    result = CopyPaste(share=1.0)([sample(0, []), sample(1)], np.random.default_rng(0))
    assert result.labels.tolist() == [10, 12, 13, 14]


@pytest.mark.parametrize("mix", [Mosaic(), MixUp(), CutMix(), CopyPaste()])
def test_a_mix_is_a_function_of_samples_and_generator(mix) -> None:
    samples = [sample(k) for k in range(1 + mix.partners)]
    before = [s.image.copy() for s in samples]
    one, two = (mix(samples, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.boxes, two.boxes)
    for given, kept in zip(samples, before, strict=True):
        np.testing.assert_array_equal(given.image, kept)
    empty = mix([sample(k, []) for k in range(1 + mix.partners)], np.random.default_rng(3))
    assert empty.boxes.shape == (0, 4)
    assert np.isnan(empty.to_original).all()


def test_the_largest_objects_are_kept_and_the_others_counted() -> None:
    boxes = [[0, 0, side, side] for side in (3, 9, 5, 7)]
    mixed = MixUp(most=3, visible=0.0)(
        [sample(0, boxes), sample(1, boxes)], np.random.default_rng(0)
    )
    assert sorted(mixed.boxes[:, 2].tolist()) == [7, 9, 9]
    assert mixed.dropped == 5
    again = Mosaic(most=2, low=0.45, high=0.55)([mixed, *[sample(k) for k in range(3)]],
                                               np.random.default_rng(1))  # fmt: skip
    assert again.dropped > 5
    assert collated([mixed, again, sample(0)]).dropped.tolist() == [5, again.dropped, 0]


@pytest.mark.parametrize("make", [lambda: MixUp(alpha=0), lambda: CutMix(visible=0.0),
                                  lambda: CutMix(alpha=-1), lambda: CopyPaste(share=0.0),
                                  lambda: CopyPaste(most=0)])  # fmt: skip
def test_numbers_out_of_range_are_refused(make) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()

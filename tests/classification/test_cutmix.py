import numpy as np
import pytest
import torch

from detectors.classification.cutmix import BatchCutMix, cutmix
from detectors.data.augment.copy_paste import rectangle


def naive(images, targets, place, partners):
    """Pixel by pixel, and the share by counting."""
    top, left, bottom, right = place
    mixed, labels = images.clone(), targets.clone()
    height, width = images.shape[2:]
    for row, partner in enumerate(partners):
        taken = 0
        for y in range(height):
            for x in range(width):
                if top <= y < bottom and left <= x < right:
                    mixed[row, :, y, x] = images[partner, :, y, x]
                    taken += 1
        share = taken / (height * width)
        labels[row] = (1 - share) * targets[row] + share * targets[partner]
    return mixed, labels


@pytest.mark.parametrize("place", [(0, 0, 6, 9), (2, 3, 2, 7), (1, 2, 5, 9), (0, 0, 1, 1)])
def test_equals_the_naive_loop(place: tuple[int, int, int, int]) -> None:
    images = torch.randint(0, 256, (4, 3, 6, 9), dtype=torch.uint8)
    targets = torch.eye(5)[[0, 1, 4, 1]]
    partners = np.array([2, 1, 0, 3])
    before = images.clone()
    found, expected = (f(images, targets, place, partners) for f in (cutmix, naive))
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    assert torch.equal(images, before)


def test_rectangle_has_the_share_where_the_border_does_not_clip_it() -> None:
    whole = inside = 0
    for seed in range(500):
        top, left, bottom, right = rectangle(100, 200, 0.25, np.random.default_rng(seed))
        assert 0 <= top <= bottom <= 100
        assert 0 <= left <= right <= 200
        if top > 0 and left > 0 and bottom < 100 and right < 200:
            inside += 1
            whole += (bottom - top) * (right - left) / 20_000
    assert inside == pytest.approx(500 / 4, abs=30)  # the centre in the middle half of both sides
    assert whole / inside == pytest.approx(0.25, abs=0.005)


def test_is_a_function_of_the_generator_and_leaves_a_share_of_batches_alone() -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    targets = torch.eye(4)
    mixed = 0
    for seed in range(200):
        first, second = (
            BatchCutMix(0.5)(images, targets, np.random.default_rng(seed)) for _ in range(2)
        )
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])
        torch.testing.assert_close(first[1].sum(dim=1), torch.ones(4))
        mixed += first[0] is not images
    assert mixed == pytest.approx(100, abs=30)
    assert BatchCutMix(0.0)(images, targets, np.random.default_rng(0))[1] is targets


def test_probability_and_alpha_have_bounds() -> None:
    for probability, alpha in ((-0.1, 1.0), (1.1, 1.0), (0.5, 0.0)):
        with pytest.raises(ValueError, match="cutmix: expected"):
            BatchCutMix(probability, alpha)

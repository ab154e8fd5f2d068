"""Selective search as a whole: what it draws and where its boxes lie."""

import sys

import numpy as np
import pytest

from detectors.data.proposals.selective_search import MODES, SelectiveSearch, colours


def squares() -> np.ndarray:
    """[80, 120, 3] two bright squares of 30 pixels on dark noise."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 30, (80, 120, 3)).astype(np.uint8)
    image[20:50, 10:40] = [220, 40, 40]
    image[30:60, 70:100] = [40, 60, 230]
    return image


@pytest.fixture
def _skimage() -> None:
    pytest.importorskip("skimage")


@pytest.mark.usefixtures("_skimage")
@pytest.mark.parametrize("mode", list(MODES))
def test_plain_squares_are_found_whatever_is_drawn(mode: str) -> None:
    search = SelectiveSearch(mode, width=None)  # type: ignore[arg-type]
    for seed in (0, 1):
        boxes = search(squares(), np.random.default_rng(seed))
        assert [10, 20, 40, 50] in boxes.tolist()
        assert [70, 30, 100, 60] in boxes.tolist()


@pytest.mark.usefixtures("_skimage")
def test_boxes_are_large_enough_different_and_scaled_back() -> None:
    image = squares()
    boxes = SelectiveSearch(width=60, smallest=10)(image, np.random.default_rng(0))
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes[:, 2:] - boxes[:, :2] >= 20).all()  # 10 pixels of a picture half as wide
    assert (boxes >= 0).all()
    assert (boxes <= [120, 80, 120, 80]).all()
    assert [0, 0, 120, 80] in boxes.tolist()


@pytest.mark.usefixtures("_skimage")
def test_the_seed_decides_the_order_alone() -> None:
    search, image = SelectiveSearch(width=None), squares()
    first, again, other = (search(image, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert sorted(first.tolist()) == sorted(other.tolist())


@pytest.mark.usefixtures("_skimage")
def test_a_plain_picture_is_one_region() -> None:
    plain = np.full((30, 40, 3), 90, np.uint8)
    search = SelectiveSearch(width=None)
    assert search(plain, np.random.default_rng(0)).tolist() == [[0, 0, 40, 30]]


def test_colour_spaces_span_bytes() -> None:
    image = np.array([[[255, 0, 0], [0, 0, 0], [90, 90, 90]]], np.uint8)
    assert colours(image, "rgi").tolist() == [[[255, 0, 85], [0, 0, 0], [85, 85, 90]]]
    assert colours(image, "hue").shape == (1, 3, 1)
    assert colours(image, "intensity")[0, :, 0].tolist() == [76, 0, 90]
    for space, channels in (("hsv", 3), ("lab", 3)):
        assert colours(image, space).shape == (1, 3, channels)


def test_without_scikit_image_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ValueError, match=r"pip install 'lightning-detectors\[classical\]'"):
        SelectiveSearch()


@pytest.mark.usefixtures("_skimage")
@pytest.mark.parametrize("width", [60, 240])
def test_pictures_are_shrunk_and_enlarged_to_the_width(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in R-CNN's release, whose smallest side is one of that picture."""
    search, seen = SelectiveSearch(width=width, smallest=10), []
    grouped = search._groupings
    monkeypatch.setattr(search, "_groupings", lambda one: seen.append(one.shape) or grouped(one))
    boxes = search(squares(), np.random.default_rng(0))
    assert seen == [(80 * width // 120, width, 3)]
    assert [0, 0, 120, 80] in boxes.tolist()

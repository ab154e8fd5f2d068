"""Pictures decoded at a part of their size show the same, and never less than the canvas needs."""

import cv2
import numpy as np
import pytest
from PIL import Image

from detectors.data.augment.transforms import Letterbox, ShorterEdge, Stretch
from detectors.data.dataset import DetectionDataset
from detectors.data.sources.base import Unreadable
from detectors.data.sources.first import First
from detectors.data.sources.images import ORIENTATION, ImageFiles
from detectors.structures import Annotations


def source(path, height: int, width: int) -> ImageFiles:
    """A picture with one object."""
    annotations = Annotations(
        image_ids=np.array([7]),
        sizes=np.array([[height, width]]),
        offsets=np.array([0, 1]),
        boxes=np.array([[9.0, 8.0, 40.0, 50.0]]),
        labels=np.array([0]),
        crowd=np.array([False]),
        difficult=np.array([False]),
        areas=np.array([1302.0]),
        classes=("a",),
        category_ids=(1,),
    )
    return ImageFiles(annotations, [path])


def smooth(path, height: int, width: int, **saved) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    Image.fromarray(cv2.resize(coarse, (width, height))).save(path, **saved)


@pytest.mark.parametrize(
    ("least", "part"),
    [((48, 64), 2), ((49, 64), 1), ((48, 65), 1), ((24, 32), 4), ((1, 1), 8), ((96, 128), 1)],
)
def test_the_smallest_size_that_is_enough(tmp_path, least, part) -> None:
    smooth(tmp_path / "a.jpg", 96, 128, quality=95)
    found = source(tmp_path / "a.jpg", 96, 128).reduced(0, least)
    assert found.shape == (96 // part, 128 // part, 3)
    whole = source(tmp_path / "a.jpg", 96, 128).image(0)
    expected = cv2.resize(whole, found.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(float) - expected).mean() < (0.01 if part == 1 else 8)


@pytest.mark.parametrize(
    ("size", "part"), [((97, 128), 1), ((96, 130), 2), ((100, 132), 4), ((98, 99), 1)]
)
def test_only_a_part_that_divides_keeps_objects_in_their_boxes(tmp_path, size, part) -> None:
    smooth(tmp_path / "a.jpg", *size, quality=95)
    found = source(tmp_path / "a.jpg", *size).reduced(0, (1, 1))
    assert found.shape[:2] == (size[0] // part, size[1] // part)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_is_followed_as_at_full_size(tmp_path, orientation) -> None:
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[ORIENTATION] = orientation
    smooth(path, 96, 128, quality=95, exif=exif)
    size = (128, 96) if orientation > 4 else (96, 128)
    files = source(path, *size)
    small = files.reduced(0, (10, 10))
    assert small.shape == (size[0] // 8, size[1] // 8, 3)
    expected = cv2.resize(files.image(0), small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(float) - expected).mean() < 8
    as_stored = source(path, 96, 128).reduced(0, (40, 40))  # annotated without the turn
    assert as_stored.shape == (48, 64, 3)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp"])
def test_other_formats_are_decoded_whole(tmp_path, name) -> None:
    smooth(tmp_path / name, 96, 128)
    files = source(tmp_path / name, 96, 128)
    np.testing.assert_array_equal(files.reduced(0, (10, 10)), files.image(0))


def test_another_size_than_annotated_is_refused_as_at_full_size(tmp_path) -> None:
    smooth(tmp_path / "a.jpg", 96, 128)
    with pytest.raises(Unreadable, match="128 wide and 96 high, its annotation says 130 x 96"):
        source(tmp_path / "a.jpg", 96, 130).reduced(0, (10, 10))
    smooth(tmp_path / "a.jpg", 473, 633)  # whose eighths are as large as those of 480 x 640
    for least in ((240, 320), (60, 80)):
        with pytest.raises(Unreadable, match="633 wide and 473 high, its annotation says"):
            source(tmp_path / "a.jpg", 480, 640).reduced(0, least)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8no picture")
    with pytest.raises(Unreadable, match="damaged"):
        source(tmp_path / "a.jpg", 96, 128).reduced(0, (10, 10))


@pytest.mark.parametrize("resize", [Stretch(32), Letterbox(32), ShorterEdge(24)])
@pytest.mark.parametrize("size", [(97, 131), (131, 97), (64, 64), (33, 40)])
def test_objects_lie_where_they_do_at_full_size(tmp_path, resize, size) -> None:
    smooth(tmp_path / "a.jpg", *size, quality=95)
    files = First(source(tmp_path / "a.jpg", *size), 1)
    exact = DetectionDataset(files, {}, resize, 0)[0]
    reduced = DetectionDataset(files, {}, resize, 0, reduced=True)[0]
    for name in ("boxes", "frame", "to_original", "labels", "id"):
        np.testing.assert_array_equal(getattr(reduced, name), getattr(exact, name))
    assert reduced.image.shape == exact.image.shape
    assert np.abs(reduced.image.astype(float) - exact.image).mean() < 8

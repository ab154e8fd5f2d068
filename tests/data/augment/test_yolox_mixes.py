"""YOLOX's mosaic and MixUp equal loops over pixels and objects."""

import math

import cv2
import numpy as np
import pytest

from detectors.data.augment.affine_mosaic import AffineMosaic, affine, around, warped
from detectors.data.augment.jittered_mixup import JitteredMixUp, jittered
from detectors.data.augment.photometric import HSVShift
from detectors.data.augment.transforms import FILL, Letterbox, LetterboxCorner
from detectors.structures import Sample

HEIGHT, WIDTH = 12, 16


def sample(picture: int, height: int = HEIGHT, width: int = WIDTH, objects: int = 3) -> Sample:
    """Each pixel tells its place and picture."""
    rng = np.random.default_rng(picture)
    corner = rng.uniform(0, 0.6, (objects, 2)) * (width, height)
    boxes = np.concatenate([corner, corner + rng.uniform(2, 6, (objects, 2))], axis=1)
    rows, columns = np.mgrid[:height, :width]
    return Sample(
        image=np.stack([rows, columns, np.full_like(rows, picture)], axis=-1).astype(np.uint8),
        boxes=np.clip(boxes, 0, [width, height] * 2).astype(np.float32),
        labels=np.arange(objects) + 10 * picture,
        ignore=np.arange(objects) == 1,
        id=picture,
        to_original=np.array([1, 1, 0, 0], np.float32),
        frame=np.array([0, 0, width, height], np.float32),
    )


@pytest.mark.parametrize("point", [(6, 8), (17, 23), (12, 16)])
@pytest.mark.parametrize("resize", [Letterbox, LetterboxCorner])
def test_four_pictures_touch_a_point(point: tuple[int, int], resize: type) -> None:
    """Without their borders: one is lying, one upright, two fill the canvas."""
    shapes = [(6, 16), (12, 16), (12, 4), (12, 16)]
    pictures = [sample(k, *shape) for k, shape in enumerate(shapes)]
    canvas = resize([HEIGHT, WIDTH])
    found = around([canvas(picture) for picture in pictures], np.array(point))
    image = np.full((2 * HEIGHT, 2 * WIDTH, 3), FILL, np.uint8)
    boxes = []
    for k, (height, width) in enumerate(shapes):
        top = point[0] - height if k < 2 else point[0]
        left = point[1] - width if k % 2 == 0 else point[1]
        for y in range(height):
            for x in range(width):
                if 0 <= top + y < 2 * HEIGHT and 0 <= left + x < 2 * WIDTH:
                    image[top + y, left + x] = pictures[k].image[y, x]
        for x0, y0, x1, y1 in pictures[k].boxes.tolist():
            corners = [x0 + left, y0 + top, x1 + left, y1 + top]
            ends = [2 * WIDTH, 2 * HEIGHT] * 2
            boxes.append([min(max(c, 0), end) for c, end in zip(corners, ends, strict=True)])
    assert np.array_equal(found.image, image)
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-5)
    assert found.labels.tolist() == [label for p in pictures for label in p.labels]
    assert np.isnan(found.to_original).all()


def test_the_map_is_that_of_the_release() -> None:
    """Turn and scale, then what one axis takes of the other, then the shift, number by number."""
    degrees, scale, shear, shift = 7.0, 1.3, np.array([1.5, -0.8]), np.array([4.0, -9.0])
    cosine = scale * math.cos(math.radians(degrees))
    sine = scale * math.sin(math.radians(degrees))
    along_x, along_y = (math.tan(math.radians(angle)) for angle in shear)
    expected = [
        [cosine - along_y * sine, sine + along_y * cosine, 4.0],
        [-sine + along_x * cosine, cosine + along_x * sine, -9.0],
    ]
    np.testing.assert_allclose(affine(degrees, scale, shear, shift), expected, atol=1e-9)


def test_boxes_are_upright_around_their_mapped_corners() -> None:
    given, size = sample(0, 2 * HEIGHT, 2 * WIDTH, objects=20), np.array([HEIGHT, WIDTH])
    matrix = affine(20.0, 0.7, np.array([2.0, -3.0]), np.array([1.0, -1.0]))
    found = warped(given, matrix, size, smallest=1.0)
    expected, labels = [], []
    for (x0, y0, x1, y1), label in zip(given.boxes.tolist(), given.labels, strict=True):
        corners = [matrix @ (x, y, 1.0) for x in (x0, x1) for y in (y0, y1)]
        xs = [min(max(x, 0), WIDTH) for x, _ in corners]
        ys = [min(max(y, 0), HEIGHT) for _, y in corners]
        if max(xs) - min(xs) > 1 and max(ys) - min(ys) > 1:
            expected.append([min(xs), min(ys), max(xs), max(ys)])
            labels.append(label)
    assert 0 < len(labels) < 20
    np.testing.assert_allclose(found.boxes, expected, atol=1e-4)
    assert found.labels.tolist() == labels


def test_pixels_go_where_boxes_go() -> None:
    """A white block enlarged threefold is the box that the same map makes of its box."""
    image = np.zeros((20, 20, 3), np.uint8)
    image[4:8, 6:11] = 255
    block = np.array([[6, 4, 11, 8]], np.float32)
    given = sample(0, 20, 20, objects=1)._replace(image=image, boxes=block)
    found = warped(
        given, affine(0.0, 3.0, np.zeros(2), np.array([-5.0, -4.0])), np.array([40, 40]), 1
    )
    assert found.boxes.tolist() == [[13, 8, 28, 20]]
    rows, columns = np.nonzero(found.image[..., 0] > 127)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (13, 8, 28, 20)


def test_a_mosaic_keeps_the_canvas_and_what_it_draws() -> None:
    samples = [sample(k) for k in range(4)]
    mix = AffineMosaic(most=5, scale=(0.4, 0.6))
    one, same = (mix(samples, np.random.default_rng(3)) for _ in range(2))
    assert one.image.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(one.image, same.image)
    assert one.frame.tolist() == [0, 0, WIDTH, HEIGHT]
    assert len(one.labels) <= 5
    empty = [sample(k, objects=0) for k in range(4)]
    assert mix(empty, np.random.default_rng(0)).boxes.shape == (0, 4)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("flips", [False, True])
def test_a_partner_is_resized_mirrored_and_cut(factor: float, flips: bool) -> None:
    given = sample(1)
    found = jittered(given, factor, flips, np.array([0.6, 0.3]))
    height, width = int(HEIGHT * factor), int(WIDTH * factor)
    whole = cv2.resize(given.image, (width, height), interpolation=cv2.INTER_LINEAR)
    whole = whole[:, ::-1] if flips else whole
    top, left = int(0.6 * max(height - HEIGHT, 0)), int(0.3 * max(width - WIDTH, 0))
    expected = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if y + top < height and x + left < width:
                expected[y, x] = whole[y + top, x + left]
    assert np.array_equal(found.image, expected)
    boxes = []
    for x0, y0, x1, y1 in (given.boxes * factor).tolist():
        x0, x1 = (width - x1, width - x0) if flips else (x0, x1)
        corners = [x0 - left, y0 - top, x1 - left, y1 - top]
        ends = [WIDTH, HEIGHT] * 2
        cut = [min(max(c, 0), end) for c, end in zip(corners, ends, strict=True)]
        if (cut[2] - cut[0]) * (cut[3] - cut[1]) > 1e-4:
            boxes.append(cut)
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-4)


def test_mixup_shows_half_of_each_and_all_objects() -> None:
    first, other = sample(1), sample(2)
    mix = JitteredMixUp(scale=(1.0, 1.0), flip=0.0, smallest=0.5)
    found = mix([first, other], np.random.default_rng(0))
    mean = (first.image.astype(float) + other.image) / 2
    assert np.abs(found.image - mean).max() <= 0.5
    assert found.labels.tolist() == [10, 11, 12, 20, 21, 22]
    assert JitteredMixUp(most=2)([first, other], np.random.default_rng(0)).labels.shape == (2,)


def test_a_sample_without_objects_is_not_mixed() -> None:
    empty = sample(1, objects=0)
    assert JitteredMixUp()([empty, sample(2)], np.random.default_rng(0)) is empty


@pytest.mark.parametrize("seed", range(6))
def test_colours_are_shifted_in_hsv(seed: int) -> None:
    image = np.random.default_rng(9).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    given = sample(0, 5, 6, objects=0)._replace(image=image)
    found = HSVShift()(given, np.random.default_rng(seed)).image
    draw = np.random.default_rng(seed)
    amounts = [int(amount) for amount in draw.uniform([-5, -30, -30], [5, 30, 30])]
    shifts = [amount if r < 0.5 else 0 for amount, r in zip(amounts, draw.random(3), strict=True)]
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(int)
    for y, x in np.ndindex(5, 6):
        h, s, v = hsv[y, x] + shifts
        hsv[y, x] = h % 180, min(max(s, 0), 255), min(max(v, 0), 255)
    assert np.array_equal(found, cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: AffineMosaic(scale=(0.0, 1.0)), "scale of two factors above 0"),
        (lambda: AffineMosaic(low=1.0, high=0.5), "0 < low <= high < 2"),
        (lambda: AffineMosaic(degrees=-1.0), "degrees in"),
        (lambda: JitteredMixUp(scale=(1.5, 0.5)), "rising"),
        (lambda: JitteredMixUp(flip=2.0), "in \\[0, 1\\]"),
    ],
)
def test_numbers_out_of_range_are_refused(made, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        made()

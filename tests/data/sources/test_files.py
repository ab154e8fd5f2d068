"""Pictures of any format and orientation are read, and damaged ones are refused."""

import os
import pickle
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from detectors.data.sources.base import Unreadable
from detectors.data.sources.images import ImageFiles, upright_size
from detectors.data.sources.paths import expanded
from detectors.data.sources.unlabelled import unannotated


def read_pictures(path) -> ImageFiles:
    """One picture without annotations, of the size that its header says."""
    return ImageFiles(unannotated(np.array([upright_size(path)])), [path])


def annotated(path, height, width) -> ImageFiles:
    """The picture, said to be of this size."""
    annotations = read_pictures(path).annotations
    return ImageFiles(annotations._replace(sizes=np.array([[height, width]])), [path])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_colour_mode_of_jpeg_becomes_rgb(tmp_path, picture, mode) -> None:
    image = read_pictures(picture(tmp_path / "a.jpg", mode=mode)).image(0)
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image[10, 5], 40, atol=4)
    np.testing.assert_allclose(image[10, 25], 220, atol=4)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_every_colour_mode_of_png_becomes_rgb(tmp_path, picture, mode) -> None:
    image = read_pictures(picture(tmp_path / "a.png", mode=mode)).image(0)
    assert image.shape == (20, 30, 3)
    assert image[10, 5].tolist() == [40, 40, 40]


def test_sixteen_bits_are_scaled_not_cut(tmp_path) -> None:
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.full((4, 6), 128 * 256, np.uint16))
    assert (read_pictures(path).image(0) == 128).all()


def test_colours_are_in_the_order_red_green_blue(tmp_path) -> None:
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), np.full((16, 16, 3), (0, 0, 255), np.uint8))
        red, green, blue = read_pictures(tmp_path / name).image(0)[8, 8].astype(int)
        assert red > 240
        assert max(green, blue) < 15


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_a_truncated_picture_is_refused_by_name(tmp_path, suffix, keep) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    path = tmp_path / f"half.{suffix}"
    cv2.imwrite(str(path), noise)
    path.with_stem("whole").write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes()[:keep])
    source = ImageFiles(read_pictures(path.with_stem("whole")).annotations, [path])
    with pytest.raises(ValueError, match=rf"half\.{suffix}: damaged or truncated"):
        source.image(0)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_and_the_pixels_agree_on_the_upright_size(
    tmp_path, picture, orientation, suffix
) -> None:
    path = picture(tmp_path / f"a.{suffix}", orientation=orientation)
    assert read_pictures(path).image(0).shape[:2] == upright_size(path)
    assert upright_size(path) == ((20, 30) if orientation < 5 else (30, 20))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_a_picture_annotated_upright_is_turned(tmp_path, picture, suffix) -> None:
    path = picture(tmp_path / f"a.{suffix}", orientation=6)  # to be turned by 90 degrees clockwise
    image = annotated(path, 30, 20).image(0)
    assert image[5].mean() < 60  # the dark left half is on top now
    assert image[25].mean() > 200


def test_a_picture_annotated_as_stored_is_left_as_stored(tmp_path, picture) -> None:
    image = annotated(picture(tmp_path / "a.jpg", orientation=6), 20, 30).image(0)
    assert image[:, 5].mean() < 60


def test_a_size_that_fits_neither_way_is_refused(tmp_path, picture) -> None:
    source = annotated(picture(tmp_path / "a.jpg"), 25, 30)
    with pytest.raises(ValueError, match=r"a\.jpg.*30 wide and 20 high.*30 x 25"):
        source.image(0)


def test_pickled_files_are_a_few_bytes_an_image(tmp_path) -> None:
    """Workers get a copy: it must hold arrays, not objects."""
    count = 10_000
    annotations = unannotated(np.full((count, 2), 10))
    source = ImageFiles(annotations, [f"/images/{k:012}.jpg" for k in range(count)])
    assert len(pickle.dumps(source)) < 80 * count
    assert source.path(1234) == "/images/000000001234.jpg"


def test_a_pipe_is_refused_where_a_picture_was(tmp_path, picture) -> None:
    """Opening one would wait for a writer that never comes."""
    path = picture(tmp_path / "a.jpg")
    source = read_pictures(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Unreadable, match=r"a\.jpg is a folder, pipe or device"):
        source.image(0)
    with pytest.raises(Unreadable, match=r"a\.jpg is a folder, pipe or device"):
        upright_size(path)
    path.unlink()
    with pytest.raises(Unreadable, match=r"a\.jpg: damaged.*No such file"):
        source.image(0)


def test_a_picture_that_pil_takes_for_a_bomb_is_read(tmp_path, picture, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_pictures(picture(tmp_path / "a.png")).image(0).shape == (20, 30, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_picture_that_opencv_takes_for_a_bomb_is_refused_by_name(tmp_path) -> None:
    path = tmp_path / "a.png"
    header = struct.pack(">II5B", 2**20, 2**20, 1, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    with pytest.raises(Unreadable, match=r"a\.png: damaged"):
        ImageFiles(unannotated(np.array([[2**20, 2**20]])), [path]).image(0)


def test_an_unset_data_folder_is_named_with_the_remedy(monkeypatch) -> None:
    monkeypatch.delenv("DETECTORS_DATA", raising=False)
    with pytest.raises(ValueError, match=r"DETECTORS_DATA is not set.*export.*BCCD_Dataset"):
        expanded("$DETECTORS_DATA/bccd")
    monkeypatch.setenv("DETECTORS_DATA", "/somewhere")
    assert str(expanded("$DETECTORS_DATA/bccd")) == "/somewhere/bccd"

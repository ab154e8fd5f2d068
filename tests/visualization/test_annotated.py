"""Annotated videos have the frames and the rate of their source, or are not there."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from detectors.metrics import PackedDetections
from detectors.structures import Picture
from detectors.visualization import annotated
from detectors.visualization.annotated import by_kind, drawn_pictures, drawn_videos, whole_video
from tests.small_videos import noise, read_video

NOTHING = PackedDetections(
    np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4))
)
ONE = PackedDetections(
    np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1), np.array([[10.0, 20, 40, 40]])
)
GREY = np.full((48, 64, 3), 128, np.uint8)


@pytest.mark.parametrize("rate", [0.5, 4.281, 12.5, 23.976, 29.97, 60, 119.88, 239.76])
def test_a_video_has_the_rate_it_was_given(tmp_path: Path, rate: float) -> None:
    with whole_video(tmp_path / "a.mp4", (48, 64), rate) as add:
        for level in (50, 100, 150):
            add(np.full((48, 64, 3), level, np.uint8))
    images, found = read_video(tmp_path / "a.mp4")
    assert found == pytest.approx(rate, rel=1e-3)
    assert [round(image.mean() / 10) for image in images] == [5, 10, 15]


def test_images_of_another_size_are_fitted(tmp_path: Path) -> None:
    with whole_video(tmp_path / "a.mp4", (48, 64), 10) as add:
        add(GREY)
        add(np.full((96, 128, 3), 200, np.uint8))
    images, _ = read_video(tmp_path / "a.mp4")
    assert [image.shape for image in images] == [(48, 64, 3)] * 2
    assert images[1].mean() > 180


def test_nothing_is_left_of_a_video_that_is_not_whole(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_video(tmp_path / "a.mp4", (48, 64), 10) as add:  # noqa: PT012
        add(GREY)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_frames_that_are_lost_without_a_word_are_told(tmp_path: Path, monkeypatch) -> None:
    """As OpenCV loses them where the disk is full."""
    real = cv2.VideoWriter
    monkeypatch.setattr(cv2, "VideoWriter", lambda *words: Leaky(real(*words)))
    told = r"a\.mp4: 1 of 3 frames could be written: is the disk full"
    with pytest.raises(OSError, match=told), whole_video(tmp_path / "a.mp4", (48, 64), 10) as add:  # noqa: PT012
        add(GREY)
        add(GREY)
        add(GREY)
    assert not list(tmp_path.iterdir())


class Leaky:
    """Writes the first frame alone."""

    def __init__(self, writer: cv2.VideoWriter) -> None:
        self.writer, self.first = writer, True
        self.isOpened, self.release = writer.isOpened, writer.release

    def write(self, image: np.ndarray) -> None:
        if self.first:
            self.writer.write(image)
        self.first = False


def test_a_folder_that_takes_no_video_is_told_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="OpenCV cannot write a video there"),
        whole_video(tmp_path / "none" / "a.mp4", (48, 64), 10),
    ):
        pass


def test_each_video_gets_its_file_and_boxes(tmp_path: Path) -> None:
    with (
        drawn_pictures(tmp_path / "pictures", ["cat", "dog"]) as pictures,
        drawn_videos(tmp_path / "videos", ["cat", "dog"]) as videos,
    ):
        write = by_kind(pictures, videos)
        write(0, Picture("a/one.avi", GREY, 0, 0.0, 5.0), NOTHING)
        write(1, Picture("a/one.avi", GREY, 2, 0.4, 5.0), ONE)
        write(2, Picture("b/one.avi", GREY, 0, 0.0, None), NOTHING)
        write(3, Picture("b/one.avi", GREY, 0, 0.0, None), NOTHING)  # the same video once more
        write(4, Picture("a/photo.png", GREY), ONE)
    names = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*"))
    assert names == [
        "pictures/00004_photo.jpg",
        *(f"videos/0000{k}_one.mp4" for k in (0, 2, 3)),
    ]
    (first, second), rate = read_video(tmp_path / "videos" / "00000_one.mp4")
    assert rate == pytest.approx(5)
    assert np.abs(first.astype(int) - 128).max() < 10
    assert np.abs(second.astype(int) - 128).max() > 60
    assert read_video(tmp_path / "videos" / "00003_one.mp4")[1] == pytest.approx(annotated.RATE)


def test_frames_can_be_drawn_as_pictures(tmp_path: Path) -> None:
    with drawn_pictures(tmp_path / "pictures", ["cat", "dog"]) as write:
        write(7, Picture("a/one.avi", GREY, 30, 0.4, 5.0), ONE)
    assert [file.name for file in (tmp_path / "pictures").iterdir()] == ["00007_one_000030.jpg"]


def test_noise_is_written(tmp_path: Path) -> None:
    """The noisiest frames are the largest ones."""
    with whole_video(tmp_path / "a.mp4", (47, 63), 10) as add:
        for image in noise(4, 47, 63):
            add(image)
    assert len(read_video(tmp_path / "a.mp4")[0]) == 4

"""Frames of videos and cameras come in order with number and time, and what is lost is told."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from detectors.data.sources import cameras
from detectors.data.sources.cameras import Camera
from detectors.data.sources.footage import Footage, Span
from detectors.data.sources.videos import VideoFile
from detectors.structures import Lost, Picture
from tests.small_videos import RATE, FakeCamera, noise, write_video


def read(footage: Footage, span: Span = Span()) -> tuple[list[Picture], list[Lost]]:  # noqa: B008
    done = [task() for task in footage.tasks(span)]
    return (
        [item for item in done if isinstance(item, Picture)],
        [item for item in done if isinstance(item, Lost)],
    )


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mov"])
def test_frames_are_those_that_were_written_at_their_times(tmp_path, suffix) -> None:
    images = noise(6)
    pictures, lost = read(VideoFile(str(write_video(tmp_path / f"a{suffix}", images))))
    assert not lost
    assert [picture.number for picture in pictures] == [0, 1, 2, 3, 4, 5]
    times = [picture.seconds for picture in pictures]
    np.testing.assert_allclose(times, np.arange(6) / RATE, atol=1e-3)  # mkv counts milliseconds
    for picture, image in zip(pictures, images, strict=True):
        assert picture.rate == pytest.approx(RATE)
        np.testing.assert_array_equal(picture.image, image)


@pytest.mark.parametrize(
    ("span", "numbers"),
    [
        (Span(every=4), [0, 4, 8]),
        (Span(frames=3), [0, 1, 2]),
        (Span(every=3, frames=2), [0, 3]),
        (Span(every=2, seconds=0.4), [0, 2, 4]),  # the fifth is shown at 0.4
        (Span(every=20), [0]),
    ],
)
def test_a_span_chooses_frames_and_their_rate(tmp_path, span, numbers) -> None:
    images = noise(9)
    video = VideoFile(str(write_video(tmp_path / "a.avi", images)))
    pictures, lost = read(video, span)
    assert [picture.number for picture in pictures] == numbers
    assert video.expected(span) == len(numbers)
    assert not lost
    for picture in pictures:
        assert picture.rate == pytest.approx(RATE / span.every)
        np.testing.assert_array_equal(picture.image, images[picture.number])


def test_damaged_frames_are_counted_and_the_rest_is_read(tmp_path) -> None:
    """Some decoders hide damage; that of PNG refuses it."""
    images = noise(20)
    path = write_video(tmp_path / "a.avi", images, "png ")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    pictures, (lost,) = read(VideoFile(str(path)))
    assert 0 < lost.pictures < 20
    assert lost.pictures + len(pictures) == 20
    assert f"a.avi: {len(pictures)} of its 20 frames can be decoded" in lost.reason
    np.testing.assert_array_equal(pictures[-1].image, images[-1])
    assert pictures[-1].seconds == pytest.approx(19 / RATE)


def test_a_truncated_video_is_told(tmp_path, caplog) -> None:
    for name in ("a.avi", "a.mkv"):
        path = write_video(tmp_path / name, noise(20))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    pictures, (lost,) = read(VideoFile(str(tmp_path / "a.avi")))
    assert lost.pictures + len(pictures) == 20
    assert read(VideoFile(str(tmp_path / "a.avi")), Span(frames=2))[1] == []  # it is not known yet
    pictures, lost = read(VideoFile(str(tmp_path / "a.mkv")))
    assert 0 < len(pictures) < 14
    assert not lost  # such a file does not say how many there should be
    assert "a.mkv: its frames end after" in caplog.text


def test_what_is_no_video_is_told(tmp_path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name, told in {
        "text.mp4": "OpenCV cannot read this video",
        "pipe.mp4": "a folder, pipe or device",
        "folder.mp4": "a folder, pipe or device",
        "none.mp4": "No such file",
    }.items():
        video = VideoFile(str(tmp_path / name))
        pictures, (lost,) = read(video)
        assert not pictures
        assert told in lost.reason
        assert video.expected(Span()) in (1, None)


def test_a_camera_ends_with_its_span(monkeypatch) -> None:
    images = noise(12)
    camera = FakeCamera(images)
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    assert Camera(0).expected(Span(every=2, frames=3)) == 3
    pictures, lost = read(Camera(0), Span(every=2, frames=3))
    assert (camera.grabbed, camera.released, lost) == (5, True, [])
    assert [(picture.file, picture.number) for picture in pictures] == [
        ("camera_0", number) for number in (0, 2, 4)
    ]
    np.testing.assert_array_equal(pictures[2].image, images[4])


def test_times_of_a_camera_are_those_of_a_clock(monkeypatch) -> None:
    ticks = iter([100.0, 100.5, 102.0, 103.0])
    monkeypatch.setattr(cameras.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera(noise(12)))
    pictures, lost = read(Camera(0), Span(seconds=3))
    assert [picture.seconds for picture in pictures] == [0, 0.5, 2]
    assert not lost


@pytest.fixture
def _told_of_ctrl_c() -> Iterator[None]:
    """As in a terminal; a shell that starts tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_told_of_ctrl_c")
def test_ctrl_c_ends_a_camera_and_the_second_one_is_as_before(monkeypatch) -> None:
    def pressed(number: int) -> None:
        if number in (3, 4):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera(noise(12), pressed))
    pictures, lost = read(Camera(0))
    assert [picture.number for picture in pictures] == [0, 1, 2, 3]
    assert not lost
    assert signal.getsignal(signal.SIGINT) is before
    tasks = Camera(0).tasks(Span())
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera(noise(12), pressed))
    assert [next(tasks)() for _ in range(4)]
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_camera_that_fails_is_told(monkeypatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera([]))
    pictures, (lost,) = read(Camera(0))
    assert not pictures
    assert "camera 0 cannot be opened" in lost.reason
    first, second = noise(2)
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera([first, None, second]))
    pictures, lost = read(Camera(0))
    assert [picture.number for picture in pictures] == [0, 2]
    assert lost[0].reason == "camera_0: frame 1 cannot be decoded"
    assert "camera_0 gave nothing more after 3 frames" in lost[1].reason


@pytest.mark.usefixtures("_told_of_ctrl_c")
def test_a_file_is_closed_when_nobody_reads_on(tmp_path, monkeypatch) -> None:
    camera = FakeCamera(noise(3))
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    tasks = Camera(0).tasks(Span())
    next(tasks)
    tasks.close()  # type: ignore[attr-defined]
    assert camera.released
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_folder_of_a_video_does_not_matter(tmp_path: Path, monkeypatch) -> None:
    """OpenCV takes `%` in a name for a pattern of pictures where the file itself is no video."""
    (tmp_path / "50%02d").mkdir()
    path = write_video(tmp_path / "a.avi", noise(2)).rename(tmp_path / "50%02d" / "a.avi")
    assert len(read(VideoFile(str(path)))[0]) == 2

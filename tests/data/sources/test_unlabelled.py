"""Pictures, videos and cameras are found where a user says they are, and nothing else."""

import io
import os
import sys
from pathlib import Path

import pytest

from detectors.data.sources.cameras import Camera
from detectors.data.sources.footage import PictureFile, Span
from detectors.data.sources.unlabelled import PathsOnInput, check_span, found
from detectors.data.sources.videos import VideoFile
from detectors.structures import Lost


def names(source: object) -> list[str]:
    return [str(item) for item in found(source)]


def test_pictures_are_found_in_files_folders_and_globs(tmp_path, picture, text) -> None:
    for name in ("b.jpg", "a.png"):
        picture(tmp_path / name)
    text(tmp_path / "notes.txt", "no picture")
    assert names(tmp_path) == [str(tmp_path / "a.png"), str(tmp_path / "b.jpg")]
    assert names(tmp_path / "*.jpg") == names(tmp_path / "b.jpg") == [str(tmp_path / "b.jpg")]
    with pytest.raises(ValueError, match="no picture there"):
        found(tmp_path / "*.gif")


def test_signs_of_a_pattern_in_a_name_mean_themselves(tmp_path, picture) -> None:
    for folder in ("set [1]", "set 1"):
        picture(tmp_path / folder / "a*.png")
    for source in ("set [1]", "set [1]/*.png", "set [1]/a*.png", "set [[]1]/*.png"):
        assert names(tmp_path / source) == [str(tmp_path / "set [1]" / "a*.png")]
    with pytest.raises(ValueError, match=r"\*\*\.png: Invalid pattern"):
        found(tmp_path / "**.png")


def test_several_sources_and_numbers_as_names(tmp_path, picture, caplog, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "0" / "a.png")
    picture(tmp_path / "b.png")
    assert names(["0/a.png", "b.png", 0]) == ["0/a.png", "b.png"]
    assert "2 of 3 images used; 1 files named twice dropped: 0/a.png" in caplog.text
    assert names(0) == ["0/a.png"]
    for source in (-1, [], [None], True, None, 0.5, "nowhere"):
        with pytest.raises(ValueError, match=r"no picture there|expected a file, a folder"):
            found(source)


def test_what_is_left_out_is_told(tmp_path, picture, text, caplog) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / ".b.png")
    text(tmp_path / ".c.mp4", "")
    text(tmp_path / "c.gif", "GIF89a")
    os.mkfifo(tmp_path / "d.jpg")
    picture(tmp_path / "below" / "e.png")
    assert len(found(tmp_path)) == 1
    (message,) = caplog.messages
    assert "1 folders not looked into: " in message
    assert "1 of 3 images used; 1 hidden files dropped: " in message
    assert "c.gif" in message
    assert "1 pipes or broken links dropped: " in message
    with pytest.raises(ValueError, match=r"no picture there.*pipes or broken links dropped"):
        found(tmp_path / "d.jpg")


def test_videos_of_a_folder_follow_its_pictures_whose_numbers_stay(tmp_path, picture, text) -> None:
    picture(tmp_path / "b.png")
    text(tmp_path / "a.MP4", "")
    (first, second) = found(tmp_path)
    assert first == PictureFile(str(tmp_path / "b.png"))
    assert second == VideoFile(str(tmp_path / "a.MP4"))


def test_a_list_names_files_relative_to_its_folder(tmp_path, text, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = "# three of them\n\n  a.png \nbelow/b.avi\r\n#c.png\n/there/d.jpg\n"
    text(tmp_path / "lists" / "some.txt", lines)
    assert found("lists/some.txt") == [
        PictureFile("lists/a.png"),
        VideoFile("lists/below/b.avi"),
        PictureFile("/there/d.jpg"),
    ]
    text(tmp_path / "none.txt", "# nothing\n")
    with pytest.raises(ValueError, match=r"none\.txt lists no path: write one on each line"):
        found("none.txt")


def test_paths_on_standard_input_mean_themselves(tmp_path, picture, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    strange = os.fsdecode(b"b\xff.png")
    for name in ("$a (1).png", "#c.png", strange):
        picture(tmp_path / name)
    lines = b"$a (1).png\r\n\n#c.png\nb\xff.png\nnone.png"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    (item,) = found("-")
    assert item == PathsOnInput()
    read = [task() for task in item.tasks(Span())]
    assert [one.file for one in read[:3]] == ["$a (1).png", "#c.png", strange]
    assert isinstance(read[3], Lost)
    assert "none.png: damaged" in read[3].reason


def test_a_number_is_a_camera_where_no_file_is_called_so(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert found([0, "-"]) == [Camera(0), PathsOnInput()]
    Path("0").mkdir()
    with pytest.raises(ValueError, match="0: no picture there"):
        found(0)


def test_words_for_videos_are_refused_where_there_are_none(tmp_path, picture) -> None:
    here = found(picture(tmp_path / "a.png"))
    check_span(here, Span())
    with pytest.raises(ValueError, match=r"every=2 seconds=1\.5: source is neither a video nor"):
        check_span(here, Span(every=2, seconds=1.5))
    check_span([*here, PathsOnInput()], Span(every=2))


def test_nothing_may_follow_a_camera_that_does_not_end() -> None:
    check_span([PathsOnInput(), Camera(1)], Span())
    check_span([Camera(1), PathsOnInput()], Span(frames=3))
    with pytest.raises(ValueError, match="source=1 is a camera, which does not end: name it last"):
        check_span([Camera(1), PathsOnInput()], Span())

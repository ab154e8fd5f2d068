"""What `detectors predict` reads, what it writes, and what it refuses before it works."""

import csv
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from detectors.data.sources.yolo import read_yolo
from tests.small_pictures import write_picture
from tests.small_videos import RATE, FakeCamera, noise, read_video, write_video

Predict = Callable[..., Path]


@pytest.fixture(scope="module")
def finding(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose detector is certain of much, as one that has learnt so little is not."""
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["state_dict"]["detector.head.tower.logits.bias"][:] = torch.arange(4) / 4
    checkpoint["state_dict"]["detector.head.tower.deltas.bias"] += 1
    torch.save(checkpoint, file := tmp_path_factory.mktemp("finding") / "best.ckpt")
    return file


@pytest.fixture
def predict(finding: Path, detectors: Callable[..., None], tmp_path: Path) -> Predict:
    """Calls `detectors predict` with a detector that finds much; the run folder."""

    def call(*words: str, to: str = "found") -> Path:
        always = (f"ckpt_path={finding}", "device=cpu", "batch_size=2", f"hydra.run.dir={to}")
        detectors(tmp_path, "predict", *always, *words)
        return tmp_path / to

    return call


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((folder / f"{name}.json").read_text())


def boxes(folder: Path) -> dict[int, np.ndarray]:
    """The xywh boxes of each image id."""
    found = rows(folder, "detections")
    ids = {row["image_id"] for row in found}
    return {i: np.array([row["bbox"] for row in found if row["image_id"] == i]) for i in ids}


def test_names_with_signs_and_lists_are_read_and_a_used_folder_is_refused(
    trained, detectors, tmp_path, capsys
) -> None:
    write_picture(tmp_path / "set [1]" / "a.png")
    write_picture(tmp_path / "set [1]" / "b.jpg")
    words = f"ckpt_path={trained / 'checkpoints' / 'last.ckpt'}", "device=cpu", "batch_size=2"
    source = "source=['set [1]/*.png','set [1]/b.jpg']"
    detectors(tmp_path, "predict", *words, source, "hydra.run.dir=runs/found")
    images = json.loads((tmp_path / "runs/found/images.json").read_text())
    assert [image["file_name"] for image in images] == ["set [1]/a.png", "set [1]/b.jpg"]
    recorded = (tmp_path / "runs/found/overrides.txt").read_bytes()
    with pytest.raises(SystemExit):
        detectors(tmp_path, "predict", *words, source, "hydra.run.dir=runs/found")
    assert "pictures of an earlier run: choose another" in capsys.readouterr().err
    assert (tmp_path / "runs/found/overrides.txt").read_bytes() == recorded


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["source=a.png", "every=2"], "every=2: source is neither a video nor a camera"),
        (["source=[1,a.png]"], "source=1 is a camera, which does not end: name it last"),
        (["source=nowhere.mp4"], "nowhere.mp4: no picture there, and no video"),
        (["source=a.png", "save=[]"], "save=[]: nothing would be written"),
        (["source=a.png", "save=[yollo]"], "save"),
        (["source=a.png", "save=[coco]", "video=frames"], "video=frames draws nothing without"),
        (["source=a=b.png"], """write 'source="a=b.png"'"""),
        (["source=[a=b.png,c.png]"], """write 'source=["a=b.png","c.png"]'"""),
    ],
)
def test_what_cannot_work_is_refused_before_the_detector_is_made(
    trained, detectors, tmp_path, capsys, words, told
) -> None:
    write_picture(tmp_path / "a.png")
    best = trained / "checkpoints" / "best.ckpt"
    with pytest.raises(SystemExit):
        detectors(tmp_path, "predict", f"ckpt_path={best}", "hydra.run.dir=found", *words)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "found").exists()


def test_frames_of_a_video_are_found_in_like_pictures(predict: Predict, tmp_path: Path) -> None:
    """A lossless video gives the numbers of its frames as files; each frame is named."""
    images = noise(6)
    (tmp_path / "frames").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "frames" / f"{number}.png")
    write_video(tmp_path / "clip.avi", images)
    of_pictures = predict("source=frames", to="one")
    of_video = predict("source=clip.avi", to="other")
    assert rows(of_pictures, "detections") == rows(of_video, "detections")
    assert len(boxes(of_video)) == 6
    named = rows(of_video, "images")
    assert [(row["file_name"], row["frame"]) for row in named] == [
        ("clip.avi", number) for number in range(6)
    ]
    np.testing.assert_allclose([row["seconds"] for row in named], np.arange(6) / RATE)
    assert len(list((of_pictures / "pictures").iterdir())) == 6
    assert not (of_video / "pictures").exists()
    shown, rate = read_video(of_video / "videos" / "00000_clip.mp4")
    assert (len(shown), rate) == (6, pytest.approx(RATE))
    assert all(np.abs(a.astype(int) - b).max() > 0 for a, b in zip(shown, images, strict=True))


def test_every_so_many_frames_keep_their_numbers_and_boxes(
    predict: Predict, tmp_path: Path
) -> None:
    write_video(tmp_path / "clip.avi", noise(6))
    every = boxes(predict("source=clip.avi", "save=[coco]", to="all"))
    folder = predict("source=clip.avi", "every=2", "video=frames")
    assert [row["frame"] for row in rows(folder, "images")] == [0, 2, 4]
    for image_id, found in boxes(folder).items():
        np.testing.assert_allclose(found, every[2 * image_id], atol=1e-3)  # in other batches
    drawn = sorted(file.name for file in (folder / "pictures").iterdir())
    assert drawn == ["00000_clip_000000.jpg", "00001_clip_000002.jpg", "00002_clip_000004.jpg"]
    assert not (folder / "videos").exists()


def test_tables_and_label_files_say_what_the_json_says(
    predict: Predict, trained: Path, tmp_path: Path
) -> None:
    images = noise(3, 96, 130)
    write_picture(tmp_path / "photo.png", 96, 130)
    write_video(tmp_path / "clip.avi", images)
    folder = predict("source=[photo.png,clip.avi]", "save=[coco,yolo,csv]")
    found, named = rows(folder, "detections"), rows(folder, "images")
    classes = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)["classes"]
    by_id = {row["id"]: row["name"] for row in rows(folder, "categories")}
    assert (folder / "classes.txt").read_text().splitlines() == classes
    assert not (folder / "pictures").exists()
    with (folder / "detections.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(found) > 0
    for line, row in zip(table, found, strict=True):
        image = named[row["image_id"]]
        assert (line["file"], line["frame"]) == (image["file_name"], str(image.get("frame", "")))
        assert (line["class"], float(line["score"])) == (by_id[row["category_id"]], row["score"])
        x1, y1, x2, y2 = (float(line[name]) for name in ("x1", "y1", "x2", "y2"))
        assert [x1, y1, x2 - x1, y2 - y1] == row["bbox"]
    _check_labels(folder, found, classes, by_id)


def _check_labels(folder: Path, found: list, classes: list[str], by_id: dict[int, str]) -> None:
    """Our own reader reads the label files back, without the scores, to the boxes of the json.

    It leaves out boxes without area, as there may be at the edge of a picture.
    """
    (folder / "images").mkdir()
    files = ["photo", "clip_000000", "clip_000001", "clip_000002"]
    assert {file.stem for file in (folder / "labels").iterdir()} == set(files)
    for number, stem in enumerate(files):
        file = folder / "labels" / f"{stem}.txt"
        lines = [line.split() for line in file.read_text().splitlines()]
        scores = [row["score"] for row in found if row["image_id"] == number]
        assert [float(line[5]) for line in lines] == scores
        file.write_text("".join(f"{' '.join(line[:5])}\n" for line in lines))
        write_picture(folder / "images" / f"{stem}.png", 96, 130)
    source = read_yolo(folder, "", classes)
    truth, order = source.annotations, [Path(source.path(k)).stem for k in range(4)]
    wide = [row for row in found if min(row["bbox"][2:]) > 0]
    expected = [row for stem in order for row in wide if row["image_id"] == files.index(stem)]
    assert len(expected) > len(found) / 2
    assert [classes[label] for label in truth.labels] == [
        by_id[row["category_id"]] for row in expected
    ]
    start, end = np.split(truth.boxes, 2, axis=1)
    read = np.concatenate([start, end - start], axis=1)
    np.testing.assert_allclose(read, [row["bbox"] for row in expected], rtol=1e-6, atol=1e-9)


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(
    predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    Image.fromarray(noise(1)[0]).save(tmp_path / "half.jpg")
    content = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("no picture")
    for name in ("a.png", "m.png", "z.png"):
        write_picture(tmp_path / name)
    (tmp_path / "list.txt").write_text("# all\na.png\nhalf.jpg\nm.png\n\ntext.png\ngone.jpg\nz.png")
    folder = predict("source=list.txt")
    assert [row["file_name"] for row in rows(folder, "images")] == ["a.png", "m.png", "z.png"]
    assert sorted(file.name for file in (folder / "pictures").iterdir()) == [
        "00000_a.jpg",
        "00001_m.jpg",
        "00002_z.jpg",
    ]
    lines = (folder / "log.txt").read_text().splitlines()
    assert lines[-1].endswith(": 3 of 6 could not be read: half.jpg, text.png, gone.jpg")
    for name in ("half.jpg", "text.png", "gone.jpg"):
        assert any(f": {name}: damaged or truncated" in line for line in lines)
    with pytest.raises(SystemExit) as stop:
        predict("source=[half.jpg,text.png]", to="none")
    assert stop.value.code == 1
    told = "2 of 2 could not be read: half.jpg, text.png; half.jpg: damaged"
    assert told in capsys.readouterr().err
    assert not list((tmp_path / "none").glob("*s.json"))


def test_paths_come_on_standard_input(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    write_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b=1.png")
    write_video(tmp_path / "clip.avi", noise(3))
    write_picture(tmp_path / "c.png")
    given = io.TextIOWrapper(io.BytesIO(b"b=1.png\n\nclip.avi\nc.png\n"))
    monkeypatch.setattr(sys, "stdin", given)
    folder = predict("source=[a.png,-]", "every=2", "save=[coco]")
    names = [row["file_name"] for row in rows(folder, "images")]
    assert names == ["a.png", "b=1.png", "clip.avi", "clip.avi", "c.png"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(SystemExit):
        predict("source=-", to="none")
    assert "there was no path on standard input" in capsys.readouterr().err


def test_ctrl_c_ends_a_camera_with_everything_written(
    predict: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(number: int) -> None:
        if number == 4:
            os.kill(os.getpid(), signal.SIGINT)

    images = noise(9)
    monkeypatch.setattr(cv2, "VideoCapture", SomeCamera(FakeCamera(images, pressed)))
    folder = predict("source=0")
    named = rows(folder, "images")
    assert [(row["file_name"], row["frame"]) for row in named] == [
        ("camera_0", number) for number in range(5)
    ]
    assert set(boxes(folder)) == set(range(5))
    shown, rate = read_video(folder / "videos" / "00000_camera_0.mp4")
    assert (len(shown), rate) == (5, pytest.approx(RATE))


def test_a_number_or_a_time_ends_a_camera(predict: Predict, monkeypatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", SomeCamera(FakeCamera(noise(9))))
    folder = predict("source=0", "every=2", "frames=3", "save=[csv]")
    assert [row["frame"] for row in rows(folder, "images")] == [0, 2, 4]
    monkeypatch.setattr(cv2, "VideoCapture", SomeCamera(FakeCamera(noise(9))))
    folder = predict("source=0", "seconds=1e-9", "save=[csv]", to="short")
    assert [row["frame"] for row in rows(folder, "images")] == [0]


class SomeCamera:
    """In the place of `cv2.VideoCapture`: the camera 0 is a fake, files are read."""

    def __init__(self, camera: FakeCamera) -> None:
        self.camera, self.files = camera, cv2.VideoCapture

    def __call__(self, place: int | str) -> Any:
        return self.camera if place == 0 else self.files(place)

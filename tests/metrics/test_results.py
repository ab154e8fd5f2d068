"""What is written picture by picture says what was found, in every form."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detectors.data.sources.yolo import read_yolo
from detectors.metrics import PackedDetections, write_coco_results
from detectors.metrics.results import Write, coco_file, csv_file, image_file, yolo_files
from detectors.structures import Picture

CLASSES = ['a "cat", red', "dog", "owl"]
IDS = [18, 2, 90]


def made(count: int = 7, height: int = 96, width: int = 130) -> list[tuple[Picture, np.ndarray]]:
    """Pictures, and the numbers of what was found in each: label, score, box."""
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(count):
        rows = np.zeros((number % 3, 6))
        rows[:, 0] = rng.integers(0, 3, len(rows))
        rows[:, 1] = rng.random(len(rows))
        corners = np.sort(rng.random((len(rows), 2, 2)), axis=1) * [width, height]
        rows[:, 2:] = corners.reshape(-1, 4)
        picture = Picture(f"there/{number}.jpg", np.zeros((height, width, 3), np.uint8))
        if number > 3:
            picture = picture._replace(file="there/clip.mp4", number=number, seconds=number / 3)
        pairs.append((picture, rows))
    return pairs


def packed(image_id: int, rows: np.ndarray) -> PackedDetections:
    ids = np.full(len(rows), image_id)
    return PackedDetections(ids, rows[:, 0].astype(np.int64), rows[:, 1], rows[:, 2:])


def written(write: Write) -> None:
    for image_id, (picture, rows) in enumerate(made()):
        write(image_id, picture, packed(image_id, rows))


def test_coco_results_are_byte_for_byte_those_written_at_once(tmp_path: Path) -> None:
    with coco_file(tmp_path / "one by one.json", IDS) as write:
        written(write)
    together = [packed(k, rows) for k, (_, rows) in enumerate(made())]
    columns = PackedDetections(*(np.concatenate(column) for column in zip(*together, strict=True)))
    write_coco_results(tmp_path / "at once.json", columns, IDS)
    assert (tmp_path / "one by one.json").read_bytes() == (tmp_path / "at once.json").read_bytes()
    assert len(json.loads((tmp_path / "at once.json").read_text())) == len(columns.scores) == 6


def test_images_are_named_with_frame_and_time_where_they_have_them(tmp_path: Path) -> None:
    with image_file(tmp_path / "images.json") as write:
        written(write)
    content = (tmp_path / "images.json").read_text()
    rows = json.loads(content)
    assert rows[3] == {"id": 3, "file_name": "there/3.jpg"}
    assert rows[5] == {"id": 5, "file_name": "there/clip.mp4", "frame": 5, "seconds": 5 / 3}
    assert content == json.dumps(rows, indent=2) + "\n"  # as `run_folder.write_json`


def test_a_table_has_a_row_for_each_box(tmp_path: Path) -> None:
    with csv_file(tmp_path / "boxes.csv", CLASSES) as write:
        written(write)
    with (tmp_path / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [(picture, row) for picture, found in made() for row in found]
    assert len(rows) == len(expected)
    for row, (picture, (label, score, *box)) in zip(rows, expected, strict=True):
        assert row["file"] == picture.file
        assert row["frame"] == ("" if picture.number is None else str(picture.number))
        assert row["class"] == CLASSES[int(label)]
        assert float(row["score"]) == score
        assert [float(row[name]) for name in ("x1", "y1", "x2", "y2")] == box


def test_our_own_reader_reads_yolo_files_back(tmp_path: Path) -> None:
    """Without the scores, which files of annotations do not have."""
    with yolo_files(tmp_path / "labels") as write:
        written(write)
    (tmp_path / "images").mkdir()
    for file in (tmp_path / "labels").iterdir():
        lines = [line.split() for line in file.read_text().splitlines()]
        assert all(len(line) == 6 for line in lines)
        file.write_text("".join(f"{' '.join(line[:5])}\n" for line in lines))
        Image.new("RGB", (130, 96)).save(tmp_path / "images" / f"{file.stem}.png")
    source = read_yolo(tmp_path, "", CLASSES)
    names = [Path(source.path(k)).stem for k in range(len(source))]
    assert names == ["0", "1", "2", "3", "clip_000004", "clip_000005", "clip_000006"]
    truth = source.annotations
    expected = np.concatenate([rows for _, rows in made()])
    np.testing.assert_array_equal(truth.labels, expected[:, 0])
    np.testing.assert_allclose(truth.boxes, expected[:, 2:], rtol=1e-6)
    assert np.diff(truth.offsets).tolist() == [len(rows) for _, rows in made()]


def test_pictures_of_one_name_have_label_files_of_their_own(tmp_path: Path) -> None:
    picture, rows = made()[2]
    with yolo_files(tmp_path / "labels") as write:
        for image_id, file in enumerate(["a/x_00001.jpg", "b/x.jpg", "c/x.png", "d/x.jpg"]):
            write(image_id, picture._replace(file=file), packed(image_id, rows[:image_id]))
    counts = {f.name: len(f.read_text().splitlines()) for f in (tmp_path / "labels").iterdir()}
    assert counts == {"x_00001.txt": 0, "x.txt": 1, "x_00002.txt": 2, "x_00003.txt": 2}


@pytest.mark.parametrize("form", [coco_file, csv_file])
def test_nothing_is_there_before_all_is(tmp_path: Path, form) -> None:
    with pytest.raises(KeyboardInterrupt), form(tmp_path / "found", IDS) as write:  # noqa: PT012
        picture, rows = made()[0]
        write(0, picture, packed(0, rows))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())

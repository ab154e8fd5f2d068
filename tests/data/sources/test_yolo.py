"""YOLO text files: five columns or nothing."""

import logging

import numpy as np
import pytest

from detectors.data.sources.yolo import read_yolo

CLASSES = ["cat", "dog"]


@pytest.fixture
def yolo(tmp_path, picture, text):
    """Writes a data set from the text of each label file (None: no file), all in `train`."""

    def write(labels: dict[str, str | None]):
        for stem, content in labels.items():
            picture(tmp_path / "images" / "train" / f"{stem}.jpg")
            if content is not None:
                text(tmp_path / "labels" / "train" / f"{stem}.txt", content)
        return tmp_path

    return write


def test_parts_of_the_image_become_pixels(yolo) -> None:
    root = yolo({"a": "1 0.5 0.5 0.2 0.5\n\n0 0.1 0.1 0.2 0.2\n", "b": ""})
    truth = read_yolo(root, "train", CLASSES).annotations
    np.testing.assert_allclose(truth.boxes, [[12, 5, 18, 15], [0, 0, 6, 4]], atol=1e-12)
    assert truth.labels.tolist() == [1, 0]
    assert truth.offsets.tolist() == [0, 2, 2]
    assert truth.sizes.tolist() == [[20, 30]] * 2


def test_an_upright_size_is_used_where_the_picture_is_to_be_turned(yolo, picture) -> None:
    root = yolo({"a": "0 0.5 0.5 1 1"})
    picture(root / "images" / "train" / "a.jpg", orientation=6)
    source = read_yolo(root, "train", CLASSES)
    assert source.annotations.boxes.tolist() == [[0, 0, 20, 30]]
    assert source.image(0).shape == (30, 20, 3)


def test_what_is_odd_is_reported_once(yolo, caplog) -> None:
    root = yolo({"a": "0 .5 .5 0 .1\n0 .9 .5 .4 .1\n0 .9 .5 .4 .1", "b": None})
    with caplog.at_level(logging.WARNING):
        truth = read_yolo(root, "train", CLASSES).annotations
    assert len(truth.boxes) == 1
    (message,) = caplog.messages
    for part in ("1 images without a label file", "1 repeated lines dropped", "a.txt:3", "a.txt:1"):
        assert part in message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .1 .1 .2 .1 .2 .2 .1 .2", r"a\.txt:2: 9 columns, expected 5.*polygons"),
        ("0 .1 .1 .2 .1 .9", r"a\.txt:2: 6 columns, expected 5"),
        ("0 .1 .1 .2", r"a\.txt:2: 4 columns, expected 5"),
        ("cat .1 .1 .2 .1", r"a\.txt:2: `cat .* is not a class number"),
        ("0.5 .1 .1 .2 .1", r"a\.txt:2: .* is not a class number"),
        ("2 .1 .1 .2 .1", r"a\.txt:2: class 2, but there are 2 classes"),
        ("-1 .1 .1 .2 .1", r"a\.txt:2: class -1"),
        ("0 12 30 40 10", r"a\.txt:2: .* not pixels"),
        ("0 .1 nan .2 .1", r"no finite number, at .*a\.txt:2"),
    ],
)
def test_a_wrong_line_stops_with_file_and_line(yolo, line, message) -> None:
    root = yolo({"a": f"0 .5 .5 .2 .2\n{line}\n"})
    with pytest.raises(ValueError, match=message):
        read_yolo(root, "train", CLASSES)


def test_a_yaml_file_names_splits_and_classes(yolo, text, picture) -> None:
    root = yolo({"a": "1 .5 .5 .2 .2"})
    description = text(root / "data.yaml", "train: images/train\nnames: {0: cat, 1: dog}\n")
    source = read_yolo(description, "train")
    assert source.annotations.classes == ("cat", "dog")
    text(root / "data.yaml", "train: list.txt\nnames: [cat, dog]\n")
    text(root / "list.txt", "images/train/a.jpg\n")
    assert read_yolo(description, "train").path(0) == str(root / "images/train/a.jpg")
    with pytest.raises(ValueError, match="has no `val`; it has train, names"):
        read_yolo(description, "val")
    with pytest.raises(ValueError, match=r"has the classes \['cat', 'dog'\], expected \['cow'\]"):
        read_yolo(description, "train", ["cow"])


def test_missing_things_stop_with_the_remedy(yolo, text, picture) -> None:
    root = yolo({"a": "1 .5 .5 .2 .2"})
    with pytest.raises(ValueError, match="set `classes` to their names"):
        read_yolo(root, "train")
    with pytest.raises(ValueError, match=r"neither .*images/val nor .*val/images exists"):
        read_yolo(root, "val", CLASSES)
    picture(root / "images" / "train" / "a.png")
    with pytest.raises(ValueError, match="share one label file"):
        read_yolo(root, "train", CLASSES)
    (root / "images" / "val").mkdir()
    with pytest.raises(ValueError, match="the split is empty"):
        read_yolo(root, "val", CLASSES)


def test_labels_in_the_wrong_place_are_noticed(yolo) -> None:
    with pytest.raises(ValueError, match="none of the 2 images has an object"):
        read_yolo(yolo({"a": None, "b": None}), "train", CLASSES)

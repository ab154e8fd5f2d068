"""YOLO text files: five columns or nothing."""

import logging
import os
from pathlib import Path

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
        ("0 .1 .1 .2_5 .1", r"a\.txt:2: .* is not a class number and four numbers"),
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


@pytest.fixture
def described(yolo, text):
    """Reads `train` of one picture by a yaml file of this text, in a folder below."""

    def read(description: str, split: str = "train", **more):
        root = yolo({"a": "1 .5 .5 .2 .2"})
        return read_yolo(text(root / "data.yaml", description), split, **more)

    return read


NAMED = "names: [cat, dog]\n"


@pytest.mark.parametrize(
    "description",
    [
        "train: [images/train]\n",
        "train:\n- images/train\n- ./images\n",  # one folder within the other
        "path:\ntrain: images/train\n",
        "path: ~\ntrain: images/train\nnc: 2\n",
        "path: null\ntrain: images/train\n",
        "train: ../images/train\n",  # as Roboflow writes it
        "path: images\ntrain: train\n",
    ],
)
def test_descriptions_as_other_programs_write_them(described, description) -> None:
    assert len(described(NAMED + description)) == 1


def test_valid_is_read_for_val(described, tmp_path, yolo) -> None:
    assert len(described(NAMED + "valid: images/train\n", "val")) == 1
    (tmp_path / "images" / "train").rename(tmp_path / "images" / "valid")
    (tmp_path / "labels" / "train").rename(tmp_path / "labels" / "valid")
    assert len(read_yolo(tmp_path, "val", CLASSES)) == 1


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("names: [cat, dog\ntrain: images/train\n", r"data\.yaml:2: not valid yaml"),
        ("names: !!python/object/apply:os.getcwd []\n", r"data\.yaml:1: not valid yaml \(could"),
        (f"{NAMED}a: &a {{<<: *a}}\ntrain: images/train\n", r"data\.yaml:2: not valid yaml"),
        ("names: [cat]\ntrain: 2020-13-45\n", "2020-13-45 does not exist"),
        (
            "names: {0: cat, 1: dog, 1: bird}\n",
            r"data\.yaml:1: not valid yaml \(`1` is there twice",
        ),
        (f"{NAMED}train: a\ntrain: images\n", r"data\.yaml:\d: not valid yaml \(`train` is there"),
        ("names: []\ntrain: images\n", r"data\.yaml: `names`: there is no class"),
        ("[" * 500, r"data\.yaml: not valid yaml"),
        ("names: cat\ntrain: images/train\n", "class names are 'cat', expected a list"),
        ("names: [cat, cat]\ntrain: images/train\n", "2 classes are called `cat`: 0, 1"),
        ("names: [cat, [dog]]\ntrain: images/train\n", r"name of class 1 is \['dog'\], expected"),
        ("names: {0: cat, 2: dog}\ntrain: images/train\n", "must number the classes 0, 1"),
        ("names: {a: cat}\ntrain: images/train\n", "class number 0 of `names` is 'a'"),
        (NAMED + "nc: 3\ntrain: images/train\n", "`nc` is 3, but `names` are 2"),
        (NAMED + "train:\n", "has no `train`; it has names"),
        (NAMED + "train: {a: b}\n", r"`train` is {'a': 'b'}, expected text"),
        (
            NAMED + "path: nowhere\ntrain: images/train\n",
            "`path` of .*nowhere, which does not exist",
        ),
        (NAMED + "train: ../../elsewhere\n", "1 paths lead out of .*trust_paths=true"),
        (NAMED + "train: /etc\n", "1 paths lead out of .*trust_paths=true"),
    ],
)
def test_wrong_descriptions_stop_with_file_and_reason(described, description, message) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        described(description)
    assert "data.yaml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_description_that_is_not_utf_8_is_named_with_its_line(yolo) -> None:
    path = yolo({"a": "1 .5 .5 .2 .2"}) / "data.yaml"
    path.write_bytes(b"train: images/train\nnames: [caf\xe9]\n")
    with pytest.raises(ValueError, match=r"data\.yaml:2: not the text in utf-8.*save the file"):
        read_yolo(path, "train")


def test_names_are_what_is_written(described) -> None:
    for names in ("[no, ~]", "[0, 1]", "{0: 007, 1: 1.50}", "{'1': null, '0': yes}"):
        classes = described(f"names: {names}\ntrain: images/train\n").annotations.classes
        assert all(type(name) is str for name in classes)
    assert classes == ("yes", "null")
    with pytest.raises(ValueError, match="class 1 is True, expected text"):
        described("train: images/train\n", classes=["cat", True])
    with pytest.raises(ValueError, match=r"data\.yaml: `nc` is 3, but `classes` are 2"):
        described("nc: 3\ntrain: images/train\n", classes=CLASSES)


def test_pictures_named_twice_count_once(yolo, text, caplog) -> None:
    root = yolo({"a": "1 .5 .5 .2 .2", "b": ""})
    text(root / "data.yaml", f"{NAMED}train: list.txt\n")
    lines = (
        "images/train/a.jpg\nimages/train/b.jpg\n./images/train/a.jpg\nimages/x/../train/b.jpg\n"
    )
    text(root / "list.txt", f"\ufeff{lines}")
    assert len(read_yolo(root / "data.yaml", "train")) == 2
    assert "2 of 4 images used, 1 of 1 objects used; 2 repeated images dropped" in caplog.text


def test_a_list_does_not_lead_out_of_the_folder_unless_trusted(yolo, text, picture) -> None:
    root = yolo({"a": "1 .5 .5 .2 .2"})
    outside = picture(root.with_name("beside") / "images" / "x.jpg")
    text(outside.parents[1] / "labels" / "x.txt", "0 .5 .5 .2 .2")
    text(root / "data.yaml", f"{NAMED}train: list.txt\n")
    for line in (str(outside), "../beside/images/x.jpg"):
        text(root / "list.txt", f"images/train/a.jpg\n{line}\n")
        with pytest.raises(ValueError, match=r"list\.txt: 1 paths lead out.*trust_paths=true"):
            read_yolo(root / "data.yaml", "train")
        assert len(read_yolo(root / "data.yaml", "train", trust_paths=True)) == 2
    linked = root.with_name("linked")
    linked.symlink_to(root)
    text(root / "list.txt", f"{root / 'images/train/a.jpg'}\n")
    assert len(read_yolo(linked / "data.yaml", "train")) == 1


def test_linked_folders_are_read_once(yolo, picture, text, caplog) -> None:
    root = yolo({"a": "1 .5 .5 .2 .2"})
    picture(root.with_name("store") / "c.jpg")
    for folder, target in (("images", root.with_name("store")), ("again", root / "images/train")):
        (root / "images" / "train" / folder).symlink_to(target)
    source = read_yolo(root, "train", CLASSES)
    assert [Path(source.path(k)).name for k in range(len(source))] == ["a.jpg", "c.jpg"]
    assert "1 folders met once more through a link left out" in caplog.text


def test_what_is_left_out_is_told(yolo, picture, text, caplog) -> None:
    root = yolo({"a": "1 .5 .5 .2 .2"})
    images = root / "images" / "train"
    (images / "a.jpg").with_name("zz.gif").write_bytes(b"GIF89a")
    picture(images / "._a.jpg")
    picture(images / ".trash" / "b.jpg")
    os.mkfifo(images / "pipe.jpg")
    text(root / "labels" / "train" / "zz.TXT", "0 .5 .5 .2 .2")
    assert len(read_yolo(root, "train", CLASSES)) == 1
    (message,) = caplog.messages
    assert "1 of 3 images used, 1 of 1 objects used; " in message
    for part in (
        "1 hidden files dropped: ",
        "1 hidden folders left out: ",
        "1 pipes or broken links dropped: ",
        "1 files of another kind than ",
        "1 label files without a picture: ",
    ):
        assert part in message


def test_a_label_file_may_have_a_mark_and_must_be_text(yolo) -> None:
    root = yolo({"a": "\ufeff1.0 .5 .5 .2 .2\r\n"})
    assert read_yolo(root, "train", CLASSES).annotations.labels.tolist() == [1]
    (root / "labels" / "train" / "a.txt").write_bytes(b"0 .5 .5 .2 .2\n\xff")
    with pytest.raises(ValueError, match=r"a\.txt:2: not the text in utf-8"):
        read_yolo(root, "train", CLASSES)
    (root / "labels" / "train" / "a.txt").unlink()
    os.mkfifo(root / "labels" / "train" / "a.txt")
    with pytest.raises(ValueError, match=r"a\.txt is a folder, pipe or device, expected a file"):
        read_yolo(root, "train", CLASSES)


def test_a_label_file_that_is_a_broken_link_is_no_image_without_objects(yolo, text) -> None:
    root = yolo({"a": "1 .5 .5 .2 .2", "b": None})
    (root / "labels" / "train" / "b.txt").symlink_to("gone.txt")
    with pytest.raises(OSError, match=r"b\.txt"):
        read_yolo(root, "train", CLASSES)


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

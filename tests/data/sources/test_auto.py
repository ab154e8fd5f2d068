"""A folder is recognised by its layout, and holds what the reader of that layout finds."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from detectors.data.sources.auto import HELD_OUT, read_auto
from detectors.data.sources.images import ImageFiles
from detectors.data.sources.voc import read_voc

WIDTH, HEIGHT = 40, 30
BOXES = {"cat": (4, 5, 20, 25), "dog": (10, 2, 38, 12)}  # in every picture
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
Writer = Callable[[Path, list[str]], None]


def pictures(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / f"{name}.png"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def coco(file: Path, names: list[str]) -> None:
    rows = [
        {"image_id": i, "category_id": c["id"], "bbox": [x, y, u - x, v - y], "iscrowd": 0}
        for i in range(len(names))
        for c in CATEGORIES
        for x, y, u, v in [BOXES[str(c["name"])]]
    ]
    images = [
        {"id": i, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT}
        for i, name in enumerate(names)
    ]
    annotations = [{"id": k, **row} for k, row in enumerate(rows)]
    found = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    write(file, json.dumps(found))


def yolo(folder: Path, names: list[str]) -> None:
    def line(number: int, box: tuple[int, int, int, int]) -> str:
        x, y, u, v = box
        parts = ((x + u) / 2 / WIDTH, (y + v) / 2 / HEIGHT, (u - x) / WIDTH, (v - y) / HEIGHT)
        return " ".join([str(number), *map(str, parts)])

    for name in names:
        lines = (line(number, box) for number, box in enumerate(BOXES.values()))
        write(folder / f"{name}.txt", "\n".join(lines))


def xml(folder: Path, names: list[str]) -> None:
    def written(name: str) -> str:
        x, y, u, v = BOXES[name]
        corners = f"<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{u}</xmax><ymax>{v}</ymax>"
        return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"

    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    for name in names:
        write(
            folder / f"{name}.xml", f"<annotation>{size}{''.join(map(written, BOXES))}</annotation>"
        )


def labelme(folder: Path, names: list[str]) -> None:
    shapes = [
        {"label": name, "shape_type": "rectangle", "points": [[u, v], [x, y]]}
        for name, (x, y, u, v) in BOXES.items()
    ]
    for name in names:
        found = {
            "shapes": shapes,
            "imagePath": f"{name}.png",
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        }
        write(folder / f"{name}.json", json.dumps(found))


def official_coco(folder: Path, train: list[str], val: list[str]) -> None:
    for word, names in (("train2017", train), ("val2017", val)):
        pictures(folder / word, names)
        coco(folder / "annotations" / f"instances_{word}.json", names)


def cvat_coco(folder: Path, train: list[str], val: list[str]) -> None:
    for word, names in (("Train", train), ("Validation", val)):
        pictures(folder / "images" / word, names)
        coco(folder / "annotations" / f"instances_{word}.json", names)


def roboflow_coco(folder: Path, train: list[str], val: list[str]) -> None:
    for word, names in (("train", train), ("valid", val)):
        pictures(folder / word, names)
        coco(folder / word / "_annotations.coco.json", names)


def images_first(folder: Path, train: list[str], val: list[str]) -> None:
    for word, names in (("train", train), ("val", val)):
        pictures(folder / "images" / word, names)
        yolo(folder / "labels" / word, names)
    write(folder / "classes.txt", "cat\ndog\n")


def split_first(folder: Path, train: list[str], val: list[str]) -> None:
    for word, names in (("train", train), ("valid", val)):
        pictures(folder / word / "images", names)
        yolo(folder / word / "labels", names)
    written = {"train": "../train/images", "val": "../valid/images", "names": ["cat", "dog"]}
    write(folder / "data.yaml", yaml.safe_dump(written))


def voc_with_lists(folder: Path, train: list[str], val: list[str]) -> None:
    pictures(folder / "JPEGImages", train + val)
    xml(folder / "Annotations", train + val)
    for word, names in (("train", train), ("val", val)):
        write(folder / "ImageSets" / "Main" / f"{word}.txt", "\n".join(names))


def voc_by_folder(folder: Path, train: list[str], val: list[str]) -> None:
    for word, names in (("train", train), ("valid", val)):
        pictures(folder / word, names)
        xml(folder / word, names)


def labelme_by_folder(folder: Path, train: list[str], val: list[str]) -> None:
    for word, names in (("train", train), ("test", ["t"]), ("val", val)):
        pictures(folder / word, names)
        labelme(folder / word, names)


SPLIT = [official_coco, cvat_coco, roboflow_coco, images_first, split_first]
SPLIT += [voc_with_lists, voc_by_folder, labelme_by_folder]


def seen(source: ImageFiles) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    """Objects by picture."""
    truth = source.annotations
    return {
        Path(source.path(k)).stem: [
            (truth.classes[truth.labels[row]], tuple(truth.boxes[row].round(6).tolist()))
            for row in range(truth.offsets[k], truth.offsets[k + 1])
        ]
        for k in range(len(source))
    }


@pytest.mark.parametrize("layout", SPLIT)
def test_a_layout_with_splits_is_read(layout: Callable[..., None], tmp_path: Path) -> None:
    layout(tmp_path, ["a", "b", "c"], ["d", "e"])
    every = list(BOXES.items())
    assert seen(read_auto(tmp_path, "train")) == {"a": every, "b": every, "c": every}
    assert seen(read_auto(tmp_path, "val")) == {"d": every, "e": every}


def beside(writer: Writer) -> Writer:
    def written(folder: Path, names: list[str]) -> None:
        pictures(folder, names)
        writer(folder, names)

    return written


def apart(writer: Writer, of_pictures: str, of_labels: str) -> Writer:
    def written(folder: Path, names: list[str]) -> None:
        pictures(folder / of_pictures, names)
        writer(folder / of_labels, names)

    return written


WHOLE = {
    "cvat coco": lambda folder, names: (
        pictures(folder / "images", names),
        coco(folder / "annotations" / "instances_default.json", names),
    ),
    "yolo": apart(yolo, "images", "labels"),
    "xml beside": beside(xml),
    "xml apart": apart(xml, "photos", "marks"),
    "labelme beside": beside(labelme),
    "labelme apart": apart(labelme, "img", "json"),
}
MANY = [f"picture{k:03}" for k in range(60)]


@pytest.mark.parametrize("layout", WHOLE)
def test_without_splits_a_fifth_validates_by_name(
    layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    WHOLE[layout](tmp_path / "60", MANY)
    with caplog.at_level(logging.INFO):
        train, val = (seen(read_auto(tmp_path / "60", split)) for split in ("train", "val"))
    assert "of its 60 pictures, by a hash of their names" in caplog.text
    assert sorted([*train, *val]) == MANY
    assert abs(len(val) / len(MANY) - HELD_OUT) < 0.1
    WHOLE[layout](tmp_path / "40", MANY[:40])
    fewer = seen(read_auto(tmp_path / "40", "val"))
    assert set(fewer) == set(val) & {*MANY[:40]}  # a picture stays where it was


def test_folders_apart_are_whole_splits_with_the_classes_of_both(tmp_path: Path) -> None:
    beside(xml)(tmp_path / "one", ["a", "b"])
    beside(xml)(tmp_path / "two", ["c"])
    file = tmp_path / "two" / "c.xml"
    file.write_text(file.read_text().replace(">dog<", ">ape<"))
    train = read_auto(tmp_path / "one", "train", [tmp_path / "two"])
    val = read_auto(tmp_path / "two", "val", [tmp_path / "one"])
    assert train.annotations.classes == val.annotations.classes == ("ape", "cat", "dog")
    assert (len(train), len(val)) == (2, 1)


def test_real_pictures_without_their_lists(data_root: Path, tmp_path: Path) -> None:
    for kind in ("Annotations", "JPEGImages"):
        (tmp_path / kind).symlink_to(data_root / "bccd" / kind)
    parts = [seen(read_auto(tmp_path, split)) for split in ("train", "val")]
    names = ["RBC", "WBC", "Platelets"]
    lists = [
        seen(read_voc(data_root / "bccd", split, names, one_based=False))
        for split in ("trainval", "test")
    ]
    assert parts[0] | parts[1] == lists[0] | lists[1]
    assert not parts[0].keys() & parts[1].keys()


def test_coco_in_its_official_layout(data_root: Path) -> None:
    found = read_auto(data_root / "coco_tiny", "val")
    assert (len(found), len(found.annotations.classes)) == (80, 80)


def test_pixels_of_the_devkit_are_numbered_from_one(tmp_path: Path) -> None:
    voc_with_lists(tmp_path / "VOCdevkit" / "VOC2012", ["a"], ["b"])
    assert seen(read_auto(tmp_path, "val"))["b"][0] == ("cat", (3, 4, 20, 25))


def test_two_kinds_of_labels_or_none_are_refused(tmp_path: Path) -> None:
    beside(xml)(tmp_path / "both", ["a"])
    labelme(tmp_path / "both", ["a"])
    with pytest.raises(ValueError, match=r"several kinds of labels: VOC xml beside.*LabelMe json"):
        read_auto(tmp_path / "both", "train")
    pictures(tmp_path / "none", ["a"])
    with pytest.raises(ValueError, match=r"Looked for: COCO json .*YOLO txt.*LabelMe"):
        read_auto(tmp_path / "none", "train")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.root has no value"):
        read_auto(None, "train")
    beside(xml)(tmp_path, ["a"])
    with pytest.raises(ValueError, match="has no split test"):
        read_auto(tmp_path, "test")
    with pytest.raises(ValueError, match=r"a.png and the others of its name are all the pictures"):
        read_auto(tmp_path, "train")


@pytest.mark.parametrize("writer", [xml, labelme])
def test_labels_and_pictures_without_each_other_are_counted(
    writer: Writer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path, ["a", "b", "c", "lonely"])
    writer(tmp_path, ["a", "b", "c", "lost"])
    parts = [read_auto(tmp_path, split) for split in ("train", "val")]
    assert sum(map(len, parts)) == 3
    assert "1 label files without a picture dropped" in caplog.text
    assert "1 pictures without a label file dropped" in caplog.text
    assert f"{tmp_path}/lonely.png" in caplog.text


def test_faults_of_labels_are_named(tmp_path: Path) -> None:
    beside(labelme)(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match=r"a.json shape 2 is a `dog`, expected one of \['cat'\]"):
        read_auto(tmp_path, "train", classes=["cat"])
    file = tmp_path / "b.json"
    written = json.loads(file.read_text())
    written["shapes"][0]["points"] = [[1, 2]]
    file.write_text(json.dumps(written))
    with pytest.raises(ValueError, match=r"b.json shape 1: the points are"):
        read_auto(tmp_path, "train")
    file.write_text('{"shapes": [\n')
    with pytest.raises(ValueError, match=r"b.json:2: not valid json"):
        read_auto(tmp_path, "train")


def test_shapes_that_are_no_rectangles_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beside(labelme)(tmp_path, ["a", "b"])
    for name in ("a", "b"):
        file = tmp_path / f"{name}.json"
        written = json.loads(file.read_text())
        written["shapes"].append({"label": "sky", "shape_type": "polygon", "points": [[0, 0]]})
        file.write_text(json.dumps(written))
    assert read_auto(tmp_path, "train").annotations.classes == ("cat", "dog")
    assert "2 shapes that are no rectangles dropped" in caplog.text


def test_a_label_that_may_be_of_two_pictures_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "x", ["a"])
    pictures(tmp_path / "y", ["a"])
    xml(tmp_path / "z", ["a"])
    with pytest.raises(ValueError, match="two pictures of one name"):
        read_auto(tmp_path, "train")


def test_numbers_stand_for_classes_without_names(tmp_path: Path) -> None:
    images_first(tmp_path, ["a"], ["b"])
    (tmp_path / "classes.txt").unlink()
    assert read_auto(tmp_path, "val").annotations.classes == ("0", "1")


def test_a_label_is_of_the_picture_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for camera in ("one", "two"):
        beside(xml)(tmp_path / camera, ["a", "b", "c"])
    (tmp_path / "one" / "a.xml").unlink()
    (tmp_path / "two" / "a.png").unlink()
    parts = [read_auto(tmp_path, split) for split in ("train", "val")]
    assert {Path(part.path(k)).stem for part in parts for k in range(len(part))} == {"b", "c"}
    assert f"{tmp_path}/two/a.xml" in caplog.text
    assert f"{tmp_path}/one/a.png" in caplog.text


@pytest.mark.parametrize("writer", [xml, labelme])
def test_splits_within_folders_of_pictures_and_labels_are_kept(
    writer: Writer, tmp_path: Path
) -> None:
    for split, names in (("train", ["a", "b"]), ("val", ["a"]), ("test", ["b"])):
        pictures(tmp_path / "images" / split, names)
        writer(tmp_path / "annotations" / split, names)
    found = {split: read_auto(tmp_path, split) for split in ("train", "val", "test")}
    assert {split: len(source) for split, source in found.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    assert found["val"].path(0) == f"{tmp_path}/images/val/a.png"


def test_what_lies_in_no_split_beside_splits_is_refused(tmp_path: Path) -> None:
    voc_by_folder(tmp_path / "xml", ["a"], ["b"])
    beside(xml)(tmp_path / "xml" / "more", ["c"])
    with pytest.raises(ValueError, match="are of the splits train, val, others of none"):
        read_auto(tmp_path / "xml", "train")
    cvat_coco(tmp_path / "coco", ["a"], ["b"])
    coco(tmp_path / "coco" / "annotations" / "instances_default.json", ["a"])
    with pytest.raises(ValueError, match="are of the splits train, val, others of none"):
        read_auto(tmp_path / "coco", "train")
    pictures(tmp_path / "yolo" / "images" / "train", ["a"])
    yolo(tmp_path / "yolo" / "labels", ["a"])
    with pytest.raises(ValueError, match="not both as images/SPLIT and labels/SPLIT"):
        read_auto(tmp_path / "yolo", "train")


def test_numbers_keep_the_meaning_that_their_folder_gives_them(tmp_path: Path) -> None:
    for place, names in (("one", "cat\ndog\n"), ("two", "dog\ncat\n"), ("three", "cat\ndog\n")):
        WHOLE["yolo"](tmp_path / place, MANY[:5])
        write(tmp_path / place / "classes.txt", names)
    with pytest.raises(ValueError, match="labels there are numbers, so both need the same names"):
        read_auto(tmp_path / "one", "train", [tmp_path / "two"])
    with pytest.raises(ValueError, match=r"has the classes \['dog', 'cat'\], expected"):
        read_auto(tmp_path / "two", "train", classes=["cat", "dog"])
    assert len(read_auto(tmp_path / "one", "train", [tmp_path / "three"])) == 5


def test_folders_of_yolo_are_known_by_other_names_of_splits(tmp_path: Path) -> None:
    for word, names in (("train2017", ["a", "b"]), ("val2017", ["c"])):
        pictures(tmp_path / "images" / word, names)
        yolo(tmp_path / "labels" / word, names)
    write(tmp_path / "names.yaml", "names: [cat, dog]\n")
    val = read_auto(tmp_path, "val")
    assert seen(val) == {"c": list(BOXES.items())}
    assert len(read_auto(tmp_path, "train")) == 2
    write(tmp_path / "names.yaml", "names: [cat, dog\n")
    with pytest.raises(ValueError, match=r"names.yaml:\d+: not valid yaml"):
        read_auto(tmp_path, "val")


def test_an_entry_without_a_value_is_no_split(tmp_path: Path) -> None:
    pictures(tmp_path / "images", MANY)
    yolo(tmp_path / "labels", MANY)
    write(tmp_path / "data.yaml", "names: [cat, dog]\ntrain: images\nval:\ntest:  # none\n")
    train, val = (read_auto(tmp_path, split) for split in ("train", "val"))
    assert len(train) + len(val) == len(MANY)
    assert 0 < len(val) < len(train)


def test_lists_of_voc_are_known_by_other_names_of_splits(tmp_path: Path) -> None:
    voc_with_lists(tmp_path, ["a", "b"], ["c"])
    lists = tmp_path / "ImageSets" / "Main"
    (lists / "train.txt").rename(lists / "Train.txt")
    assert len(read_auto(tmp_path, "train")) == 2
    (lists / "Train.txt").rename(lists / "trainval.txt")
    with pytest.raises(ValueError, match="trainval holds the pictures of val too"):
        read_auto(tmp_path, "train")
    (lists / "val.txt").unlink()
    (lists / "trainval.txt").rename(lists / "default.txt")
    assert len(read_auto(tmp_path, "val")) == 1  # drawn of two


def test_a_root_may_be_said_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voc_with_lists(tmp_path / "VOC2007", ["a"], ["b"])
    monkeypatch.chdir(tmp_path / "VOC2007")
    assert seen(read_auto(".", "val"))["b"][0] == ("cat", (3, 4, 20, 25))


def test_a_root_in_another_is_refused_where_its_pictures_would_be_of_both(tmp_path: Path) -> None:
    beside(xml)(tmp_path, ["a", "b"])
    beside(xml)(tmp_path / "holdout", ["c"])
    for root, split, other in ((".", "train", "holdout"), ("holdout", "val", ".")):
        with pytest.raises(ValueError, match="would be of two splits"):
            read_auto(tmp_path / root, split, [tmp_path / other])


def test_copies_of_a_picture_are_of_one_split(tmp_path: Path) -> None:
    names = [f"{name}_jpg.rf.{copy}" for name in MANY for copy in "abc"]
    pictures(tmp_path, names)
    xml(tmp_path, names)
    parts = [
        {name.split("_")[0] for name in seen(read_auto(tmp_path, split))}
        for split in ("train", "val")
    ]
    assert parts[0] | parts[1] == {*MANY}
    assert not parts[0] & parts[1]


def test_polygons_alone_are_refused_as_such(tmp_path: Path) -> None:
    beside(labelme)(tmp_path, ["a", "b"])
    for name in ("a", "b"):
        file = tmp_path / f"{name}.json"
        file.write_text(file.read_text().replace("rectangle", "polygon"))
    with pytest.raises(ValueError, match="none of the 4 shapes is a rectangle"):
        read_auto(tmp_path, "train")


def test_a_json_of_coco_may_be_named_itself(tmp_path: Path) -> None:
    official_coco(tmp_path, ["a", "b"], ["c"])
    split_first(tmp_path, ["d", "e"], ["f"])
    with pytest.raises(ValueError, match=r"several kinds of labels.*data\.root=FILE"):
        read_auto(tmp_path, "train")
    files = [tmp_path / "annotations" / f"instances_{word}2017.json" for word in ("train", "val")]
    assert list(seen(read_auto(files[0], "train", [files[1]]))) == ["a", "b"]
    assert list(seen(read_auto(files[1], "val", [files[0]]))) == ["c"]
    assert list(seen(read_auto(tmp_path / "data.yaml", "train"))) == ["d", "e"]


@pytest.mark.parametrize(
    ("name", "place"),
    [("result.json", "images"), ("labels.json", "data"), ("annotations.json", "")],
)
def test_a_single_json_of_other_programs_is_read(name: str, place: str, tmp_path: Path) -> None:
    pictures(tmp_path / place, ["a", "b", "c"])
    coco(tmp_path / name, ["a", "b", "c"])
    assert len(read_auto(tmp_path, "train")) + len(read_auto(tmp_path, "val")) == 3


def test_pictures_named_with_their_folder_lie_beside_their_json(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["a", "b"])
    coco(tmp_path / "result.json", ["images/a", "images/b"])
    assert len(read_auto(tmp_path, "train")) == 1


def test_the_head_that_roboflow_writes_is_no_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    roboflow_coco(tmp_path, ["a", "b"], ["c"])
    for file in tmp_path.rglob("*.json"):
        told = json.loads(file.read_text())
        head = {"id": 0, "name": "animals", "supercategory": "none"}
        told["categories"] = [head, *({**c, "supercategory": "animals"} for c in CATEGORIES)]
        file.write_text(json.dumps(told))
    assert read_auto(tmp_path, "train").annotations.classes == ("cat", "dog")
    assert "category left out, as it is only the head of the others: animals" in caplog.text
    file = tmp_path / "valid" / "_annotations.coco.json"
    told = json.loads(file.read_text())
    told["annotations"][0]["category_id"] = 0
    file.write_text(json.dumps(told))
    for split in ("train", "val"):  # an object of it anywhere makes it a class
        assert read_auto(tmp_path, split).annotations.classes == ("animals", "cat", "dog")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: folder, "which looks like YOLO txt"),
        (lambda folder: write(folder / "inner" / "images" / "x.xml", "<annotation>"), "x.xml:1"),
    ],
)
def test_a_refusal_says_what_may_have_been_meant(
    spoil: Callable[[Path], object], told: str, tmp_path: Path
) -> None:
    WHOLE["yolo"](tmp_path / "inner", ["a", "b"])
    if spoil(tmp_path) is None:
        for file in tmp_path.rglob("*.txt"):
            file.unlink()
    with pytest.raises(ValueError, match="holds no labels of a kind that is known") as refusal:
        read_auto(tmp_path, "train")
    assert told in str(refusal.value)


def test_lists_with_backslashes_are_read(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["a", "b"])
    yolo(tmp_path / "labels", ["a", "b"])
    for split, name in (("train", "a"), ("val", "b")):
        write(tmp_path / f"{split}.txt", f".\\images\\{name}.png\n")
    told = {"train": "train.txt", "val": "val.txt", "names": ["cat", "dog"]}
    write(tmp_path / "data.yaml", yaml.safe_dump(told))
    assert list(seen(read_auto(tmp_path, "train"))) == ["a"]


def test_other_json_files_beside_labels_are_no_labels(tmp_path: Path) -> None:
    WHOLE["yolo"](tmp_path / "yolo", ["a", "b"])
    write(tmp_path / "yolo" / "labels.json", json.dumps({"0": "cat"}))
    assert len(read_auto(tmp_path / "yolo", "train")) == 1
    official_coco(tmp_path / "coco", ["a", "b"], ["c"])
    coco(tmp_path / "coco" / "val2017" / "result.json", ["c"])
    assert len(read_auto(tmp_path / "coco", "val")) == 1


def test_pictures_lie_where_the_first_of_them_is(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["a", "b"])
    coco(tmp_path / "annotations" / "annotations.json", ["a", "b"])
    (tmp_path / "labels").mkdir()
    coco(tmp_path / "labels.json", ["a", "b"])
    for file in (tmp_path / "annotations" / "annotations.json", tmp_path / "labels.json"):
        assert len(read_auto(file, "train")) == 1

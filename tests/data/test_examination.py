"""Faults that are planted are found, named and shown; what is sound has none."""

import json
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from detectors.data.augment.transforms import Letterbox
from detectors.data.examination import (
    NOTE,
    UNUSABLE,
    WARNING,
    Examination,
    Finding,
    Seen,
    _of_objects,
    examined,
)
from detectors.data.sources.auto import read_auto
from detectors.data.sources.images import ImageFiles
from detectors.data.sources.scenes import Layout, Look, Scenes
from detectors.structures import Annotations
from detectors.visualization.examination import page
from tests.data.sources.test_auto import (
    images_first,
    labelme_by_folder,
    official_coco,
    voc_with_lists,
    xml,
)

RESIZE = Letterbox(96)
SPLITS = ("train", "val")


def untracked(items: Collection[Seen], _: str) -> Iterable[Seen]:
    return items


def textured(file: Path, seed: int, quality: int = 95) -> None:
    """A picture of its own, of coarse blocks."""
    file.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(blocks, (40, 30), interpolation=cv2.INTER_LINEAR)
    cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, quality])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures that train and two that validate, all different."""
    for split, numbers in (("train", (0, 1, 2)), ("val", (3, 4))):
        for number in numbers:
            textured(tmp_path / split / f"p{number}.jpg", number)
        xml(tmp_path / split, [f"p{number}" for number in numbers])
    return tmp_path


def found(folder: Path) -> Examination:
    return examined({s: partial(read_auto, folder, s) for s in SPLITS}, RESIZE, untracked, 0.01)


def one(examination: Examination, words: str) -> Finding:
    """The finding that these words tell of, of which there is one."""
    (finding,) = [finding for finding in examination.findings if words in finding.what]
    return finding


def test_sound_data_have_no_finding(folder: Path) -> None:
    sound = found(folder)
    assert (sound.findings, sound.level) == ([], None)
    assert sound.splits["train"]["pictures"] == 3
    assert sound.splits["val"]["classes"]["dog"] == {"objects": 2, "pictures": 2}
    assert sound.splits["train"]["objects_in_a_picture"]["2 to 3"] == 3


def test_the_same_picture_in_two_splits_is_found(folder: Path) -> None:
    shutil.copy(folder / "train" / "p1.jpg", folder / "val" / "p3.jpg")
    finding = one(found(folder), "the same picture in train and in val")
    assert finding.level == WARNING
    assert finding.names == (f"{folder}/train/p1.jpg and {folder}/val/p3.jpg",)


def test_nearly_the_same_picture_is_found_across_splits_and_noted_within_one(folder: Path) -> None:
    textured(folder / "val" / "p4.jpg", seed=0, quality=40)
    textured(folder / "train" / "p2.jpg", seed=1, quality=50)
    examination = found(folder)
    across = one(examination, "nearly the same picture in train and in val")
    within = one(examination, "nearly the same picture twice in train")
    assert (across.level, within.level) == (WARNING, NOTE)
    assert across.names == (f"{folder}/train/p0.jpg and {folder}/val/p4.jpg",)


def test_a_picture_that_cannot_be_read_is_named(folder: Path) -> None:
    file = folder / "train" / "p1.jpg"
    file.write_bytes(file.read_bytes()[:300])
    finding = one(found(folder), "train: pictures that cannot be read")
    assert finding.names[0].startswith(str(file))


def replace(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text().replace(old, new))


def test_what_the_reader_dropped_and_mended_is_told_with_its_pictures(folder: Path) -> None:
    replace(folder / "train" / "p0.xml", "<xmax>20</xmax>", "<xmax>4</xmax>")
    replace(folder / "train" / "p2.xml", "<xmax>38</xmax>", "<xmax>55</xmax>")
    (folder / "val" / "p4.jpg").unlink()
    examination = found(folder)
    dropped = one(examination, "train: boxes without area in their image dropped")
    clipped = one(examination, "train: boxes clipped to their image")
    assert dropped.names == (f"{folder}/train/p0.xml object 1",)
    assert [place.row for place in dropped.places + clipped.places] == [0, 2]
    lost = one(examination, "label files without a picture")
    assert lost.names == (f"{folder}/val/p4.xml",)


def test_objects_there_twice_tiny_or_none_are_found(folder: Path) -> None:
    file = folder / "train" / "p0.xml"
    cat = file.read_text().split("<object>")[1].removesuffix("</annotation>")
    replace(file, "</annotation>", f"<object>{cat}</annotation>")
    replace(file, "<ymin>2</ymin>", "<ymin>11</ymin>")  # a dog of one pixel
    size = "<size><width>40</width><height>30</height></size>"
    (folder / "val" / "p3.xml").write_text(f"<annotation>{size}</annotation>")
    examination = found(folder)
    doubled = one(examination, "boxes round one object")
    tiny = one(examination, "objects of less than 4 pixels on the canvas of 96 x 96")
    assert doubled.names == (f"{folder}/train/p0.jpg: object 3",)
    assert tiny.names == (f"{folder}/train/p0.jpg: object 2",)
    empty = one(examination, "val: pictures without objects")
    assert (empty.level, empty.names) == (NOTE, (f"{folder}/val/p3.jpg",))


def test_classes_of_one_split_or_one_name_are_found(folder: Path) -> None:
    replace(folder / "val" / "p3.xml", ">dog<", ">Dog<")
    replace(folder / "train" / "p0.xml", ">cat<", ">ape<")
    examination = found(folder)
    assert one(examination, "differ by case").names == ("Dog", "dog")
    assert one(examination, "val: classes that other splits have alone").names == ("ape",)
    assert one(examination, "train: classes that other splits have alone").names == ("Dog",)


def test_what_cannot_be_read_at_all_is_unusable(folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("train/*.xml"):
        file.write_text("<annotation>\n<object>")
    examination = found(folder)
    assert examination.level == UNUSABLE
    assert "names no image" in one(examination, "train cannot be read").names[0]
    refused = one(examination, "refused by a training").names
    assert [name.count(":2: not valid xml") for name in refused] == [1, 1, 1]
    empty = tmp_path / "nothing"
    empty.mkdir()
    assert [f.what for f in found(empty).findings] == ["train and val cannot be read"]


def spoil_coco(folder: Path) -> list[str]:
    (folder / "train2017" / "b.png").unlink()
    file = folder / "annotations" / "instances_train2017.json"
    told = json.loads(file.read_text())
    told["annotations"][0]["category_id"] = 99
    told["annotations"][1]["bbox"] = [1, 2, 3]
    file.write_text(json.dumps(told))
    return ["annotation 0 has category 99", "annotation 1 has the bbox [1, 2, 3]", "b.png"]


def spoil_yolo(folder: Path) -> list[str]:
    file = folder / "labels" / "train" / "a.txt"
    file.write_text("9 .5 .5 .1 .1\n0 .5 .5 .1\n" + file.read_text())
    (folder / "labels" / "train" / "c.txt").write_bytes(b"\xff\xfe\xfd")
    (folder / "images" / "train" / "b.png").write_bytes(b"no picture")
    return ["a.txt:1: class 9", "a.txt:2: 4 columns", "c.txt:1: not the text", "b.png: damaged"]


def spoil_voc(folder: Path) -> list[str]:
    (folder / "JPEGImages" / "b.png").unlink()
    (folder / "Annotations" / "c.xml").write_text("<annotation>")
    replace(folder / "Annotations" / "a.xml", "<xmin>4</xmin>", "")
    return ["b.jpg", "c.xml:1: not valid xml", "a.xml object 1 has the bndbox"]


def spoil_labelme(folder: Path) -> list[str]:
    (folder / "train" / "c.json").write_text("{")
    replace(folder / "train" / "a.json", "[38, 12], ", "")
    return ["c.json:1: not valid json", "a.json shape 2: the points are [[10, 2]]"]


@pytest.mark.parametrize(
    ("layout", "spoil", "left"),
    [
        (official_coco, spoil_coco, (2, 2)),
        (images_first, spoil_yolo, (2, 2)),
        (voc_with_lists, spoil_voc, (1, 1)),
        (labelme_by_folder, spoil_labelme, (2, 3)),
    ],
)
def test_all_that_a_training_refuses_is_told_and_the_rest_is_read(
    layout: Callable[..., None],
    spoil: Callable[[Path], list[str]],
    left: tuple[int, int],
    tmp_path: Path,
) -> None:
    layout(tmp_path, ["a", "b", "c"], ["d", "e"])
    expected = spoil(tmp_path)
    examination = found(tmp_path)
    names = [n for f in examination.findings if f.level == UNUSABLE for n in f.names]
    assert len(names) == len(expected)
    assert [told for told in expected if not any(told in name for name in names)] == []
    train = examination.splits["train"]
    assert (train["pictures"], train["objects"]) == left
    assert examination.splits["val"]["objects"] == 4
    with pytest.raises(ValueError, match=str(tmp_path)):
        read_auto(tmp_path, "train")


def test_a_split_of_which_all_pictures_are_missing_is_unusable(tmp_path: Path) -> None:
    official_coco(tmp_path, ["a", "b"], ["c"])
    for file in tmp_path.rglob("train2017/*.png"):
        file.unlink()
    assert "2 of 2 images are missing" in one(found(tmp_path), "train cannot be read").names[0]


def test_unreadable_pictures_are_as_bad_as_a_training_takes_them(folder: Path) -> None:
    (folder / "train" / "p1.jpg").write_bytes(b"")
    readers = {s: partial(read_auto, folder, s) for s in SPLITS}
    assert examined(readers, RESIZE, untracked, max_unreadable=0.4).level == WARNING
    assert examined(readers, RESIZE, untracked, max_unreadable=0.3).level == UNUSABLE
    shutil.copy(folder / "train" / "p0.jpg", folder / "train" / "p1.jpg")
    (folder / "val" / "p3.jpg").write_bytes(b"")
    assert examined(readers, RESIZE, untracked, max_unreadable=1.0).level == UNUSABLE


def test_labels_of_another_picture_and_pictures_of_no_label_are_told(tmp_path: Path) -> None:
    labelme_by_folder(tmp_path / "json", ["a", "b"], ["c"])
    replace(tmp_path / "json" / "train" / "a.json", "a.png", "b.png")
    elsewhere = one(found(tmp_path / "json"), "`imagePath` names another")
    assert elsewhere.names == (f"{tmp_path}/json/train/a.json: b.png",)
    voc_with_lists(tmp_path / "xml", ["a", "b"], ["c"])
    file = tmp_path / "xml" / "Annotations" / "a.xml"
    replace(file, "<annotation>", "<annotation><filename>b.jpg</filename>")
    assert one(found(tmp_path / "xml"), "`filename` names another").names == (f"{file}: b.jpg",)
    official_coco(tmp_path / "coco", ["a", "b"], ["c"])
    textured(tmp_path / "coco" / "train2017" / "new.jpg", 5)
    unlisted = one(found(tmp_path / "coco"), "that the file does not list")
    assert (unlisted.level, unlisted.names) == (NOTE, (f"{tmp_path}/coco/train2017/new.jpg",))


def test_pictures_of_one_colour_or_none_that_can_be_read_are_no_reason_to_stop(
    folder: Path,
) -> None:
    for number, file in enumerate(sorted(folder.rglob("*.jpg"))):
        cv2.imwrite(str(file), np.full((30, 40, 3), 40 * number, np.uint8))
    assert found(folder).findings == []
    for file in folder.rglob("*.jpg"):
        file.write_bytes(file.read_bytes()[:-200])
    assert {finding.what for finding in found(folder).findings} == {
        "train: pictures that cannot be read",
        "val: pictures that cannot be read",
    }


def test_a_picture_in_three_splits_is_told_of_each_pair(folder: Path) -> None:
    for name in ("train/p0", "val/p3", "test/p9"):
        textured(folder / f"{name}.jpg", 77)
    xml(folder / "test", ["p9"])
    three = (*SPLITS, "test")
    every = examined({s: partial(read_auto, folder, s) for s in three}, RESIZE, untracked, 0.01)
    assert [finding.what for finding in every.findings] == [
        "the same picture in train and in val",
        "the same picture in train and in test",
        "the same picture in val and in test",
    ]


def test_a_drawn_split_is_told_what_is_its_own(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(12)]
    for number, name in enumerate(names):
        textured(tmp_path / f"{name}.jpg", number)
    xml(tmp_path, names)
    replace(tmp_path / "p0.xml", "<xmax>38</xmax>", "<xmax>55</xmax>")
    (clipped,) = found(tmp_path).findings
    assert clipped.what.endswith("boxes clipped to their image")
    assert len(clipped.names) == len(clipped.places) == 1


def test_the_page_shows_each_finding_and_needs_no_other_file(folder: Path) -> None:
    shutil.copy(folder / "train" / "p1.jpg", folder / "val" / "p3.jpg")
    replace(folder / "train" / "p0.xml", ">cat<", ">c&amp;t<")
    examination = found(folder)
    text = page(examination, "mine", "told")
    assert text.count("data:image/jpeg;base64,") == 2  # of the pair
    assert "c&amp;t" in text
    assert "http" not in text
    assert all(finding.what in text for finding in examination.findings)
    json.dumps(examination.splits)


class Counted(ImageFiles):
    """Twenty thousand objects in five thousand pictures, none of which is there."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        corner = draw.uniform(0, 500, (20_000, 2))
        boxes = np.concatenate([corner, corner + draw.uniform(1, 100, (20_000, 2))], axis=1)
        truth = Annotations(
            np.arange(5000),
            np.full((5000, 2), 640),
            np.arange(0, 20_001, 4),
            boxes,
            draw.integers(0, 80, 20_000),
            np.zeros(20_000, bool),
            np.zeros(20_000, bool),
            boxes[:, 2],
            tuple(f"class {k}" for k in range(80)),
            tuple(range(80)),
        )
        super().__init__(truth, [f"{k}.jpg" for k in range(5000)])


def test_twenty_thousand_objects_take_seconds() -> None:
    source, start = Counted(), time.process_time()
    assert list(_of_objects("train", source, RESIZE))
    assert time.process_time() - start < 3


def test_generated_scenes_are_examined_too() -> None:
    def scenes(split: str) -> Scenes:
        return Scenes(Layout(side=96, num_classes=4), Look(), 30, 0, split)

    examination = examined(
        {s: partial(scenes, s) for s in ("train", "val")}, RESIZE, untracked, 0.01
    )
    assert examination.splits["val"]["pictures"] == 30
    assert not [f for f in examination.findings if "same picture" in f.what]

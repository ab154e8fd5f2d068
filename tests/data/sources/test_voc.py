"""VOC folders: the origin of coordinates, difficult objects, and what people get wrong."""

import logging
from pathlib import Path

import pytest

from detectors.data.sources.voc import read_voc

SIZE = "<size><width>30</width><height>20</height></size>"
CLASSES = ["cat", "dog"]


def voc_object(name: str, box: tuple, difficult: object = 0) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<part><name>head</name><bndbox><xmin>9</xmin></bndbox></part>"
        f"<bndbox>{inner}</bndbox></object>"
    )


@pytest.fixture
def voc(tmp_path, picture, text):
    """Writes a data set of the given xml bodies by stem, all in the split `train`."""

    def write(bodies: dict[str, str]):
        for stem, body in bodies.items():
            picture(tmp_path / "JPEGImages" / f"{stem}.jpg")
            text(tmp_path / "Annotations" / f"{stem}.xml", f"<annotation>{body}</annotation>")
        text(tmp_path / "ImageSets" / "Main" / "train.txt", "\n".join(bodies) + "\n")
        return tmp_path

    return write


def test_objects_are_read_in_order_of_the_split(voc) -> None:
    bodies = {
        "b": SIZE
        + voc_object("dog", (2, 3, 10, 12), difficult=1)
        + voc_object("cat", (1, 1, 30, 20)),
        "a": SIZE,
        "c": SIZE + voc_object("cat", (5, 5, 6, 6)),
    }
    truth = read_voc(voc(bodies), "train", CLASSES, one_based=False).annotations
    assert truth.offsets.tolist() == [0, 2, 2, 3]
    assert truth.boxes.tolist() == [[2, 3, 10, 12], [1, 1, 30, 20], [5, 5, 6, 6]]
    assert truth.labels.tolist() == [1, 0, 0]
    assert truth.difficult.tolist() == [True, False, False]
    assert truth.areas.tolist() == [72, 551, 1]


def test_difficult_objects_may_be_used_as_any_other(voc) -> None:
    root = voc({"a": SIZE + voc_object("dog", (2, 3, 10, 12), difficult=1)})
    truth = read_voc(root, "train", CLASSES, one_based=False, use_difficult=True).annotations
    assert truth.difficult.tolist() == [False]


def test_one_based_pixel_numbers_become_edges(voc) -> None:
    """The whole picture is 1 to 30 and 1 to 20; a single pixel has the same number twice."""
    root = voc({"a": SIZE + voc_object("cat", (1, 1, 30, 20)) + voc_object("cat", (4, 4, 4, 4))})
    truth = read_voc(root, "train", CLASSES, one_based=True).annotations
    assert truth.boxes.tolist() == [[0, 0, 30, 20], [3, 3, 4, 4]]


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_is_not_given_is_taken_from_the_picture(voc, size) -> None:
    root = voc({"a": size + voc_object("cat", (1, 1, 5, 5))})
    assert read_voc(root, "train", CLASSES, False).annotations.sizes.tolist() == [[20, 30]]


def test_zero_size_outside_and_repeats_are_reported_once(voc, text, caplog) -> None:
    body = SIZE + voc_object("cat", (5, 5, 5, 9)) + voc_object("cat", (-3, 2, 40, 9))
    root = voc({"a": body})
    text(root / "ImageSets" / "Main" / "train.txt", "a\n\na\n")
    with caplog.at_level(logging.WARNING):
        truth = read_voc(root, "train", CLASSES, False).annotations
    assert truth.boxes.tolist() == [[0, 2, 30, 9]]
    (message,) = caplog.messages
    assert "1 repeated lines dropped: a" in message
    assert "1 boxes without area in their image dropped" in message
    assert "a.xml object 1" in message
    assert "1 boxes clipped to their image" in message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (SIZE + voc_object("cow", (1, 1, 5, 5)), r"a\.xml object 1 is a `cow`, expected one of"),
        (SIZE + voc_object("cat", (1, 1, "", 5)), r"a\.xml object 1 has the bndbox"),
        (SIZE + voc_object("cat", (1, 1, "nan", 5)), r"no finite number, at .*a\.xml object 1"),
        (SIZE + "\n<object>", r"a\.xml:2: not valid xml .*; export it again, or correct it there"),
        (SIZE, "none of the 1 images has an object"),
        (SIZE + voc_object("cat", (1, 1, "1_5", 5)), r"a\.xml object 1 has the bndbox"),
        (
            SIZE + voc_object("cat", (1, 1, 5, "5</ymax><ymax>9")),
            r"a\.xml object 1 has several `bndbox/ymax`: 5, 9; delete",
        ),
        (SIZE + voc_object("cat</name><name>dog", (1, 1, 5, 5)), "1 has several `name`: cat, dog"),
        (
            SIZE + voc_object("cat", (1, 1, 5, 5)) + "<size><width>9</width></size>",
            r"a\.xml has several `size/width`: 30, 9; delete",
        ),
        (
            SIZE + f"<objects>{voc_object('cat', (1, 1, 5, 5))}</objects><Object/>",
            r"a\.xml: 2 objects lie within another element than `annotation`, or are not written",
        ),
        (
            SIZE.replace("30", "-30") + voc_object("cat", (1, 1, 5, 5)),
            r"a\.xml: the height or width is below 0",
        ),
    ],
)
def test_what_makes_no_sense_stops_with_the_file(voc, body, message) -> None:
    with pytest.raises(ValueError, match=message):
        read_voc(voc({"a": body}), "train", CLASSES, False)


def body_of(*boxes: tuple, size: str = SIZE) -> str:
    return size + "".join(voc_object("cat", box) for box in boxes)


def test_difficult_is_true_in_any_spelling(voc) -> None:
    words = ["1", "0", "True", "false", " 1 ", ""]
    body = SIZE + "".join(voc_object("cat", (1, 1, 9, 9), word) for word in words)
    found = read_voc(voc({"a": body}), "train", CLASSES, False).annotations.difficult
    assert found.tolist() == [True, False, True, False, True, False]
    body = SIZE + voc_object("cat", (1, 1, 9, 9), "perhaps")
    with pytest.raises(ValueError, match=r"a\.xml object 1: `difficult` is 'perhaps', expected 0"):
        read_voc(voc({"a": body}), "train", CLASSES, False)


@pytest.mark.parametrize("one_based", [False, True])
def test_parts_of_the_image_are_no_pixels(voc, one_based) -> None:
    root = voc({"a": body_of((0.1, 0.2, 0.5, 0.6), (0, 0, 0.5, 1))})
    with pytest.raises(ValueError, match=r"2 of 2 boxes lie within the first pixel: .*a\.xml obj"):
        read_voc(root, "train", CLASSES, one_based)


def test_sizes_may_have_a_point_and_are_compared_with_the_pictures(voc) -> None:
    size = "<size><width>30.0</width><height>20.0</height></size>"
    truth = read_voc(voc({"a": body_of((1, 1, 5, 5), size=size)}), "train", CLASSES, False)
    assert truth.annotations.sizes.tolist() == [[20, 30]]
    for size, message in (
        (
            "<size><width>30.5</width><height>20</height></size>",
            r"a\.xml: the width is '30.5', exp",
        ),
        (
            "<size><width>wide</width><height>20</height></size>",
            r"a\.xml: the width is 'wide', exp",
        ),
        (
            "<size><width>640</width><height>480</height></size>",
            r"1 of 1 pictures .*a\.jpg.* 30 wide and 20 high.* 640 x 480",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            read_voc(voc({"a": body_of((1, 1, 5, 5), size=size)}), "train", CLASSES, False)


@pytest.mark.parametrize(
    "encoding", ["gb2312", "GBK", "Shift_JIS", "iso-8859-1", "utf-16", "utf-8"]
)
def test_an_xml_is_read_in_the_encoding_that_it_declares(voc, encoding) -> None:
    name = "caf\u00e9" if encoding == "iso-8859-1" else "\u732b"
    root = voc({"a": SIZE})
    body = f"<annotation>{SIZE}{voc_object(name, (1, 1, 5, 5))}</annotation>"
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    (root / "Annotations" / "a.xml").write_bytes((head + body).encode(encoding))
    assert read_voc(root, "train", [name], False).annotations.labels.tolist() == [0]


def test_an_xml_of_another_kind_is_refused(voc) -> None:
    xml = voc({"a": SIZE}) / "Annotations" / "a.xml"
    for tag, name in (("<annotation xmlns='x'/>", "{x}annotation"), ("<html/>", "html")):
        xml.write_text(tag)
        with pytest.raises(ValueError, match=rf"a\.xml is a `{name}`, expected an `annotation`"):
            read_voc(xml.parents[1], "train", CLASSES, False)


def test_an_xml_in_another_encoding_is_named(voc) -> None:
    xml = voc({"a": SIZE}) / "Annotations" / "a.xml"
    xml.write_bytes(b"<annotation>\n<name>caf\xe9</name></annotation>")
    with pytest.raises(
        ValueError, match=r"a\.xml:2: not the text in utf-8.*save the file as UTF-8"
    ):
        read_voc(xml.parents[1], "train", CLASSES, False)
    for name in ("klingon", "undefined"):  # Python has a codec called so, which refuses all
        xml.write_text(f"<?xml version='1.0' encoding='{name}'?><annotation/>")
        with pytest.raises(ValueError, match=rf"a\.xml:1: the encoding {name} is unknown"):
            read_voc(xml.parents[1], "train", CLASSES, False)


def test_lists_with_marks_spaces_and_flags_are_read(voc, text) -> None:
    root = voc({name: body_of((1, 1, 5, 5)) for name in ("a", "a 1", "a -1", "b c")})
    path = root / "ImageSets" / "Main" / "train.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\na 1\r\nb c\r\nb c -1\r\n")
    source = read_voc(root, "train", CLASSES, False)
    assert [Path(source.path(k)).stem for k in range(len(source))] == ["a", "a 1", "b c"]


def test_two_pictures_of_one_annotation_and_other_kinds_are_refused(voc, picture) -> None:
    root = voc({"a": body_of((1, 1, 5, 5))})
    picture(root / "JPEGImages" / "b.png")
    picture(root / "JPEGImages" / "b.jpg")  # not in the split
    read_voc(root, "train", CLASSES, False)
    picture(root / "JPEGImages" / "a.png")
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png share one annotation"):
        read_voc(root, "train", CLASSES, False)
    (root / "JPEGImages" / "a.png").unlink()
    (root / "JPEGImages" / "a.jpg").rename(root / "JPEGImages" / "a.gif")
    with pytest.raises(ValueError, match=r"1 images are of a kind that is not read: a\.gif"):
        read_voc(root, "train", CLASSES, False)


def test_a_split_does_not_lead_out_of_the_folder(voc, text) -> None:
    root = voc({"a": body_of((1, 1, 5, 5))})
    text(root / "ImageSets" / "Main" / "train.txt", "../../elsewhere/a\n")
    with pytest.raises(ValueError, match=r"1 paths lead out of .*elsewhere/a.*trust_paths=true"):
        read_voc(root, "train", CLASSES, False)


def test_two_classes_of_one_name_are_refused(voc) -> None:
    with pytest.raises(ValueError, match="2 classes are called `cat`: 0, 2; give each"):
        read_voc(voc({"a": SIZE}), "train", ["cat", "dog", "cat"], False)


def test_missing_files_stop_with_their_name(voc, text) -> None:
    root = voc({"a": SIZE + voc_object("cat", (1, 1, 5, 5))})
    with pytest.raises(ValueError, match=r"val\.txt does not exist; splits there: train"):
        read_voc(root, "val", CLASSES, False)
    text(root / "ImageSets" / "Main" / "val.txt", "")
    with pytest.raises(ValueError, match="the split is empty"):
        read_voc(root, "val", CLASSES, False)
    text(root / "ImageSets" / "Main" / "val.txt", "a\nb")
    with pytest.raises(ValueError, match=r"1 of 2 images are missing.*b\.jpg"):
        read_voc(root, "val", CLASSES, False)
    (root / "Annotations" / "a.xml").unlink()
    with pytest.raises(ValueError, match=r"a\.xml does not exist"):
        read_voc(root, "train", CLASSES, False)


@pytest.mark.parametrize(
    ("split", "images", "boxes"),
    [("train", 205, 2804), ("val", 87, 1137), ("trainval", 292, 3941), ("test", 72, 945)],
)
def test_real_bccd(data_root, caplog, split, images, boxes) -> None:
    source = read_voc(data_root / "bccd", split, ["RBC", "WBC", "Platelets"], one_based=False)
    assert (len(source), len(source.annotations.boxes)) == (images, boxes)
    dropped = {"train": 1, "val": 1, "trainval": 2, "test": 0}[split]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (dropped > 0)
    assert all(
        f"{dropped} boxes without area in their image dropped" in message for message in warnings
    )
    assert source.image(0).shape == (480, 640, 3)

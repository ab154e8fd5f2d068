"""COCO json: categories with gaps, crowds, and what people get wrong."""

import json
import logging

import numpy as np
import pytest

from detectors.data.sources.coco import read_coco


def annotation(key: int, image: int, category: int, box: list, **more) -> dict:
    row = {"id": key, "image_id": image, "category_id": category, "bbox": box, "iscrowd": 0}
    return row | {"area": 5.0} | more


ROWS = [
    annotation(1, 12, 7, [1, 2, 3, 4]),
    annotation(2, 10, 3, [5, 5, 10, 10]),
    annotation(3, 12, 3, [0, 0, 30, 20], iscrowd=1, area=77.0),
]


@pytest.fixture
def read(tmp_path, picture):
    """Reads three images with ROWS; arguments replace keys of the json."""

    def run(classes=None, trust_paths=False, **changed):
        for k in range(3):
            picture(tmp_path / f"{k}.jpg")
        images = [
            {"id": 10 + k, "file_name": f"{k}.jpg", "height": 20, "width": 30} for k in range(3)
        ]
        categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
        content = {"images": images, "categories": categories, "annotations": ROWS} | changed
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content), encoding="utf-8-sig")  # with a byte order mark
        return read_coco(path, tmp_path, classes, trust_paths)

    return run


def test_objects_are_packed_by_image_with_labels_in_order_of_category_id(read) -> None:
    truth = read().annotations
    assert truth.classes == ("cat", "dog")
    assert truth.category_ids == (3, 7)
    assert truth.image_ids.tolist() == [10, 11, 12]
    assert truth.offsets.tolist() == [0, 1, 1, 3]  # image 11 has no object and stays
    assert truth.boxes.tolist() == [[5, 5, 15, 15], [1, 2, 4, 6], [0, 0, 30, 20]]
    assert truth.labels.tolist() == [0, 1, 0]
    assert truth.crowd.tolist() == [False, False, True]
    assert truth.areas.tolist() == [5, 5, 77]


def test_what_is_dropped_is_said_once_with_ids(read, caplog) -> None:
    rows = [
        *ROWS,
        annotation(4, 10, 3, [3, 3, 0, 5]),
        annotation(5, 10, 3, [25, 15, 10, 10]),
        annotation(6, 99, 3, [1, 1, 2, 2]),
        ROWS[0],
    ]
    with caplog.at_level(logging.WARNING):
        truth = read(annotations=rows).annotations
    assert truth.offsets.tolist() == [0, 2, 2, 4]
    assert truth.boxes[1].tolist() == [25, 15, 30, 20]
    (message,) = caplog.messages
    for part in (
        "1 boxes without area in their image dropped: annotation 4",
        "1 boxes clipped to their image: annotation 5",
        "1 annotations of images that are not listed dropped: annotation 6",
        "1 repeated annotations dropped: annotation 1",
    ):
        assert part in message


def test_no_more_than_three_examples(read, caplog) -> None:
    read(annotations=ROWS + [annotation(k, 10, 3, [1, 1, 0, 0]) for k in range(10, 60)])
    told = (
        "50 boxes without area in their image dropped: annotation 10, annotation 11, annotation 12"
    )
    assert f"{told} and 47 more" in caplog.messages[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"annotations": [annotation(8, 10, 4, [1, 1, 2, 2])]}, "annotation 8 has category 4"),
        ({"annotations": [annotation(8, 10, 3, [1, 1, 2])]}, "annotation 8 has the bbox"),
        ({"annotations": [annotation(8, 10, 3, [1, 1, 2, None])]}, "annotation 8"),
        ({"annotations": []}, "none of the 3 images has an object"),
        ({"images": []}, "the split is empty"),
        ({"annotations": [ROWS[0], annotation(1, 10, 3, [5, 5, 5, 5])]}, "different objects: 1;"),
        (
            {"categories": [{"id": 3, "name": "cat"}] * 2},
            "category ids stand for more than one: 3;",
        ),
        ({"classes": ["dog", "cat"]}, r"has the categories \['cat', 'dog'\], expected"),
    ],
)
def test_what_makes_no_sense_stops_with_the_id(read, changed, message) -> None:
    with pytest.raises(ValueError, match=message):
        read(**changed)


def picture_row(key: int, name: str, height: int = 20) -> dict:
    return {"id": key, "file_name": name, "height": height, "width": 30}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            [picture_row(10, "0.jpg"), picture_row(10, "1.jpg")],
            "image ids stand for more than one: 10;",
        ),
        (
            [picture_row(10, "0.jpg"), picture_row(12, "gone.jpg")],
            "1 of 2 images are missing.*gone",
        ),
        ([picture_row(10, "0.jpg"), picture_row(12, "1.jpg", 0)], "height or width 0, ids 12"),
        ([picture_row(10, "0.jpg"), {"id": 12}], "image 12 has no `height`"),
    ],
)
def test_wrong_images_stop_with_the_id(read, images, message) -> None:
    with pytest.raises(ValueError, match=message):
        read(images=images)


def test_numbers_may_be_text(read, caplog) -> None:
    """Ids, flags, sizes and coordinates; `"0"` is no crowd, and `"0012"` is image 12."""
    images = [
        {"id": f"00{10 + k}", "file_name": f"{k}.jpg", "height": "20", "width": 30.0}
        for k in range(3)
    ]
    rows = [
        annotation(1, "0012", "7", ["1", 2, 3, 4], iscrowd="0", area="5"),
        annotation(2, "0010", 3, [5, 5, 10, 10], iscrowd=False, area=None),
        annotation(3, "0012", 3, [0, 0, 30, 20], iscrowd="1"),
    ]
    truth = read(images=images, annotations=rows).annotations
    assert truth.image_ids.tolist() == [10, 11, 12]
    assert truth.boxes.tolist() == [[5, 5, 15, 15], [1, 2, 4, 6], [0, 0, 30, 20]]
    assert truth.crowd.tolist() == [False, False, True]
    assert truth.areas.tolist() == [100, 5, 5]
    assert "3 image ids that are text, read as numbers: 0010, 0011, 0012" in caplog.text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"annotations": [ROWS[0] | {"iscrowd": "maybe"}]}, "`iscrowd` of annotation 1 is 'maybe'"),
        ({"annotations": [ROWS[0] | {"iscrowd": 2}]}, "`iscrowd` of annotation 1 is 2, expected 0"),
        ({"annotations": [ROWS[0] | {"image_id": "a"}]}, "`image_id` of annotation 1 is 'a', exp"),
        ({"annotations": [ROWS[0] | {"image_id": 2**63}]}, "`image_id` of annotation 1 is 92"),
        ({"annotations": [ROWS[0] | {"image_id": True}]}, "`image_id` of annotation 1 is True"),
        (
            {"annotations": [ROWS[0] | {"category_id": 7.5}]},
            "annotation 1 is 7.5, expected a whole",
        ),
        ({"annotations": [ROWS[0] | {"category_id": None}]}, "annotation 1 is null, expected"),
        ({"annotations": [ROWS[0] | {"bbox": {"x": 1}}]}, "annotation 1 has the bbox {'x': 1}"),
        ({"annotations": [ROWS[0] | {"bbox": "1 2 3 4"}]}, "annotation 1 has the bbox '1 2 3 4'"),
        ({"annotations": [ROWS[0] | {"area": "big"}]}, "`area` of annotation 1 is 'big', expected"),
        ({"annotations": [ROWS[0] | {"area": -1}]}, "`area` of annotation 1 is -1.0, expected a n"),
        (
            {"annotations": [ROWS[0] | {"area": float("inf")}]},
            "`area` of annotation 1 is inf, expected a n",
        ),
        (
            {"annotations": [ROWS[0] | {"bbox": ["1_0", 2, 3, 4]}]},
            "`bbox` of annotation 1: a number is '1_0', expected a number",
        ),
        ({"annotations": [ROWS[0] | {"image_id": "1_2"}]}, "annotation 1 is '1_2', expected a w"),
        ({"categories": []}, "there is no class"),
        ({"annotations": None}, "json: `annotations` is null, expected a list of objects"),
        ({"images": {"id": 1}}, "`images` is {'id': 1}.*, expected a list of objects"),
        ({"categories": [{"id": "x", "name": "cat"}]}, "`id` of category x is 'x', expected a w"),
        ({"categories": [{"id": 3, "name": None}]}, "the name of class 3 is null, expected text"),
        ({"categories": [{"id": k, "name": "cat"} for k in (3, 7)]}, "called `cat`: 3, 7; give"),
    ],
)
def test_values_of_another_type_stop_with_file_and_id(read, changed, message) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        read(**changed)
    assert "instances.json" in str(refusal.value)


def test_a_key_that_is_there_twice_does_not_hide_the_first(tmp_path) -> None:
    path = tmp_path / "instances.json"
    for content, message in (
        ('{"images": [], "images": []}', "an object has `images` more than once"),
        ('{"images": [{"id": 4, "bbox": [1], "bbox": []}]}', "an object of id 4 has `bbox` more"),
        ("9" * 5000, "limit"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=rf"instances\.json: .*{message}"):
            read_coco(path, tmp_path)


def test_ids_of_annotations_are_one_in_any_spelling(read, caplog) -> None:
    rows = [*ROWS, ROWS[0] | {"id": 1.0}, ROWS[0] | {"id": "1"}]
    assert len(read(annotations=rows).annotations.boxes) == 3
    assert "2 repeated annotations dropped: annotation 1, annotation 1" in caplog.text


def test_a_folder_is_no_picture(read, tmp_path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("folder.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    images = [picture_row(10 + k, name) for k, name in enumerate(("folder.jpg", ".", "link.jpg"))]
    with pytest.raises(ValueError, match="3 of 3 images are missing"):
        read(images=images)


def test_parts_of_the_image_are_no_pixels(read, caplog) -> None:
    rows = [annotation(k, 10, 3, [0.1, 0.2, 0.3, 0.4]) for k in (1, 2)]
    with pytest.raises(ValueError, match="2 of 2 boxes lie within the first pixel: annotation 1,"):
        read(annotations=rows)
    many = [annotation(k, 10, 3, [2, 2, 9, 9]) for k in range(3, 203)]
    assert len(read(annotations=rows + many).annotations.boxes) == 202
    assert "2 boxes within the first pixel kept: annotation 1, annotation 2" in caplog.text


def test_all_objects_dropped_is_as_bad_as_none(read) -> None:
    rows = [annotation(k, 10, 3, [9, 9, -5, -5]) for k in (1, 2)]
    with pytest.raises(ValueError, match=r"none of the 2 boxes has an area.*annotation 1, annot"):
        read(annotations=rows)
    with pytest.raises(ValueError, match=r"3 images has an object.*not listed dropped: annotation"):
        read(annotations=[annotation(1, 99, 3, [1, 1, 5, 5])])


def test_what_is_used_of_what_is_there_is_said_in_one_line(read, caplog) -> None:
    with caplog.at_level(logging.INFO):
        read()
        read(annotations=[*ROWS, ROWS[0], annotation(4, 10, 3, [3, 3, 0, 5])])
    clean, mended = caplog.messages
    assert "3 of 3 images used, 3 of 3 objects used" in clean
    assert "3 of 3 images used, 3 of 5 objects used; 1 repeated annotations dropped:" in mended


def test_sizes_are_compared_with_the_pictures_before_a_run(read) -> None:
    images = [picture_row(10, "0.jpg"), picture_row(12, "1.jpg", 480)]
    with pytest.raises(
        ValueError, match=r"1 of 2 pictures.*1\.jpg.* 30 wide and 20 high.*30 x 480"
    ):
        read(images=images)
    images = [picture_row(10, "0.jpg"), picture_row(12, "1.jpg") | {"width": None}]
    with pytest.raises(ValueError, match=r"json: `width` of image 12 is null, expected a whole"):
        read(images=images)


def test_paths_do_not_lead_out_of_the_folder_unless_trusted(read, tmp_path, picture) -> None:
    outside = picture(tmp_path.with_name("outside") / "x.jpg")
    for name in (str(outside), "../outside/x.jpg", "a/../../outside/x.jpg"):
        images = [picture_row(10, "0.jpg"), picture_row(12, name)]
        with pytest.raises(ValueError, match=r"json: 1 paths lead out of .*data.trust_paths=true"):
            read(images=images)
    source = read(images=[*images[:1], picture_row(12, str(outside))], trust_paths=True)
    assert source.path(1) == str(outside)
    assert read(images=[picture_row(10, "0.jpg"), picture_row(12, "a/../1.jpg")]).path(1) == str(
        tmp_path / "1.jpg"
    )


def test_a_file_that_is_two_images_is_told(read, caplog) -> None:
    read(images=[picture_row(10, "0.jpg"), picture_row(12, "0.jpg")])
    assert "1 files that are several images, each with its own objects: 0.jpg" in caplog.text


def test_a_file_of_another_kind_is_refused(tmp_path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"images": [],\n oops}')
    with pytest.raises(ValueError, match=r"x\.json:2: not valid json"):
        read_coco(path, tmp_path)
    path.write_bytes(b'{"images": "\xe9"}')
    with pytest.raises(ValueError, match=r"x\.json: not UTF-8"):
        read_coco(path, tmp_path)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"x\.json: lists within lists"):
        read_coco(path, tmp_path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="has no `images`"):
        read_coco(path, tmp_path)
    with pytest.raises(ValueError, match=r"y\.json does not exist"):
        read_coco(tmp_path / "y.json", tmp_path)


def test_real_coco(data_root) -> None:
    root = data_root / "coco_tiny"
    source = read_coco(root / "annotations/instances_val2017.json", root / "val2017")
    truth = source.annotations
    assert (len(source), len(truth.boxes), truth.crowd.sum(), len(truth.classes)) == (
        80,
        815,
        11,
        80,
    )
    assert (truth.classes[0], truth.category_ids[-1]) == ("person", 90)
    assert all(np.array_equal(source.image(k).shape[:2], truth.sizes[k]) for k in range(0, 80, 10))

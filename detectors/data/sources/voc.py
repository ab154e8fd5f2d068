"""Reader of Pascal VOC's folders."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from detectors.data.sources.annotations import (
    Findings,
    Objects,
    check_pixels,
    class_names,
    examples,
    packed,
    unrepeated,
)
from detectors.data.sources.images import ImageFiles, check_sizes, upright_size
from detectors.data.sources.paths import (
    check_one_each,
    existing,
    expanded,
    inside,
    present,
)
from detectors.data.sources.text import as_text, content, text
from detectors.data.sources.values import flags, numbers, whole_numbers
from detectors.files import PICTURES

CORNERS = ("xmin", "ymin", "xmax", "ymax")
DECLARED = re.compile(rb"""\A\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']""")
WIDER = {"gb2312": "gb18030", "gbk": "gb18030"}  # what programs write under the older names
MEMBER = re.compile(r"(.*\S)\s+(-1|0|1)")  # a line of CLASS_SPLIT.txt


class _Object(NamedTuple):
    where: str
    image: int
    box: list[float]
    label: int
    difficult: bool


def read_voc(
    root: str | Path,
    split: str,
    classes: Sequence[str],
    one_based: bool,
    use_difficult: bool = False,
    trust_paths: bool = False,
) -> ImageFiles:
    """The images named in ImageSets/Main/SPLIT.txt, with ids 0, 1, ... in its order.

    Args:
        root: with the folders ImageSets/Main, Annotations and JPEGImages.
        split: train, val, trainval or test.
        classes: all names that occur; label k is the k-th.
        one_based: coordinates are pixel numbers that start at 1 and include the last pixel, as in
            the VOC devkit; 1 is taken off xmin and ymin, so that boxes are edges, as everywhere
            here. False: coordinates are edges already.
        use_difficult: take difficult objects for ordinary ones, as SSD does for training (its
            `use_difficult_gt`); never for evaluation.
        trust_paths: the split may name files out of the root.

    Raises:
        ValueError: files are missing or malformed, a name is not in `classes`, or the boxes are
            parts of the images; the message names the file and the object.
    """
    folder = existing(expanded(root), "VOC folder")
    findings = Findings(f"{folder} {split}")
    names = class_names(classes, "classes")
    stems = _stems(folder, split, findings)
    xmls = inside(
        folder, [f"Annotations/{stem}.xml" for stem in stems], findings.origin, trust_paths
    )
    files = _picture_files(folder / "JPEGImages", stems, findings.origin)
    paths = inside(folder, files, findings.origin, trust_paths)
    there = present(paths, findings)
    xmls, paths = [xmls[k] for k in there], [paths[k] for k in there]
    return annotated(xmls, paths, names, one_based, findings, use_difficult)


def annotated(
    xmls: Sequence[Path],
    paths: Sequence[Path],
    names: Sequence[str],
    one_based: bool,
    findings: Findings,
    use_difficult: bool = False,
) -> ImageFiles:
    """Pictures that have an XML file each, with ids 0, 1, ... in their order.

    Args:
        names: of all classes; the other arguments are those of `read_voc`.

    Raises:
        ValueError: as `read_voc`.
    """
    rows, sizes, others = [], [], []
    objects: list[_Object] = []
    for row, (xml, image) in enumerate(zip(xmls, paths, strict=True)):
        with findings.sparing("images"):
            tree = _tree(xml)
            sizes.append(_size(tree, xml) or upright_size(image))
            rows.append(row)
            objects.extend(_objects(tree, xml, len(rows) - 1, names, findings))
            named = (tree.findtext("filename") or "").replace("\\", "/").strip()
            if named and Path(named).stem not in (image.stem, xml.stem):
                others.append(f"{xml}: {named}")
    findings.add("files whose `filename` names another picture", others)
    annotations = packed(
        np.array(rows, np.int64),
        np.array(sizes, np.int64).reshape(-1, 2),
        _packable(objects, one_based, findings),
        names,
        range(len(names)),
        lambda k: objects[k].where,
        findings,
    )
    if use_difficult:
        annotations = annotations._replace(difficult=np.zeros_like(annotations.difficult))
    source = ImageFiles(annotations, [paths[row] for row in rows])
    check_sizes(source, findings)
    return source


def check_written(xml: Path) -> None:
    """Refuses what does not look as VOC has them.

    Raises:
        ValueError: says why.
    """
    _tree(xml)


def names_in(xmls: Iterable[Path]) -> list[str]:
    """The names of all objects in XML files, in order of the alphabet.

    Raises:
        ValueError: a file is not as VOC has them.
    """
    return sorted({name for xml in xmls for name in _names(xml)})


def _names(xml: Path) -> list[str]:
    def read() -> list[str]:
        nodes = _tree(xml).findall("object")
        return [_name(node, f"{xml} object {k}") for k, node in enumerate(nodes, start=1)]

    return Findings.or_nothing(read)


def _stems(folder: Path, split: str, findings: Findings) -> list[str]:
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not path.exists():
        splits = sorted(file.stem for file in path.parent.glob("*.txt"))
        raise ValueError(f"{path} does not exist; splits there: {', '.join(splits) or 'none'}")
    known = {
        file[: -len(".xml")] for file in os.listdir(existing(folder / "Annotations", "folder"))
    }
    lines = [line.strip() for line in text(path).splitlines() if line.strip()]
    return unrepeated([_stem(line, known) for line in lines], "images", "repeated lines", findings)


def _stem(line: str, known: set[str]) -> str:
    """The name in a line, which may contain spaces, or be followed by whether a class is there."""
    member = MEMBER.fullmatch(line)
    return member[1] if member and line not in known else line


def _picture_files(folder: Path, stems: Iterable[str], origin: str) -> list[str]:
    """The picture of each name, from the root on; where there is none, what it would be called."""
    names = sorted(os.listdir(existing(folder, "folder")))
    pictures = [Path(name) for name in names if name.lower().endswith(PICTURES)]
    wanted = set(stems)
    check_one_each([path for path in pictures if path.stem in wanted], "annotation")
    files = {path.stem: path.name for path in pictures}
    lost = {Path(name).stem: name for name in names}
    unread = [lost[stem] for stem in wanted if stem not in files and stem in lost]
    if unread:
        raise ValueError(
            f"{origin}: {len(unread)} images are of a kind that is not read: "
            f"{examples(sorted(unread))}; convert them to one of {', '.join(PICTURES)}"
        )
    return [f"{folder.name}/{files.get(stem, f'{stem}.jpg')}" for stem in stems]


def _tree(path: Path) -> ElementTree.Element:
    try:
        data = content(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, but the split names it") from None
    declared = DECLARED.search(data)
    encoding = declared[1].decode().lower() if declared else "utf-8"
    try:
        tree = ElementTree.fromstring(as_text(data, path, WIDER.get(encoding, encoding)))
    except ElementTree.ParseError as error:
        raise ValueError(
            f"{path}:{error.position[0]}: not valid xml ({error}); export it again, or correct it "
            "there"
        ) from error
    if tree.tag != "annotation":  # its objects would not be found
        raise ValueError(f"{path} is a `{tree.tag}`, expected an `annotation` as VOC has them")
    return tree


def _size(tree: ElementTree.Element, path: Path) -> tuple[int, int] | None:
    """(height, width), or None where the file does not say or says 0."""
    texts = [_text(tree, f"size/{key}", str(path)) or "0" for key in ("height", "width")]
    height, width = whole_numbers(texts, lambda k: f"{path}: the {('height', 'width')[k]}").tolist()
    if min(height, width) < 0:
        raise ValueError(f"{path}: the height or width is below 0; write the true one in pixels")
    return (height, width) if height and width else None


def _objects(
    tree: ElementTree.Element,
    path: Path,
    image: int,
    classes: Sequence[str],
    findings: Findings,
) -> list[_Object]:
    nodes = tree.findall("object")
    if lost := sum(node.tag.lower() == "object" for node in tree.iter()) - len(nodes):
        findings.refuse(
            f"{path}: {lost} objects lie within another element than `annotation`, or are not "
            "written `object`; they would not be found, correct the file"
        )
    found = []
    for number, node in enumerate(nodes, start=1):
        with findings.sparing("objects"):
            found.append(_object(node, f"{path} object {number}", image, classes))
    return found


def _object(node: ElementTree.Element, where: str, image: int, classes: Sequence[str]) -> _Object:
    name = _name(node, where)
    if name not in classes:
        raise ValueError(
            f"{where} is a `{name}`, expected one of {list(classes)}; correct the file or `classes`"
        )
    difficult = _difficult(node, where)
    return _Object(where, image, _box(node, where), classes.index(name), difficult)


def _name(node: ElementTree.Element, where: str) -> str:
    name = (_text(node, "name", where) or "").strip()
    if not name:
        raise ValueError(f"{where} has no name of a class: write its `name`, or delete the object")
    return name


def _difficult(node: ElementTree.Element, where: str) -> bool:
    written = (_text(node, "difficult", where) or "").strip() or 0
    return bool(flags([written], lambda _: f"{where}: `difficult`")[0])


def _box(node: ElementTree.Element, where: str) -> list[float]:
    texts = [_text(node, f"bndbox/{corner}", where) for corner in CORNERS]
    try:
        return numbers(texts, str).tolist()
    except ValueError:
        found = dict(zip(CORNERS, texts, strict=True))
        if not any(texts):
            raise ValueError(f"{where} has no `bndbox` with {', '.join(CORNERS)}") from None
        raise ValueError(f"{where} has the bndbox {found}, expected four numbers") from None


def _text(node: ElementTree.Element, key: str, where: str) -> str | None:
    """The text of an element; None where there is none.

    Raises:
        ValueError: it is there several times with different texts.
    """
    texts = list(dict.fromkeys(found.text or "" for found in node.findall(key)))
    if len(texts) > 1:
        raise ValueError(f"{where} has several `{key}`: {examples(texts)}; delete all but one")
    return texts[0] if texts else None


def _packable(objects: Sequence[_Object], one_based: bool, findings: Findings) -> Objects:
    boxes = np.array([row.box for row in objects], np.float64).reshape(-1, 4)
    check_pixels(boxes, lambda k: objects[k].where, findings)
    boxes[:, :2] -= one_based
    return Objects(
        image=np.array([row.image for row in objects], np.int64),
        boxes=boxes,
        labels=np.array([row.label for row in objects], np.int64),
        crowd=np.zeros(len(objects), bool),
        difficult=np.array([row.difficult for row in objects], bool),
        areas=np.full(len(objects), np.nan),
    )

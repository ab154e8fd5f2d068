"""Reader of Pascal VOC's folders."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from detectors.data.sources.annotations import Findings, Objects, packed
from detectors.data.sources.files import (
    SUFFIXES,
    ImageFiles,
    check_present,
    existing,
    expanded,
    upright_size,
)

CORNERS = ("xmin", "ymin", "xmax", "ymax")


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

    Raises:
        ValueError: files are missing or malformed, or a name is not in `classes`.
    """
    folder = existing(expanded(root), "VOC folder")
    findings = Findings(f"{folder} {split}")
    stems = _stems(folder, split, findings)
    paths = _image_paths(folder / "JPEGImages", stems)
    check_present(paths, findings.origin)
    sizes = []
    objects: list[_Object] = []
    for k, (stem, image) in enumerate(zip(stems, paths, strict=True)):
        xml = folder / "Annotations" / f"{stem}.xml"
        tree = _tree(xml)
        sizes.append(_size(tree) or upright_size(image))
        objects.extend(_objects(tree, xml, k, classes))
    annotations = packed(
        np.arange(len(stems)),
        np.array(sizes, np.int64).reshape(-1, 2),
        _packable(objects, one_based),
        classes,
        range(len(classes)),
        lambda k: objects[k].where,
        findings,
    )
    if use_difficult:
        annotations = annotations._replace(difficult=np.zeros_like(annotations.difficult))
    return ImageFiles(annotations, paths)


def _stems(folder: Path, split: str, findings: Findings) -> list[str]:
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not path.exists():
        known = sorted(file.stem for file in path.parent.glob("*.txt"))
        raise ValueError(f"{path} does not exist; splits there: {', '.join(known) or 'none'}")
    listed = [words[0] for line in path.read_text().splitlines() if (words := line.split())]
    stems = list(dict.fromkeys(listed))
    if len(stems) < len(listed):
        seen: set[str] = set()
        repeats = [stem for stem in listed if stem in seen or seen.add(stem)]  # type: ignore[func-returns-value]
        findings.add("repeated lines dropped", repeats)
    return stems


def _image_paths(folder: Path, stems: Iterable[str]) -> list[Path]:
    names = os.listdir(existing(folder, "folder"))
    files = {Path(name).stem: name for name in names if name.lower().endswith(SUFFIXES)}
    return [folder / files.get(stem, f"{stem}.jpg") for stem in stems]


def _tree(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, but the split names it") from None
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}:{error.position[0]}: not valid xml ({error})") from error


def _size(tree: ElementTree.Element) -> tuple[int, int] | None:
    """(height, width), or None where the file does not say or says 0."""
    height, width = (int(tree.findtext(f"size/{key}") or 0) for key in ("height", "width"))
    return (height, width) if height and width else None


def _objects(
    tree: ElementTree.Element, path: Path, image: int, classes: Sequence[str]
) -> Iterable[_Object]:
    for number, node in enumerate(tree.findall("object"), start=1):
        where = f"{path} object {number}"
        name = (node.findtext("name") or "").strip()
        if name not in classes:
            raise ValueError(
                f"{where} is a `{name}`, expected one of {list(classes)}; correct the file or "
                "`classes`"
            )
        difficult = (node.findtext("difficult") or "0").strip() == "1"
        yield _Object(where, image, _box(node, where), classes.index(name), difficult)


def _box(node: ElementTree.Element, where: str) -> list[float]:
    texts = [node.findtext(f"bndbox/{corner}") for corner in CORNERS]
    try:
        return [float(text or "") for text in texts]
    except ValueError:
        found = dict(zip(CORNERS, texts, strict=True))
        raise ValueError(f"{where} has the bndbox {found}, expected four numbers") from None


def _packable(objects: Sequence[_Object], one_based: bool) -> Objects:
    boxes = np.array([row.box for row in objects], np.float64).reshape(-1, 4)
    boxes[:, :2] -= one_based
    return Objects(
        image=np.array([row.image for row in objects], np.int64),
        boxes=boxes,
        labels=np.array([row.label for row in objects], np.int64),
        crowd=np.zeros(len(objects), bool),
        difficult=np.array([row.difficult for row in objects], bool),
        areas=np.full(len(objects), np.nan),
    )

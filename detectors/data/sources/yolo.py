"""Reader of YOLO text files: a line `class x y width height` per object, in parts of the image."""

import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from detectors.data.sources.annotations import (
    Findings,
    Objects,
    class_names,
    packed,
    unrepeated,
)
from detectors.data.sources.images import ImageFiles, upright_size
from detectors.data.sources.paths import (
    check_one_each,
    existing,
    expanded,
    inside,
    pictures_among,
    present,
    with_slashes,
)
from detectors.data.sources.text import text
from detectors.data.sources.values import numbers, texts, whole_numbers

NOTHING = ("", "~", "null", "Null", "NULL")  # what yaml calls so
CALLED = {"val": ("val", "valid")}  # other words for a split


class _Line(NamedTuple):
    where: str
    image: int
    label: int
    box: tuple[float, float, float, float]  # centre x, centre y, width, height in [0, 1]


def read_yolo(
    root: str | Path,
    split: str,
    classes: Sequence[str] | None = None,
    trust_paths: bool = False,
) -> ImageFiles:
    """The images of a split, with ids 0, 1, ... in order of their path.

    The label file of `.../images/a.jpg` is `.../labels/a.txt`; without a folder `images` on its
    path it lies beside the image. An image without a label file has no objects.

    Args:
        root: a yaml file with `names` and an entry for each split (a folder, a text file that lists
            images, or a list of these; relative to its `path`), or a folder that holds
            images/SPLIT or SPLIT/images.
        split: train, val or test; `valid` is read for val. Nothing: of a folder without splits,
            all pictures in its folder `images`.
        classes: the name of every class number; None: `names` of the yaml file.
        trust_paths: entries and lists may lead out of the folder that `path` names, which is that
            of the yaml file where it names none.

    Raises:
        ValueError: a line is not five numbers, a class is unknown, or files are missing; the
            message names the file and the line.
    """
    place = existing(expanded(root), "YOLO data set")
    findings = Findings(f"{place} {split}")
    description = described(place)
    names = names_of(description, classes, place)
    paths = _image_paths(description, place, split, trust_paths, findings)
    check_one_each(paths, "label file")
    rows, shapes = [], []
    for row in present(paths, findings):
        with findings.sparing("images"):
            shapes.append(upright_size(paths[row]))
            rows.append(row)
    paths, sizes = [paths[row] for row in rows], np.array(shapes, np.int64).reshape(-1, 2)
    lines = _unrepeated(_lines(paths, len(names), findings), findings)
    annotations = packed(
        np.array(rows, np.int64),
        sizes,
        _packable(lines, sizes),
        names,
        range(len(names)),
        lambda k: lines[k].where,
        findings,
    )
    return ImageFiles(annotations, paths)


class _Written(yaml.BaseLoader):
    """Takes every value for text; refuses unknown tags, and keys that are there twice."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in yaml.SafeLoader.yaml_constructors:
            raise yaml.constructor.ConstructorError(
                None, None, f"could not read the tag {node.tag}", node.start_mark
            )
        return super().construct_object(node, deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        seen: set[Any] = set()
        for key, _ in node.value if len(found) < len(node.value) else ():
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"`{key.value}` is there twice; delete one", key.start_mark
                )
            seen.add(key.value)
        return found


def described(place: Path) -> dict[str, Any]:
    """What the yaml file says, each value as it is written: `no` and `0` are texts here.

    Nothing for a folder, and no key for what is null.
    """
    if place.is_dir():
        return {}
    written = text(place)
    try:
        found = yaml.load(written, _Written)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(f"{place}{line}: not valid yaml ({problem})") from error
    except RecursionError as error:  # lists without end
        raise ValueError(f"{place}: not valid yaml ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{place} is no yaml file with `names`, `train` and `val`")
    return {key: value for key, value in found.items() if value not in NOTHING}


def names_of(
    description: dict[str, Any], classes: Sequence[str] | None, place: Path
) -> tuple[str, ...]:
    """The names of the classes, of the yaml file or else those expected.

    Raises:
        ValueError: there are none, or the file has others.
    """
    found = description.get("names")
    if isinstance(found, dict):
        found = _in_order(found, place)
    if found is None and classes is None:
        raise ValueError(f"{place} does not name the classes; set `classes` to their names")
    names = None if found is None else class_names(found, f"{place}: `names`")
    expected = None if classes is None else class_names(classes, "classes")
    if names and expected and names != expected:
        raise ValueError(
            f"{place} has the classes {list(names)}, expected {list(expected)}; correct `classes`, "
            "or set it to null to take those of the file"
        )
    used = names or expected or ()
    if "nc" in description:
        (count,) = whole_numbers([description["nc"]], lambda _: f"{place}: `nc`").tolist()
        if count != len(used):
            told = "`names`" if names else "`classes`"
            raise ValueError(f"{place}: `nc` is {count}, but {told} are {len(used)}; correct it")
    return used


def _in_order(names: dict[str, Any], place: Path) -> list[Any]:
    """Names that the yaml file numbers."""
    given = whole_numbers(list(names), lambda k: f"{place}: class number {k} of `names`").tolist()
    if sorted(given) != list(range(len(names))):
        raise ValueError(
            f"{place}: `names` must number the classes 0, 1, ..., found {reprlib.repr(names)}"
        )
    by_number = dict(zip(given, names.values(), strict=True))
    return [by_number[number] for number in range(len(names))]


def _image_paths(
    description: dict[str, Any], place: Path, split: str, trusted: bool, findings: Findings
) -> list[Path]:
    root, places = _split_places(description, place, split, trusted)
    paths: list[Path] = []
    for found in places:
        if found.is_file():
            lines = [line.strip() for line in text(found).splitlines() if line.strip()]
            lines = with_slashes(lines, root, found.parent)
            paths += inside(root, lines, str(found), trusted, found.parent)
        else:
            below = _pictures_below(found, findings)
            findings.add("label files without a picture", _orphans(found, below))
            paths += below
    return unrepeated(paths, "images", "repeated images", findings)


def _split_places(
    description: dict[str, Any], place: Path, split: str, trusted: bool
) -> tuple[Path, list[Path]]:
    """The root of the data, and the folders and lists of the split."""
    if place.is_dir():
        return place, [_split_folder(place, split)]
    words = [word for word in CALLED.get(split, (split,)) if word in description]
    if not words:
        raise ValueError(f"{place} has no `{split}`; it has {', '.join(map(str, description))}")
    written = description[words[0]]
    entries = texts(
        written if isinstance(written, list) else [written], lambda _: f"{place}: `{words[0]}`"
    )
    (path,) = texts([description.get("path", ".")], lambda _: f"{place}: `path`")
    root = place.parent / expanded(path)
    if not root.exists():
        raise ValueError(
            f"`path` of {place} is {root}, which does not exist: correct it, or delete it if the "
            "splits lie beside this file"
        )
    names = [_as_written(root, str(expanded(entry))) for entry in entries]
    found = inside(root, names, f"`{words[0]}` of {place}", trusted)
    return root, [existing(path, f"`{words[0]}` of {place}:") for path in found]


def _as_written(root: Path, entry: str) -> str:
    """The entry, but `train/images` for `../train/images` where only that is there: Roboflow's."""
    within = entry
    while within.startswith("../"):
        within = within.removeprefix("../")
    return within if not (root / entry).exists() and (root / within).exists() else entry


def _split_folder(place: Path, split: str) -> Path:
    words = CALLED.get(split, (split,))
    choices = [
        path for word in words for path in (place / "images" / word, place / word / "images")
    ]
    for choice in choices:
        if choice.is_dir():
            return choice
    raise ValueError(f"neither {choices[0]} nor {choices[1]} exists; correct `root` or `split`")


def _pictures_below(folder: Path, findings: Findings) -> list[Path]:
    """The pictures in a folder and the folders in it, linked ones too, each folder once."""
    files: list[Path] = []
    met: set[str] = set()
    again, hidden = [], []
    for here, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(here)) in met:
            again.append(here)
            folders.clear()
            continue
        met.add(real)
        hidden += [Path(here, name) for name in folders if name.startswith(".")]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(here, name) for name in names]
    findings.add("hidden folders left out", hidden)
    findings.add("folders met once more through a link left out", again)
    return pictures_among((file for file in files if file.suffix != ".txt"), findings)


def _orphans(folder: Path, pictures: Sequence[Path]) -> list[Path]:
    """Label files of a folder of pictures that none of them has."""
    known = {_label_path(path) for path in pictures}
    labels = _label_path(folder / "any").parent.rglob("*.[tT][xX][tT]")
    return sorted(path for path in labels if path not in known and path.name != "classes.txt")


def _label_path(image: Path) -> Path:
    parts = list(image.parts)
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")


def _lines(paths: Sequence[Path], num_classes: int, findings: Findings) -> list[_Line]:
    unlabelled, found = [], []
    for image, path in enumerate(paths):
        label_path = _label_path(path)
        if not os.path.lexists(label_path):  # a broken link is no label file that is not there
            unlabelled.append(path)
            continue
        with findings.sparing("label files"):
            for number, line in enumerate(text(label_path).splitlines(), start=1):
                if words := line.split():
                    with findings.sparing("objects"):
                        found.append(_line(words, f"{label_path}:{number}", image, num_classes))
    findings.add("images without a label file, taken as images without objects", unlabelled)
    return found


def _line(words: list[str], where: str, image: int, num_classes: int) -> _Line:
    if len(words) != 5:
        raise ValueError(
            f"{where}: {len(words)} columns, expected 5 (class, centre x, centre y, width, "
            "height); polygons and confidences are not read, convert them to boxes first"
        )
    try:
        label = int(whole_numbers(words[:1], str)[0])
        x, y, width, height = numbers(words[1:], str).tolist()
    except ValueError:
        raise ValueError(
            f"{where}: `{' '.join(words)}` is not a class number and four numbers"
        ) from None
    if not 0 <= label < num_classes:
        raise ValueError(
            f"{where}: class {label}, but there are {num_classes} classes, numbered from 0; "
            "correct the line or `classes`"
        )
    if max(abs(x), abs(y), abs(width), abs(height)) > 2:
        raise ValueError(
            f"{where}: `{' '.join(words)}` reaches far out of the image; the four numbers are "
            "parts of its width and height, not pixels"
        )
    return _Line(where, image, label, (x, y, width, height))


def _unrepeated(lines: Sequence[_Line], findings: Findings) -> list[_Line]:
    first: dict[tuple[object, ...], _Line] = {}
    for line in lines:
        first.setdefault(line[1:], line)
    repeats = [line.where for line in lines if first[line[1:]] is not line]
    findings.drop("objects", "repeated lines", repeats)
    return list(first.values())


def _packable(lines: Sequence[_Line], sizes: np.ndarray) -> Objects:
    image = np.array([line.image for line in lines], np.int64)
    parts = np.array([line.box for line in lines], np.float64).reshape(-1, 2, 2)
    parts *= sizes[image][:, None, ::-1]  # width, height
    centre, size = parts[:, 0], parts[:, 1]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    return Objects.ordinary(image, boxes, np.array([line.label for line in lines], np.int64))

"""Recognises how the files of a data set lie in their folder, as labelling programs leave them."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import yaml

from detectors.data.sources import labelme, voc
from detectors.data.sources.annotations import Findings, examples
from detectors.data.sources.coco import read_coco
from detectors.data.sources.images import ImageFiles
from detectors.data.sources.paths import pictures_among
from detectors.data.sources.text import text
from detectors.data.sources.voc import read_voc
from detectors.data.sources.yolo import read_yolo

ALL = ""  # the split of a folder that has none
SPLITS = {  # what folders and files call them
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
ROBOFLOW = "_annotations.coco.json"
OFFICIAL = re.compile(r"VOC20\d\d")  # folders of the devkit, whose pixels are numbered from 1
NAMES = ("classes.txt", "obj.names", "labels/classes.txt")  # of classes, beside YOLO's numbers
FIRST = 20  # files by which a kind of labels is known
Read = Callable[[Sequence[str] | None, bool], ImageFiles]  # of (classes, trust_paths)


class FolderLayout(NamedTuple):
    """One way in which files may lie."""

    name: str
    splits: Mapping[str, Read]  # by "train", "val", "test", or ALL alone
    names: Callable[[], Sequence[str] | None]  # of the classes, of all splits; None: in each file


def recognised(folder: Path) -> FolderLayout:
    """The layout of a folder, or of the yaml file of YOLO's that it is.

    Raises:
        ValueError: there is none or there are several; lists what was looked for.
    """
    found = {kind: layout for kind, find in KINDS.items() if (layout := find(folder)) is not None}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise ValueError(
            f"{folder} holds several kinds of labels: {'; '.join(found)}. Name the one that you "
            "mean by data=coco, data=voc or data=yolo, or move the others elsewhere"
        )
    looked = "; ".join(KINDS)
    raise ValueError(f"{folder} holds no labels of a kind that is known. Looked for: {looked}")


def split_called(word: str) -> str | None:
    """The split that a folder or file is named after: "val" for "valid" or "val2017"."""
    plain = re.sub(r"[\d_-]+$", "", word.lower())
    return next((split for split, words in SPLITS.items() if plain in words), None)


def _coco(folder: Path) -> FolderLayout | None:
    """Files of annotations in a folder of their own, or one in each folder of pictures."""
    if not folder.is_dir():
        return None
    files: dict[str, Path] = {}
    remedy = "name the file by data=coco data.train.json_file=FILE"
    for file in sorted(folder.glob("annotations/instances_*.json")):
        _put(files, split_called(_word(file)) or ALL, file, remedy)
    for file in sorted([*folder.glob(ROBOFLOW), *folder.glob(f"*/{ROBOFLOW}")]):
        split = split_called(file.parent.name) if file.parent != folder else ALL
        _put(files, split or ALL, file, remedy)
    read = {split: partial(_read_coco, file, folder) for split, file in files.items()}
    return FolderLayout("COCO json", read, lambda: None) if read else None


def _word(file: Path) -> str:
    return file.stem.removeprefix("instances_")


def _read_coco(
    file: Path, folder: Path, classes: Sequence[str] | None, trust_paths: bool
) -> ImageFiles:
    beside = file.name == ROBOFLOW
    pictures = file.parent if beside else _pictures_of(folder, _word(file))
    return read_coco(file, pictures, classes, trust_paths)


def _pictures_of(folder: Path, word: str) -> Path:
    """The folder of the pictures of `instances_WORD.json`."""
    inner = (folder / "images" / word, folder / word / "images", folder / word)
    places = (*inner, folder / "images", folder / "data")
    return next((place for place in places if place.is_dir()), folder)


def _yolo(folder: Path) -> FolderLayout | None:
    """A yaml file that names classes and splits, or folders `images` and `labels`."""
    files = [folder] if folder.is_file() else [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    described = {file: keys for file in sorted(files) if "names" in (keys := _keys(file))}
    if len(described) > 1:
        raise ValueError(
            f"{folder} has several files that name classes: {examples([*described])}; name one, "
            f"data.root={next(iter(described))}"
        )
    for file, keys in described.items():
        named = {split: file for split, words in SPLITS.items() if keys & {*words}}
        return FolderLayout("YOLO txt", _of_yolo(named), lambda: None)
    if folder.is_file():
        return None
    splits = {s: folder for s, words in SPLITS.items() if any(_labelled(folder, w) for w in words)}
    if not splits and (folder / "images").is_dir() and (folder / "labels").is_dir():
        splits = {ALL: folder}
    names = partial(_yolo_names, folder)
    return FolderLayout("YOLO txt", _of_yolo(splits), names) if splits else None


def _labelled(folder: Path, word: str) -> bool:
    """Whether the folder has pictures and labels of a split, in either order of the two words."""
    pairs = [(folder / kind / word, folder / word / kind) for kind in ("images", "labels")]
    return any(all(place.is_dir() for place in places) for places in zip(*pairs, strict=True))


def _keys(file: Path) -> set[str]:
    """The keys of a yaml file; none of what is no such file."""
    try:
        found = yaml.load(text(file), yaml.BaseLoader)
    except (ValueError, OSError, RecursionError, yaml.YAMLError):
        return set()
    return {str(key) for key in found} if isinstance(found, dict) else set()


def _of_yolo(splits: Mapping[str, Path]) -> dict[str, Read]:
    def reader(split: str, root: Path) -> Read:
        return lambda classes, trusted: read_yolo(root, split, classes, trusted)

    return {split: reader(split, root) for split, root in splits.items()}


def _yolo_names(folder: Path) -> list[str]:
    """Of a file of names, or the numbers themselves up to the largest."""
    for file in (folder / name for name in NAMES):
        if file.is_file():
            return [line.strip() for line in text(file).splitlines() if line.strip()]
    files = (file for file in _files(folder, ".txt") if "labels" in file.parts)
    words = (line.split() for file in files for line in text(file).splitlines())
    numbers = [int(word[0]) for word in words if word and word[0].isdecimal()]
    return [str(number) for number in range(max(numbers, default=-1) + 1)]


def _voc(folder: Path) -> FolderLayout | None:
    """The folders of the devkit with its lists of pictures."""
    if not folder.is_dir():
        return None
    places = [folder, *sorted(folder.glob("VOC*")), *sorted(folder.glob("VOCdevkit/VOC*"))]
    roots = [place for place in places if (place / "ImageSets" / "Main").is_dir()]
    if len(roots) > 1:
        raise ValueError(
            f"{folder} holds several data sets of VOC's: {examples(roots)}; name one of them, "
            f"data.root={roots[0]}"
        )
    for root in roots:
        lists = {file.stem for file in (root / "ImageSets" / "Main").glob("*.txt")}
        named = {split: [w for w in words if w in lists] for split, words in SPLITS.items()}
        one_based = OFFICIAL.fullmatch(root.name) is not None
        read = {s: _of_voc(root, words[0], one_based) for s, words in named.items() if words}
        names = partial(voc.names_in, sorted((root / "Annotations").glob("*.xml")))
        return FolderLayout("Pascal VOC xml", read, names) if read else None
    return None


def _of_voc(root: Path, split: str, one_based: bool) -> Read:
    return lambda classes, trusted: read_voc(
        root, split, classes or [], one_based, trust_paths=trusted
    )


def _xml(folder: Path) -> FolderLayout | None:
    """Pictures with VOC's xml files beside them or in another folder, without lists."""
    if not _any_written(folder, ".xml", voc.written_as_voc) or _voc(folder) is not None:
        return None
    return _labels_of_pictures(folder, ".xml", "Pascal VOC xml", voc.names_in, _read_xml)


def _labelme(folder: Path) -> FolderLayout | None:
    """Pictures with LabelMe's json files."""
    if not _any_written(folder, ".json", labelme.written_by_labelme):
        return None
    return _labels_of_pictures(folder, ".json", "LabelMe json", labelme.names_in, labelme.annotated)


def _any_written(folder: Path, suffix: str, rightly: Callable[[Path], bool]) -> bool:
    """Whether a folder has such files, of which the first few may be broken."""
    return folder.is_dir() and any(map(rightly, _files(folder, suffix)[:FIRST]))


def _read_xml(
    xmls: Sequence[Path], paths: Sequence[Path], names: Sequence[str], findings: Findings
) -> ImageFiles:
    return voc.annotated(xmls, paths, names, False, findings)


def _labels_of_pictures(
    folder: Path,
    suffix: str,
    name: str,
    names_in: Callable[[Iterable[Path]], list[str]],
    read: Callable[[Sequence[Path], Sequence[Path], Sequence[str], Findings], ImageFiles],
) -> FolderLayout | None:
    """A layout in which each picture has a label file of its own name."""
    places: dict[str, Path] = {}
    for place in _folders(folder):
        if (split := split_called(place.name)) and _files(place, suffix):
            _put(places, split, place, "give them one folder")
    if not places and _files(folder, suffix):
        places = {ALL: folder}

    def reader(place: Path) -> Read:
        def paired(classes: Sequence[str] | None, _: bool) -> ImageFiles:
            findings = Findings(str(place))
            labels, paths = _paired(place, suffix, findings)
            return read(labels, paths, classes or names_in(labels), findings)

        return paired

    def names() -> list[str]:
        return names_in(file for place in places.values() for file in _files(place, suffix))

    splits = {split: reader(place) for split, place in places.items()}
    return FolderLayout(name, splits, names) if splits else None


def _folders(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_dir())


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in _below(folder) if path.suffix.lower() == suffix)


def _below(folder: Path) -> Iterator[Path]:
    """The files in a folder and the folders in it, linked ones too, each once; no hidden ones."""
    met: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        shown = () if real in met else [name for name in folders if not name.startswith(".")]
        folders[:] = shown
        if real not in met:
            yield from (Path(here, name) for name in names if not name.startswith("."))
        met.add(real)


def _paired(folder: Path, suffix: str, findings: Findings) -> tuple[list[Path], list[Path]]:
    """Label files and the pictures of their names, in order of the pictures.

    Raises:
        ValueError: two pictures, or two label files, have one name.
    """
    every = (path for path in _below(folder) if path.suffix.lower() != suffix)
    pictures = _by_stem(pictures_among(every, findings), "pictures")
    labels = _by_stem(_files(folder, suffix), "label files")
    lost = [labels[stem] for stem in labels if stem not in pictures]
    findings.drop("label files", "label files without a picture", lost)
    unlabelled = [pictures[stem] for stem in pictures if stem not in labels]
    findings.drop("images", "pictures without a label file", unlabelled)
    both = [stem for stem in pictures if stem in labels]
    return [labels[stem] for stem in both], [pictures[stem] for stem in both]


def _by_stem(paths: Iterable[Path], kind: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(path.stem, path)
        if other is not path:
            raise ValueError(
                f"{other} and {path}: two {kind} of one name, of which one label file may be the "
                "other's; rename one, or give each split a folder train, val or test"
            )
    return found


def _put(places: dict[str, Path], split: str, place: Path, remedy: str) -> None:
    other = places.setdefault(split, place)
    if other is not place:
        named = f"the split {split}" if split else "no split"
        raise ValueError(f"{other} and {place} are both of {named}; {remedy}")


KINDS: Mapping[str, Callable[[Path], FolderLayout | None]] = {
    f"COCO json (annotations/instances_*.json, or {ROBOFLOW} in folders of pictures)": _coco,
    "YOLO txt (a yaml file with names and train; or folders images and labels)": _yolo,
    "VOC xml with lists (ImageSets/Main, Annotations, JPEGImages, also in VOCdevkit)": _voc,
    "VOC xml beside pictures, or in a folder of their own": _xml,
    "LabelMe json beside pictures, or in a folder of their own": _labelme,
}

"""Recognises how the files of a data set lie in their folder, as labelling programs leave them."""

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from detectors.data.sources import labelme, voc, yolo
from detectors.data.sources.annotations import Findings, examples
from detectors.data.sources.coco import first_file, headed, looks_like_coco, read_coco
from detectors.data.sources.images import ImageFiles
from detectors.data.sources.paths import check_one_each, pictures_among
from detectors.data.sources.text import text
from detectors.data.sources.voc import read_voc
from detectors.data.sources.yolo import read_yolo

ALL = ""  # the split of a folder that has none
SPLITS = {  # what folders and files call them
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
ROBOFLOW = "_annotations.coco.json"
# Where there is none of those: what is usual, Label Studio's, FiftyOne's.
ALONE = ("annotations.json", "result.json", "labels.json")
OFFICIAL = re.compile(r"VOC20\d\d")  # folders of the devkit, whose pixels are numbered from 1
NAMES = (
    "classes.txt",
    "obj.names",
    "labels/classes.txt",
    "labels/*/classes.txt",
)  # of YOLO's numbers
FIRST = 20  # files by which a kind of labels is known
REMEDY = (
    "If yours lie otherwise, name COCO's json or YOLO's yaml file itself (data=auto "
    "data.root=FILE, or data.train.root=FILE data.val.root=FILE for each split), or move them so"
)
Read = Callable[[Sequence[str] | None, bool], ImageFiles]  # of (classes, trust_paths)


class FolderLayout(NamedTuple):
    """One way in which files may lie."""

    name: str
    splits: Mapping[str, Read]  # by "train", "val", "test", or ALL alone
    names: Callable[[], Sequence[str] | None]  # of the classes, of all splits; None: in each file
    numbered: bool = False  # labels are places in the names, not the names themselves


def recognised(folder: Path) -> FolderLayout:
    """The layout of a folder, or of the json of COCO's or the yaml file of YOLO's that it is.

    Raises:
        ValueError: there is none or there are several, which lists what was looked for; or some of
            its pictures are of a split and others are not.
    """
    found = {kind: layout for kind, find in KINDS.items() if (layout := find(folder)) is not None}
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds several kinds of labels: {'; '.join(found)}. Move those that you do "
            "not mean elsewhere, or name COCO's json or YOLO's yaml file itself: data.root=FILE"
        )
    if not found:
        raise ValueError(
            f"{folder} holds no labels of a kind that is known. {_hint(folder)}Looked for: "
            f"{'; '.join(KINDS)}. {REMEDY}"
        )
    (layout,) = found.values()
    if ALL in layout.splits and len(layout.splits) > 1:
        others = ", ".join(filter(None, layout.splits))
        raise ValueError(
            f"{folder}: some labels are of the splits {others}, others of none; move these "
            f"elsewhere or into a split. {REMEDY}"
        )
    return layout


def _hint(folder: Path) -> str:
    """What may have been meant: a folder in this one, or labels that are broken."""
    if not folder.is_dir():
        return ""
    for inner in itertools.islice(_folders(folder), FIRST):
        with suppress(ValueError, OSError):
            kinds = [kind for kind, find in KINDS.items() if find(inner) is not None]
            if len(kinds) == 1:
                return f"In it lies {inner}, which looks like {kinds[0]}: name that. "
    for file in _files(folder, ".json")[:FIRST]:
        if looks_like_coco(file):
            return f"If {file} is COCO's, name it: data.root={file}. "
    for suffix, read in ((".xml", voc.check_written), (".json", labelme.check_written)):
        for file in _files(folder, suffix)[:1]:
            try:
                read(file)
            except (ValueError, OSError) as error:
                return f"Its labels may be broken: {error}. "
    return ""


def split_called(word: str) -> str | None:
    """The split that a folder or file is named after: "val" for "valid" or "Val2017"."""
    plain = re.sub(r"[\d_-]+$", "", word.lower())
    return next((split for split, words in SPLITS.items() if plain in words), None)


def _split_of(path: Path, folder: Path) -> str:
    """The split that the folders on the way to a file are named after.

    Raises:
        ValueError: they name two.
    """
    parts = path.relative_to(folder).parent.parts
    named = {split for part in parts if (split := split_called(part))}
    if len(named) > 1:
        raise ValueError(f"{path} lies in folders of two splits, {' and '.join(sorted(named))}")
    return next(iter(named), ALL)


def _coco(folder: Path) -> FolderLayout | None:
    """Files of annotations in a folder of their own, or one in each folder of pictures."""
    files: dict[str, Path] = {}
    remedy = "name the one that you mean, data.root=FILE"
    if folder.is_file() and folder.suffix.lower() == ".json":
        files[ALL] = folder
    for file in sorted(folder.glob("annotations/instances_*.json")):
        _put(files, split_called(_word(file)) or ALL, file, remedy)
    for file in _everywhere(folder, ROBOFLOW):
        _put(files, _split_of(file, folder), file, remedy)
    for file in [file for name in ALONE for file in _everywhere(folder, name)] if not files else ():
        if looks_like_coco(file):
            _put(files, _split_of(file, folder), file, remedy)
    every = tuple(files.values())
    read = {split: partial(_read_coco, file, folder, every) for split, file in files.items()}
    return FolderLayout("COCO json", read, lambda: None) if read else None


def _everywhere(folder: Path, name: str) -> list[Path]:
    """The files of this name in a folder and in those in it."""
    there = [*folder.glob(name), *folder.glob(f"*/{name}")] if folder.is_dir() else []
    return sorted(there)


def _word(file: Path) -> str:
    return file.stem.removeprefix("instances_")


def _read_coco(
    file: Path,
    folder: Path,
    every: Sequence[Path],
    classes: Sequence[str] | None,
    trust_paths: bool,
) -> ImageFiles:
    if file.name == ROBOFLOW:
        return read_coco(file, file.parent, classes, trust_paths, head=headed(every))
    return read_coco(file, _pictures_of(file, folder), classes, trust_paths)


def _pictures_of(file: Path, folder: Path) -> Path:
    """The folder of the pictures of `instances_WORD.json`, or of another file."""
    word = _word(file)
    if folder.is_file() or file.parent != folder / "annotations":
        folder = file.parent.parent if file.parent.name == "annotations" else file.parent
    called = (folder / "images" / word, folder / word / "images", folder / word)
    places = (*called, folder / "images", folder / "data", folder)
    there = [place for place in places if place.is_dir()]
    first = first_file(file)
    return next((place for place in there if first and (place / first).is_file()), there[0])


def _yolo(folder: Path) -> FolderLayout | None:
    """A yaml file that names classes and splits, or folders `images` and `labels`."""
    if folder.is_file():
        files = [folder] if folder.suffix.lower() in (".yaml", ".yml") else []
    else:
        files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    described = {file: found for file in files if "names" in (found := yolo.described(file))}
    if len(described) > 1:
        raise ValueError(
            f"{folder} has several files that name classes: {examples([*described])}; name one, "
            f"data.root={next(iter(described))}"
        )
    names: Sequence[str] | None = None
    for file, found in described.items():
        named = {split: words for split, words in _CALLED.items() if words & found.keys()}
        if named:
            read = {s: _of_yolo(file, min(w & found.keys()), None) for s, w in named.items()}
            return FolderLayout("YOLO txt", read, lambda: None)
        names = yolo.names_of(found, None, file)
    if folder.is_file():
        return None
    places = _yolo_places(folder)
    names = names or (_yolo_names(folder) if places else None)
    read = {split: _of_yolo(folder, place, names) for split, place in places.items()}
    numbers = partial(_numbers, folder) if names is None else partial(list, names)
    return FolderLayout("YOLO txt", read, numbers, numbered=True) if places else None


_CALLED = {"train": {"train"}, "val": {"val", "valid"}, "test": {"test"}}  # keys of yaml files


def _yolo_places(folder: Path) -> dict[str, str]:
    """What `images` and `labels` call each split, as "train2017"; ALL where they have none."""
    places: dict[str, Path] = {}
    pairs = [(folder / "images", folder / "labels")]
    inner = [path for path in _folders(folder) if split_called(path.name)]
    for path in [*(_folders(pairs[0][0]) if pairs[0][0].is_dir() else ()), *inner]:
        split = split_called(path.name)
        both = path.parent.name == "images"
        labels = folder / "labels" / path.name if both else path / "labels"
        if split and (both or (path / "images").is_dir()) and _files(labels, ".txt"):
            _put(places, split, path, "give them one folder")
    if not places and pairs[0][0].is_dir() and _files(pairs[0][1], ".txt"):
        split_off = [path for path in _below(folder) if _split_of(path, folder) != ALL]
        if split_off:
            raise ValueError(
                f"{folder}: pictures or labels lie in folders of splits, such as {split_off[0]}, "
                "but not both as images/SPLIT and labels/SPLIT; move them so"
            )
        return {ALL: ""}
    return {split: path.name for split, path in places.items()}


def _of_yolo(root: Path, split: str, names: Sequence[str] | None) -> Read:
    """A reader, which refuses other classes than the data name by themselves."""

    def read(classes: Sequence[str] | None, trusted: bool) -> ImageFiles:
        if names and classes and list(names) != list(classes):
            raise ValueError(
                f"{root} has the classes {list(names)}, expected {list(classes)}; its labels are "
                "numbers, so the names must be the same in the same order: correct its names, or "
                "`classes`"
            )
        return read_yolo(root, split, classes or names, trusted)

    return read


def _yolo_names(folder: Path) -> list[str] | None:
    """Of a file of names; None where there is none.

    Raises:
        ValueError: two files differ.
    """
    files = [file for pattern in NAMES for file in sorted(folder.glob(pattern))]
    found = {
        file: [line.strip() for line in text(file).splitlines() if line.strip()] for file in files
    }
    for file, names in found.items():
        if names != found[files[0]]:
            raise ValueError(f"{files[0]} and {file} name other classes; make them the same")
    return found[files[0]] if files else None


def _numbers(folder: Path) -> list[str]:
    """The numbers of the classes themselves, up to the largest."""
    files = (file for file in _files(folder, ".txt") if "labels" in file.parts)
    words = (line.split() for file in files for line in text(file).splitlines())
    numbers = [int(word[0]) for word in words if word and word[0].isdecimal()]
    names = [str(number) for number in range(max(numbers, default=-1) + 1)]
    findings = Findings(str(folder))
    findings.add("classes without names; write these into classes.txt, one a line", names)
    findings.log()
    return names


def _voc(folder: Path) -> FolderLayout | None:
    """The folders of the devkit with its lists of pictures."""
    roots = _devkits(folder)
    for root in roots:
        if not (root / "Annotations").is_dir():
            raise ValueError(f"{root} has lists of pictures, but no folder Annotations with xml")
    if len(roots) > 1:
        raise ValueError(
            f"{folder} holds several data sets of VOC's: {examples(roots)}; name one of them, "
            f"data.root={roots[0]}"
        )
    for root in roots:
        one_based = OFFICIAL.fullmatch(root.resolve().name) is not None
        read = {s: _of_voc(root, word, one_based) for s, word in _lists(root).items()}
        names = partial(voc.names_in, sorted((root / "Annotations").glob("*.xml")))
        told = "pixels numbered from 1" if one_based else "coordinates are edges"
        return FolderLayout(f"Pascal VOC xml ({told})", read, names)
    return None


def _devkits(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    places = [folder, *sorted(folder.glob("VOC*")), *sorted(folder.glob("VOCdevkit/VOC*"))]
    return [place for place in places if (place / "ImageSets" / "Main").is_dir()]


def _lists(root: Path) -> dict[str, str]:
    """The list of pictures of each split; of ALL where there is one of another name.

    Raises:
        ValueError: there is none, or none of training beside one of validation.
    """
    folder = root / "ImageSets" / "Main"
    words = sorted(file.stem for file in folder.glob("*.txt"))
    found = {split: word for word in words if (split := split_called(word))}
    both = [word for word in words if word.lower() == "trainval"]
    if "train" not in found and both:
        if "val" in found:
            raise ValueError(
                f"{folder} has the lists {', '.join(words)}: {both[0]} holds the pictures of "
                f"{found['val']} too, so nothing is left to train on; add a list train.txt"
            )
        found["train"] = both[0]
    if not found and len(words) == 1:
        return {ALL: words[0]}
    if not found:
        raise ValueError(f"{folder} has no list train.txt; it has {', '.join(words) or 'none'}")
    return found


def _of_voc(root: Path, split: str, one_based: bool) -> Read:
    return lambda classes, trusted: read_voc(
        root, split, classes or [], one_based, trust_paths=trusted
    )


def _xml(folder: Path) -> FolderLayout | None:
    """Pictures with VOC's xml files beside them or in another folder, without lists."""
    if _devkits(folder) or not _any_written(folder, ".xml", voc.check_written):
        return None
    name = "Pascal VOC xml (coordinates are edges)"
    return _labels_of_pictures(folder, ".xml", name, voc.names_in, _read_xml)


def _labelme(folder: Path) -> FolderLayout | None:
    """Pictures with LabelMe's json files."""
    if not _any_written(folder, ".json", labelme.check_written):
        return None
    return _labels_of_pictures(folder, ".json", "LabelMe json", labelme.names_in, labelme.annotated)


def _any_written(folder: Path, suffix: str, check: Callable[[Path], None]) -> bool:
    """Whether a folder has such files, of which the first few may be broken."""
    for file in _files(folder, suffix)[:FIRST] if folder.is_dir() else ():
        with suppress(ValueError, OSError):
            check(file)
            return True
    return False


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
) -> FolderLayout:
    """A layout in which each picture has a label file of its own name."""
    files = _files(folder, suffix)
    splits = dict.fromkeys(_split_of(file, folder) for file in files)

    def reader(split: str) -> Read:
        def paired(classes: Sequence[str] | None, _: bool) -> ImageFiles:
            findings = Findings(f"{folder} {split}".strip())
            labels, paths = _paired(folder, suffix, split, findings)
            return read(labels, paths, classes or names_in(labels), findings)

        return paired

    return FolderLayout(name, {s: reader(s) for s in splits}, partial(names_in, files))


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


def _paired(
    folder: Path, suffix: str, split: str, findings: Findings
) -> tuple[list[Path], list[Path]]:
    """Label files of a split and the pictures of their names, in order of the pictures.

    A label belongs to the picture beside it; from a folder without pictures to that of its name in
    any folder of its split.

    Raises:
        ValueError: a label may belong to two pictures, or a picture to two labels.
    """
    every = (path for path in _below(folder) if path.suffix.lower() != suffix)
    inside = (path for path in every if _split_of(path, folder) == split)
    pictures = pictures_among(inside, findings)
    labels = [file for file in _files(folder, suffix) if _split_of(file, folder) == split]
    check_one_each(pictures, "label file")
    with_pictures = {path.parent for path in pictures}
    named = {file.with_suffix(""): file for file in labels}
    strays = [file for file in labels if file.parent not in with_pictures]
    of_stray = _by_stem(strays, "label files")
    if strays:
        _by_stem(pictures, "pictures")
    found = {path: named.get(path.with_suffix("")) or of_stray.get(path.stem) for path in pictures}
    pairs = [(label, path) for path, label in found.items() if label is not None]
    lost = sorted({*labels} - {label for label, _ in pairs})
    unlabelled = [path for path, label in found.items() if label is None]
    findings.drop("label files", "label files without a picture", lost)
    findings.drop("images", "pictures without a label file", unlabelled)
    return [label for label, _ in pairs], [path for _, path in pairs]


def _by_stem(paths: Iterable[Path], kind: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(path.stem, path)
        if other is not path:
            raise ValueError(
                f"{other} and {path}: two {kind} of one name, so that a label may be of either; "
                "lay each label beside its picture, rename one, or give each split a folder train, "
                "val or test"
            )
    return found


def _put(places: dict[str, Path], split: str, place: Path, remedy: str) -> None:
    other = places.setdefault(split, place)
    if other is not place:
        named = f"the split {split}" if split else "no split"
        raise ValueError(f"{other} and {place} are both of {named}; {remedy}")


KINDS: Mapping[str, Callable[[Path], FolderLayout | None]] = {
    f"COCO json (annotations/instances_*.json, {ROBOFLOW} in folders of pictures, or one of "
    f"{', '.join(ALONE)})": _coco,
    "YOLO txt (a yaml file with names and train; or folders images and labels with .txt)": _yolo,
    "VOC xml with lists (ImageSets/Main, Annotations, JPEGImages, also in VOCdevkit)": _voc,
    "VOC xml beside pictures, or in a folder of their own": _xml,
    "LabelMe json beside pictures, or in a folder of their own": _labelme,
}

"""Reads pictures that have no annotations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detectors.data.sources.annotations import Findings, unrepeated
from detectors.data.sources.images import ImageFiles, upright_size
from detectors.data.sources.paths import expanded, pictures_among
from detectors.files import PICTURES
from detectors.structures import Annotations


def read_pictures(source: Any) -> ImageFiles:
    """Pictures without annotations.

    Args:
        source: a file, a folder, a glob such as `photos/*.jpg`, or a list of these. Signs such as
            `[` mean themselves where a file or folder of that name is there.

    Raises:
        ValueError: nothing is found there, or a picture has no readable header.
    """
    several = isinstance(source, Sequence) and not isinstance(source, str)
    places = list(source) if several else [source]
    if not places or not all(
        type(place) is int or isinstance(place, (str, Path)) for place in places
    ):
        raise ValueError(f"source={source}: expected a file, a folder, a glob or a list of these")
    findings = Findings(str(source))
    paths: list[Path] = []
    for place in places:
        found = pictures_among(_matches(expanded(str(place))), findings)
        if not found:
            raise ValueError(
                f"{place}: no picture there; known suffixes: {', '.join(PICTURES)}{findings.told()}"
            )
        paths += found
    paths = unrepeated(paths, "images", "files named twice", findings)
    findings.log(images=len(paths))
    sizes = np.array([upright_size(path) for path in paths], np.int64)
    return ImageFiles(unannotated(sizes), paths)


def _matches(path: Path) -> list[Path]:
    """The path itself, the files of a folder, or what a pattern below a folder stands for."""
    base, rest = Path(path.anchor), list(path.parts[bool(path.anchor) :])
    while rest and (base / rest[0]).exists():
        base /= rest.pop(0)
    if rest:
        try:
            return list(base.glob(str(Path(*rest))))
        except ValueError as error:  # `**` beside other signs
            raise ValueError(f"{path}: {error}") from error
    return list(base.iterdir()) if base.is_dir() else [base]


def unannotated(sizes: np.ndarray) -> Annotations:
    """Annotations without an object for pictures of these sizes, [I, 2] height and width."""
    count = len(sizes)
    return Annotations(
        image_ids=np.arange(count),
        sizes=sizes,
        offsets=np.zeros(count + 1, np.int64),
        boxes=np.zeros((0, 4)),
        labels=np.zeros(0, np.int64),
        crowd=np.zeros(0, bool),
        difficult=np.zeros(0, bool),
        areas=np.zeros(0),
        classes=(),
        category_ids=(),
    )

"""Finds pictures, videos and cameras that have no annotations."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detectors.data.sources.annotations import Findings, unrepeated
from detectors.data.sources.cameras import Camera
from detectors.data.sources.footage import Footage, PictureFile, Span, Task
from detectors.data.sources.paths import expanded, pictures_among
from detectors.data.sources.text import text
from detectors.data.sources.videos import VIDEOS, VideoFile
from detectors.files import PICTURES
from detectors.structures import Annotations

INPUT = "-"  # standard input
LIST = ".txt"


@dataclass(frozen=True)
class PathsOnInput:
    """The pictures and videos whose paths are on standard input, one on each line.

    A path means itself: there are no patterns, comments or variables.
    """

    moving = True

    def __str__(self) -> str:
        return "standard input"

    def expected(self, span: Span) -> None:
        return None

    def tasks(self, span: Span) -> Iterator[Task]:
        for line in sys.stdin.buffer:
            if path := os.fsdecode(line.rstrip(b"\r\n")):
                yield from _file(path).tasks(span)


def found(source: Any) -> list[Footage]:
    """What is at the places that `source` names, in their order; of a folder, videos last.

    Args:
        source: a picture, a video, a folder, a glob such as `photos/*.jpg`, a text file that lists
            paths, the number of a camera, "-" for paths on standard input, or a list of these.
            Signs such as `[` mean themselves where a file or folder of that name is there, and so
            do numbers.

    Raises:
        ValueError: nothing is found at one of them.
    """
    several = isinstance(source, Sequence) and not isinstance(source, str)
    places = list(source) if several else [source]
    if not places or not all(
        type(place) is int or isinstance(place, (str, Path)) for place in places
    ):
        raise ValueError(
            f"source={source}: expected a file, a folder, a glob, the number of a camera, - for "
            "paths on standard input, or a list of these"
        )
    findings = Findings(str(source))
    met = [footage for place in places for footage in _at(place, findings)]
    kept = unrepeated(met, "images", "files named twice", findings)
    _log(kept, findings)
    return kept


def check_span(footage: Sequence[Footage], span: Span) -> None:
    """Refuse a span that nothing can have, and a camera after which nothing is ever read.

    Raises:
        ValueError: names the words and the remedy.
    """
    said = [f"{word}={value}" for word, value in span._asdict().items() if value not in (None, 1)]
    if said and not any(item.moving for item in footage):
        raise ValueError(f"{' '.join(said)}: source is neither a video nor a camera; leave it out")
    endless = span.frames is None and span.seconds is None
    for camera in footage[:-1]:
        if endless and isinstance(camera, Camera):
            raise ValueError(
                f"source={camera.number} is a camera, which does not end: name it last, or set "
                "frames=N or seconds=N"
            )


def _at(place: str | int | Path, findings: Findings) -> list[Footage]:
    """What is at one place.

    Raises:
        ValueError: nothing is.
    """
    if place == INPUT:
        return [PathsOnInput()]
    if type(place) is int and place >= 0 and not Path(str(place)).exists():
        return [Camera(place)]
    path = expanded(str(place))
    if path.suffix.lower() == LIST and path.is_file():
        return _listed(path)
    matches = _matches(path)
    videos = sorted(match for match in matches if _is_video(match))
    pictures = pictures_among(set(matches).difference(videos), findings)
    if not (pictures or videos):
        raise ValueError(
            f"{place}: no picture there, and no video; known suffixes: "
            f"{', '.join((*PICTURES, *VIDEOS))}{findings.told()}"
        )
    return [_file(str(path)) for path in (*pictures, *videos)]


def _is_video(path: Path) -> bool:
    known = path.suffix.lower() in VIDEOS and not path.name.startswith(".")
    return known and path.is_file()


def _file(path: str) -> Footage:
    return VideoFile(path) if Path(path).suffix.lower() in VIDEOS else PictureFile(path)


def _listed(path: Path) -> list[Footage]:
    """The files that a text file lists, relative to its folder; a line that begins with # is none.

    Raises:
        ValueError: it lists none.
    """
    lines = [line.strip() for line in text(path).splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise ValueError(f"{path} lists no path: write one on each line")
    return [_file(str(path.parent / name)) for name in names]


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


def _log(footage: Sequence[Footage], findings: Findings) -> None:
    """Tells how many files there are, and what was left out."""
    kinds = {"images": PictureFile, "videos": VideoFile}
    counts = {kind: sum(isinstance(f, made) for f in footage) for kind, made in kinds.items()}
    if used := {kind: count for kind, count in counts.items() if count}:
        findings.log(**used)


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

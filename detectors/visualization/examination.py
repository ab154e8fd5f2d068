"""The page about a data set: its figures, and a sheet of pictures for each finding."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from detectors.data.examination import Examination, Finding, Place
from detectors.data.sources.base import Source, Unreadable, path_of
from detectors.visualization.pages import jpeg, rendered, uri
from detectors.visualization.pictures import drawn

PAGE = Path(__file__).with_name("examination.html")
SHOWN = 12  # pictures of a finding
NAMED = 50  # names of a finding
SIDE = 320  # pixels of a picture's longer side
HISTOGRAMS = {
    "objects_in_a_picture": "objects in a picture",
    "size_of_objects": "size of an object: square root of its share of the picture",
    "width_by_height": "width by height of an object",
    "area_in_pixels": "area of an object in pixels; 1024 and 9216 part COCO's small, medium, large",
    "area_on_canvas": "area of an object on the canvas of the network",
}


class _Shown(NamedTuple):
    title: str
    uri: str


def page(found: Examination, title: str, told: str) -> str:
    """One HTML file that needs no other.

    Args:
        title: heads the page.
        told: the verdict in a sentence.
    """
    counts = [one for split in found.splits.values() for one in split["classes"].values()]
    sheets = [(finding, list(_sheet(finding, found.sources))) for finding in found.findings]
    values = {
        "title": title,
        "told": told,
        "level": found.level or "clean",
        "splits": found.splits,
        "classes": list(next(iter(found.splits.values()))["classes"]) if found.splits else [],
        "most": max((one["objects"] for one in counts), default=1),
        "histograms": {told: _rows(found.splits, key) for key, told in HISTOGRAMS.items()},
        "findings": sheets,
        "named": NAMED,
    }
    return rendered(PAGE, values, {})


def _rows(splits: Mapping[str, Mapping[str, Any]], key: str) -> list[tuple[str, list[Any]]]:
    """Each bin with the count and the share of every split."""
    bins = list(next(iter(splits.values()))[key]) if splits else []
    totals = {split: max(1, sum(one[key].values())) for split, one in splits.items()}
    return [
        (name, [(one[key][name], 100 * one[key][name] / totals[s]) for s, one in splits.items()])
        for name in bins
    ]


def _sheet(finding: Finding, sources: Mapping[str, Source]) -> Iterator[_Shown]:
    for place in finding.places[:SHOWN]:
        yield from _pictures(place, sources)


def _pictures(place: Place, sources: Mapping[str, Source]) -> Iterator[_Shown]:
    """The picture of a place, and the one that it is compared with."""
    pairs = [(place.split, place.row, place.objects)]
    pairs += [(*place.beside, ())] if place.beside else []
    for split, row, objects in pairs:
        source = sources[split]
        try:
            image = source.image(row)
        except Unreadable:
            continue
        file = path_of(source, row)
        name = Path(file).name if file else f"image {source.annotations.image_ids[row]}"
        title = f"{split}: {name}"
        marked = Image.fromarray(_marked(image, source, row, objects))
        yield _Shown(title, uri(jpeg(marked, quality=80)))


def _marked(image: np.ndarray, source: Source, row: int, objects: Sequence[int]) -> np.ndarray:
    """The picture, small, with its objects or with those that the finding is about."""
    truth = source.annotations
    scale = min(1.0, SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    rows = np.arange(truth.offsets[row], truth.offsets[row + 1])
    rows = rows[list(objects)] if objects else rows
    return np.asarray(
        drawn(small.astype(np.uint8), truth.boxes[rows] * scale, truth.labels[rows], truth.classes)
    )

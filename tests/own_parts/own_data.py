"""A data format of one's own: a line `file,class,x1,y1,x2,y2` for each object."""

import csv
from pathlib import Path

import numpy as np

from detectors.data.sources.annotations import Findings, Objects, packed
from detectors.data.sources.images import ImageFiles, upright_size


def read_csv(path: str) -> ImageFiles:
    """The pictures that a csv file names, which lie beside it."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    names = list(dict.fromkeys(row[0] for row in rows))
    classes = sorted({row[1] for row in rows})
    paths = [Path(path).parent / name for name in names]
    objects = Objects(
        image=np.array([names.index(row[0]) for row in rows]),
        boxes=np.array([row[2:] for row in rows], np.float64),
        labels=np.array([classes.index(row[1]) for row in rows]),
        crowd=np.zeros(len(rows), bool),
        difficult=np.zeros(len(rows), bool),
        areas=np.full(len(rows), np.nan),
    )
    annotations = packed(
        np.arange(len(names)),
        np.array([upright_size(path) for path in paths]),
        objects,
        classes,
        range(len(classes)),
        lambda row: f"{path}:{row + 1}",
        Findings(path),
    )
    return ImageFiles(annotations, paths)

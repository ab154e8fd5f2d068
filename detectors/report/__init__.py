"""The report of a run: everything that its folder tells, on one page."""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from detectors.data.sources.base import Source, Unreadable
from detectors.data.sources.images import read_picture
from detectors.files import whole_file
from detectors.report import beside
from detectors.report.page import Origins, page
from detectors.report.pictures import Read
from detectors.report.reading import RunFolder, read_run

FILE = "report.html"

_log = logging.getLogger(__name__)


def write(folder: Path, source: Callable[[], Source], origins: Origins, file: Path) -> None:
    """Write the report of the run in the folder.

    Args:
        source: makes the pictures; it is asked where these have no files, as generated ones.
        origins: where each value of the config comes from, by its key.
        file: of the page.

    Raises:
        ValueError: it is no folder of a run, or one of its files is broken.
    """
    run = read_run(folder)
    _write(page(run, pictures(run, source), origins), file)


def write_beside(folders: Sequence[Path], file: Path) -> None:
    """Write a page with several runs side by side.

    Raises:
        ValueError: one is no folder of a run, or one of its files is broken.
    """
    _write(beside.page([read_run(folder) for folder in folders]), file)


def _write(text: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as lines:
        lines.write(text)


def pictures(run: RunFolder, source: Callable[[], Source]) -> Read:
    """Reads pictures of the run by their ids: from their files, or else from the source."""
    told = {image["id"]: image for image in run.evaluated.images} if run.evaluated else {}

    @cache
    def rows() -> tuple[Source, dict[int, int]] | None:
        try:
            made = source()
        except (OSError, ValueError) as error:
            _log.warning("the report shows boxes alone, its pictures cannot be read: %s", error)
            return None
        return made, {int(number): row for row, number in enumerate(made.annotations.image_ids)}

    def read(number: int) -> np.ndarray | None:
        image = told[number]
        try:
            if image.get("file_name"):
                return read_picture(image["file_name"], (image["height"], image["width"]))
            if (made := rows()) and number in made[1]:
                return made[0].image(made[1][number])
        except Unreadable as error:
            _log.warning("%s", error)
        return None

    return read

"""Read a data set once and tell what is there and what may be wrong, with pictures."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from detectors.callbacks.progress import tracked
from detectors.config.instantiate import instantiate
from detectors.config.overrides import check_overrides
from detectors.config.words import words_of_job
from detectors.data.examination import NOTE, UNUSABLE, WARNING, Examination, Finding, examined
from detectors.data.sources.annotations import examples
from detectors.data.sources.auto import read_auto
from detectors.data.sources.base import Source
from detectors.data.sources.layouts import recognised
from detectors.data.sources.paths import expanded
from detectors.engine.checks import CLASSIFICATION, check_data
from detectors.files import whole_file
from detectors.visualization.examination import page

CODES = {None: 0, NOTE: 0, WARNING: 1, UNUSABLE: 2}


def main(cfg: DictConfig) -> None:
    """Write the page and the json, print the findings; exit code 0, 1 or 2 by the worst of them."""
    words = words_of_job()
    check_data(cfg, CLASSIFICATION, "a class for each picture, no boxes, of which this tells")
    check_overrides(cfg, words, "doctor")
    try:
        data = instantiate(cfg, "data")
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(CODES[UNUSABLE])
    there = [split for split, reader in data.readers.items() if reader is not None]
    readers: dict[str, Callable[[], Source]] = {s: partial(data.source, s) for s in there}
    found = examined(readers, data.resize, tracked, data.max_unreadable)
    found.findings.extend(_unread(data.readers))
    folder = Path(cfg.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    named = " ".join(word for word in words if word.startswith("data"))
    contents = {
        "examination.json": json.dumps(_plain(found), indent=1) + "\n",
        "examination.html": page(found, named or "data", _verdict(found)),
    }
    for name, content in contents.items():
        with whole_file(folder / name) as file:
            file.write(content)
    print("\n".join(_lines(found)))
    print(folder / "examination.html")
    sys.exit(CODES[found.level])


def _unread(readers: Mapping[str, Any]) -> Iterator[Finding]:
    """A test split that the folder of data=auto has, and that no word asks for."""
    root = getattr(readers["train"], "keywords", {}).get("root")
    if readers["test"] is None and root is not None and readers["train"].func is read_auto:
        with suppress(ValueError, OSError):  # which the reading tells
            if "test" in recognised(expanded(root)).splits:
                told = f"{root}: data=auto_test data.root={root} reads it too"
                yield Finding(NOTE, "a test split that is not read", (told,))


def _verdict(found: Examination) -> str:
    if found.level == UNUSABLE:
        return "These data cannot be trained on as they are."
    if found.level == WARNING:
        return "These data can be trained on; what follows may spoil what is learnt or measured."
    return "Nothing is wrong with these data, as far as can be told by reading them."


def _lines(found: Examination) -> Iterator[str]:
    """What a terminal shows."""
    for split, figures in found.splits.items():
        classes = figures["classes"]
        yield (
            f"{split}: {figures['pictures']} pictures, {figures['objects']} objects of "
            f"{sum(1 for one in classes.values() if one['objects'])} of {len(classes)} classes"
        )
    for finding in found.findings:
        yield f"{finding.level}: {finding.what} ({len(finding.names)}): {examples(finding.names)}"
    yield _verdict(found)


def _plain(found: Examination) -> dict[str, Any]:
    """All of it as json has it."""
    rows = [
        {
            "level": finding.level,
            "what": finding.what,
            "names": finding.names,
            "pictures": [
                {
                    **_image(found, place.split, place.row),
                    "objects": place.objects,
                    "beside": place.beside and _image(found, *place.beside),
                }
                for place in finding.places
            ],
        }
        for finding in found.findings
    ]
    return {"level": found.level or "clean", "splits": found.splits, "findings": rows}


def _image(found: Examination, split: str, row: int) -> dict[str, Any]:
    return {"split": split, "image": int(found.sources[split].annotations.image_ids[row])}

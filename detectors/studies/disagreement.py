"""Finds the pictures that make the difference between variants."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from detectors.studies.design import Study
from detectors.studies.measured import Measured, read_json

COUNT = 12


def pictures(study: Study, runs: Mapping[str, Mapping[int, Measured]]) -> list[dict[str, Any]]:
    """The pictures without which some variant's difference would change most, either way.

    What a picture contributes to a run is its metric less that without the picture (jackknife), and
    to a difference the mean over common seeds of what it contributes to both. Variants that have no
    pictures in common with the baseline are left out, and pairs with several baselines all.

    Returns:
        "image", "file" (None where it was generated), "contribution" in points by variant, and
        "seed" of the runs whose detections are to be shown. The most important is first.
    """
    plain = runs[study.baseline.name]
    shares = dict(_shares(study, runs)) if len({*study.compared.values()}) == 1 else {}
    if not shares:
        return []
    largest = np.abs(np.stack(list(shares.values()))).max(0)
    ids = next(iter(plain.values())).pictures
    chosen = [i for i in np.argsort(-largest, kind="stable")[:COUNT].tolist() if largest[i] > 0]
    names = _files(next(iter(plain.values())))
    seed = min(set.intersection(*(set(runs[name]) & set(plain) for name in shares)), default=None)
    return [
        {
            "image": ids[i],
            "file": names.get(ids[i]),
            "contribution": {name: float(share[i]) for name, share in shares.items()},
            "seed": seed,
        }
        for i in chosen
    ]


def _shares(
    study: Study, runs: Mapping[str, Mapping[int, Measured]]
) -> Iterator[tuple[str, np.ndarray]]:
    plain = runs[study.baseline.name]
    for name in study.compared:
        own = runs[name]
        common = sorted(own.keys() & plain.keys())
        if common and len({of[s].pictures for of in (own, plain) for s in common}) == 1:
            yield name, np.mean([own[s].influence - plain[s].influence for s in common], 0)


def _files(run: Measured) -> dict[int, str | None]:
    images = read_json(run.folder / "truth.json")["images"]
    return {int(image["id"]): image.get("file_name") for image in images}

"""A research laboratory for object detection: families, parts and tricks, compared fairly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detectors.detector import Detector


def build(model: str, overrides: Sequence[str] = (), **settings: object) -> Detector:
    """The detector that `detectors train model=MODEL ...` would train, with random weights.

    Args:
        model: name of a family, such as "fcos"; one file of `conf/model`.
        overrides: what one would add on the command line: `["size=small", "neck=pan"]`.
        settings: the same for top-level keys, as Python values: `num_classes=20`, `image_size=416`.

    Raises:
        ValueError: a key, a group or a choice is unknown or has no effect.
    """
    from detectors.engine.build import build as build_detector

    return build_detector(model, overrides, **settings)


def load(file: str | Path, trust: Sequence[str] = ()) -> Detector:
    """The detector of a checkpoint of `detectors train`, in evaluation mode, with its `classes`.

    It has the averaged weights, if there was an average. No code in the file is run.

    Args:
        file: a checkpoint, such as `best.ckpt` of a run.
        trust: packages of yours whose parts its config may name.

    Raises:
        ValueError: the file is none of ours, or names parts that are not trusted.
    """
    from detectors.engine.restoring import loaded

    return loaded(file, trust)

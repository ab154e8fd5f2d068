"""What a file says of itself: its classes, and how a picture is brought onto its canvas.

All of it is text, by name, so that ONNX and torch can both carry it.
"""

import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from detectors.data.augment.transforms import (
    FILL,
    Letterbox,
    LetterboxCorner,
    Resize,
    ShorterEdge,
    Stretch,
)

FORMAT = "detectors-export-1"
_INTO_THE_MIDDLE = (
    f"Put it onto a canvas of grey {FILL}, (H - h) // 2 pixels from the top and (W - w) // 2 from "
    "the left."
)
RULES = {
    Letterbox: (
        "letterbox",
        "scale = min(H / height, W / width); resize the picture to h = round(height * scale) and "
        f"w = round(width * scale), at least 1. {_INTO_THE_MIDDLE}",
    ),
    LetterboxCorner: (
        "letterbox_corner",
        "scale = min(H / height, W / width); resize the picture to h = floor(height * scale) and "
        f"w = floor(width * scale), at least 1. Put it onto a canvas of grey {FILL}, in its upper "
        "left corner.",
    ),
    ShorterEdge: (
        "shorter_edge",
        "scale = min(size / min(height, width), int(size * ratio) / max(height, width)); resize "
        "the picture to h = round(height * scale) and w = round(width * scale), at least 1. "
        f"{_INTO_THE_MIDDLE}",
    ),
    Stretch: ("stretch", "Resize the picture to h = H and w = W, whatever its shape."),
}
ROUND_THE_RULE = (
    "Decode the picture to uint8 RGB, upright as its EXIF says; (height, width) are its sides and "
    "(H, W) those of the canvas. {rule} Resizing is linear between the four nearest pixels "
    "(OpenCV's INTER_LINEAR), or the mean of an area (INTER_AREA) where no side grows and one "
    "shrinks to less than half. images: [B, 3, H, W] uint8 in 0..255, nothing subtracted. frames: "
    "[B, 4] float32, the part x1, y1, x2, y2 of each canvas that its picture fills, in pixels. "
    "Boxes are x1, y1, x2, y2 in pixels of the canvas: those of the picture are x = (x - frame.x1) "
    "* width / w, y = (y - frame.y1) * height / h."
)


class Description(NamedTuple):
    """What a user of the file must know."""

    classes: tuple[str, ...]  # name of each label
    category_ids: tuple[int, ...]  # official id of each label
    resize: Resize  # brings pictures onto the canvas
    suppression: bool  # whether detections come out, else candidates
    precision: int  # bits of the weights


def texts(description: Description) -> dict[str, str]:
    """The description by name; values but the sentences and words are json.

    Raises:
        ValueError: the resize is none of ours, so that nothing could be said of it.
    """
    resize = description.resize
    rule, sentence = RULES.get(type(resize), (None, ""))
    if rule is None:
        known = ", ".join(name for name, _ in RULES.values())
        raise ValueError(
            f"{type(resize).__name__} resizes pictures by a rule that a file cannot state; "
            f"it knows {known}: use the detector in Python, by detectors.load"
        )
    return {
        "format": FORMAT,
        "written_by": f"lightning-detectors {importlib.metadata.version('lightning-detectors')}",
        "classes": json.dumps(description.classes),
        "category_ids": json.dumps(description.category_ids),
        "canvas": json.dumps(resize.canvas),
        "resize": json.dumps({"rule": rule, **_settings(resize)}),
        "fill": json.dumps(FILL),
        "colours": "RGB",
        "preparation": ROUND_THE_RULE.format(rule=sentence),
        "suppression": json.dumps(description.suppression),
        "precision": json.dumps(description.precision),
    }


def _settings(resize: Resize) -> dict[str, Any]:
    """Arguments by which the resize is made again."""
    if isinstance(resize, ShorterEdge):
        return {"size": resize.size, "ratio": resize.ratio}
    return {"size": resize.canvas}


def described(found: Mapping[str, str], name: object) -> Description:
    """The description of which these are the texts.

    Args:
        name: of the file, for the message.

    Raises:
        ValueError: the file is none of `detectors export`, or of another version of it.
    """
    if found.get("format") != FORMAT:
        raise ValueError(
            f"{name}: was not written by `detectors export` of this version: its format is "
            f"{found.get('format')!r}, expected {FORMAT!r}. Export the checkpoint again"
        )
    settings = json.loads(found["resize"])
    rule = settings.pop("rule")
    resizes: dict[str, Any] = {word: kind for kind, (word, _) in RULES.items()}
    return Description(
        classes=tuple(json.loads(found["classes"])),
        category_ids=tuple(json.loads(found["category_ids"])),
        resize=resizes[rule](**settings),
        suppression=json.loads(found["suppression"]),
        precision=json.loads(found["precision"]),
    )

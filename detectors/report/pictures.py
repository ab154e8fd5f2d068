"""Shows pictures with truth beside prediction: each picture once, boxes as lines over it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from PIL import Image

from detectors.report.breakdown import Mistakes
from detectors.report.reading import Evaluated
from detectors.visualization.pages import jpeg, uri
from detectors.visualization.pictures import label_colour

Read = Callable[[int], np.ndarray | None]  # [H, W, 3] uint8 of an image id; None: not to be had

QUALITIES = (85, 70, 55, 40)  # of JPEG, tried until a picture fits its share of the page
GREY = (150, 150, 150)


class Box(NamedTuple):
    """A rectangle over a picture, in its pixels."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    caption: str  # written where `marked`
    told: str  # read out when one points at it
    marked: bool  # a mistake


class PicturePair(NamedTuple):
    """A picture twice, with truth and with prediction."""

    name: str
    note: str
    uri: str
    width: int
    height: int
    truth: list[Box]
    found: list[Box]


def shown(
    evaluated: Evaluated, mistakes: Sequence[Mistakes], threshold: float, read: Read, room: int
) -> list[PicturePair]:
    """The pictures of these mistakes; what cannot be read is shown as boxes on grey.

    Args:
        threshold: detections with lower scores are not drawn.
        read: gives a picture.
        room: bytes for all of them together.
    """
    share = room // max(1, len(mistakes))
    return [_shown(evaluated, one, threshold, read, share) for one in mistakes]


def _shown(
    evaluated: Evaluated, mistakes: Mistakes, threshold: float, read: Read, room: int
) -> PicturePair:
    told = evaluated.images[mistakes.image]
    pixels = read(int(told["id"]))
    size = int(told["width"]), int(told["height"])
    content, scale = fitted(_picture(pixels, size), room)
    notes = [_counts(mistakes)]
    if pixels is None:
        notes.append("the picture cannot be read here, so boxes alone are shown")
    if scale < 1:
        notes.append(f"shown at {100 * scale:.0f} % of its size")
    return PicturePair(
        name=str(told.get("file_name") or f"picture {told['id']}").rpartition("/")[2],
        note="; ".join(notes),
        uri=uri(content),
        width=size[0],
        height=size[1],
        truth=list(_truth(evaluated, mistakes)),
        found=list(_found(evaluated, mistakes, threshold)),
    )


def _counts(mistakes: Mistakes) -> str:
    numbers = {
        "missed": len(mistakes.missed),
        "false": len(mistakes.wrong),
        "badly placed": len(mistakes.shifted),
    }
    return ", ".join(f"{count} {name}" for name, count in numbers.items() if count)


def _picture(pixels: np.ndarray | None, size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, (205, 205, 202)) if pixels is None else Image.fromarray(pixels)


def fitted(picture: Image.Image, room: int) -> tuple[bytes, float]:
    """A JPEG of at most so many bytes once it is written in base 64, and its scale.

    The quality is lowered first, then the size.
    """
    limit, scale = room * 3 // 4, 1.0
    while True:
        small = _scaled(picture, scale)
        for quality in QUALITIES:
            content = jpeg(small, quality)
            if len(content) <= limit:
                return content, scale
        if max(small.size) <= 64:
            return content, scale
        scale *= 0.8


def _scaled(picture: Image.Image, scale: float) -> Image.Image:
    if scale == 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _truth(evaluated: Evaluated, mistakes: Mistakes) -> Iterator[Box]:
    truth = evaluated.truth
    for row in np.flatnonzero(truth.images == mistakes.image).tolist():
        label = int(truth.labels[row])
        ignored = bool(truth.crowd[row] or truth.difficult[row])
        name = truth.classes[label]
        missed = row in mistakes.missed
        told = f"{name}, ignored" if ignored else f"{name}, missed" if missed else name
        tint = GREY if ignored else label_colour(label)
        yield _box(truth.boxes[row], tint, name, told, missed)


def _found(evaluated: Evaluated, mistakes: Mistakes, threshold: float) -> Iterator[Box]:
    found = evaluated.found
    mine = (found.images == mistakes.image) & (found.scores >= threshold)
    rows = np.flatnonzero(mine)
    for row in rows[np.argsort(found.scores[rows], kind="stable")].tolist():
        label = int(found.labels[row])
        caption = f"{evaluated.truth.classes[label]} {found.scores[row]:.2f}"
        shifted = row in mistakes.shifted
        wrong = row in mistakes.wrong
        told = f"{caption}, badly placed" if shifted else f"{caption}, wrong" if wrong else caption
        yield _box(found.boxes[row], label_colour(label), caption, told, wrong or shifted)


def _box(xywh: np.ndarray, tint: Iterable[int], caption: str, told: str, marked: bool) -> Box:
    x, y, width, height = (round(float(number), 1) for number in xywh)
    return Box(x, y, width, height, f"rgb({','.join(map(str, tint))})", caption, told, marked)


def drawing(picture: PicturePair, place: int, boxes: Sequence[Box], first: bool) -> Markup:
    """One of the two sides as SVG; the second uses the picture of the first."""
    width, height = picture.width, picture.height
    size = max(width, height) / 34
    inside = (
        Markup('<image id="picture-{}" href="{}" width="{}" height="{}"/>')
        if first
        else Markup('<use href="#picture-{}"/>')
    )
    parts = [inside.format(place, picture.uri, width, height)]
    parts += [_rectangle(box, size, width) for box in sorted(boxes, key=lambda box: box.marked)]
    label = f"{picture.name}, {'truth' if first else 'detections'}: {len(boxes)} boxes"
    return Markup(
        '<svg role="img" aria-label="{}" viewBox="0 0 {} {}" class="picture">{}</svg>'
    ).format(label, width, height, Markup("").join(parts))


def _rectangle(box: Box, size: float, width: int) -> Markup:
    kind = "box marked" if box.marked else "box"
    drawn = Markup(
        '<g class="{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" '
        'stroke="{}"/>{}</g>'
    )
    left = min(max(box.x, 0.0), max(0.0, width - size * 0.62 * len(box.caption)))
    text = Markup('<text x="{:.1f}" y="{:.1f}" font-size="{:.1f}">{}</text>')
    written = text.format(left, max(box.y - size * 0.25, size * 0.9), size, box.caption)
    return drawn.format(
        *(kind, box.told, box.x, box.y, max(box.width, 0.5), max(box.height, 0.5), box.colour),
        written if box.marked else "",
    )

"""Draws pictures with ground truth and the detections of each variant, small enough for a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from detectors.studies.decimals import fixed
from detectors.studies.measured import read_json
from detectors.visualization.pages import jpeg, uri

SIDE = 300  # pixels of the longer side
THRESHOLD = 0.3  # of the score; lower ones are not drawn
MOST = 5  # variants beside the ground truth, baseline first
BLANK = (226, 226, 222)  # ground of a picture that has no file
HUES = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff")

Row = Mapping[str, Any]


class Side(NamedTuple):
    """One drawing of a picture."""

    title: str
    uri: str
    boxes: int


class Shown(NamedTuple):
    """A picture as often as there are variants, ground truth first."""

    title: str
    note: str
    sides: list[Side]


class _Box(NamedTuple):
    xywh: Sequence[float]
    category: int
    dashed: bool  # to be ignored: crowd or difficult


def shown(results: Row, folder: Path) -> list[Shown]:
    """The pictures of the results, each with ground truth and detections side by side."""
    chosen = [row for row in results["pictures"] if row["seed"] is not None]
    if not chosen:
        return []
    seed = chosen[0]["seed"]
    places = {
        v["name"]: folder / run["folder"]
        for v in results["variants"]
        for run in v["runs"]
        if run["seed"] == seed
    }
    truth = read_json(next(iter(places.values())) / "truth.json")
    ids = {row["image"] for row in chosen}
    found = {name: _found(place, ids) for name, place in places.items()}
    return [_picture(row, truth, found) for row in chosen]


def _found(place: Path, ids: set[int]) -> dict[int, list[_Box]]:
    """Detections above the threshold by picture."""
    boxes: dict[int, list[_Box]] = {i: [] for i in ids}
    for row in read_json(place / "detections.json"):
        if row["image_id"] in ids and row["score"] >= THRESHOLD:
            boxes[row["image_id"]].append(_Box(row["bbox"], row["category_id"], False))
    return boxes


def _picture(row: Row, truth: Row, found: Mapping[str, Mapping[int, list[_Box]]]) -> Shown:
    image = next(image for image in truth["images"] if image["id"] == row["image"])
    objects = [
        _Box(o["bbox"], o["category_id"], bool(o["iscrowd"] or o.get("difficult")))
        for o in truth["annotations"]
        if o["image_id"] == row["image"]
    ]
    ground, note = _ground(image)
    baseline, *others = found
    ranked = sorted(others, key=lambda name: -abs(row["contribution"].get(name, 0.0)))
    names = [baseline, *ranked[: MOST - 1]]
    sides = [_side("ground truth", ground, image, objects)]
    for name in names:
        gain = row["contribution"].get(name)
        title = name if gain is None else f"{name} {fixed(gain, 2, sign=True)}"
        sides.append(_side(title, ground, image, found[name][row["image"]]))
    name = Path(image["file_name"]).name if image.get("file_name") else f"picture {image['id']}"
    return Shown(name, note, sides)


def _ground(image: Row) -> tuple[Image.Image, str]:
    """The picture, small; where there is no file to read a plain ground and the reason."""
    size = image["width"], image["height"]
    scale = SIDE / max(size)
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    name = image.get("file_name")
    if not name:
        return Image.new("RGB", small, BLANK), "generated, so there is no file: boxes only"
    try:
        with Image.open(name) as opened:
            opened.draft("RGB", small)
            return opened.convert("RGB").resize(small), ""
    except OSError:
        return Image.new("RGB", small, BLANK), "its file is not on this machine: boxes only"


def _side(title: str, ground: Image.Image, image: Row, boxes: Sequence[_Box]) -> Side:
    drawn = ground.copy()
    pen = ImageDraw.Draw(drawn)
    scale = ground.width / image["width"]
    for box in boxes:
        x, y, width, height = (scale * number for number in box.xywh)
        hue = "#999999" if box.dashed else HUES[box.category % len(HUES)]
        corners = (x, y, max(x + width, x + 1), max(y + height, y + 1))
        pen.rectangle(corners, outline="black", width=4)
        pen.rectangle(
            (x + 1, y + 1, max(corners[2] - 1, x + 1), max(corners[3] - 1, y + 1)),
            outline=hue,
            width=2,
        )
    return Side(title, uri(jpeg(drawn, quality=72)), len(boxes))

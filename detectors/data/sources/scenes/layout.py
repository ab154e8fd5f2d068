"""Places the objects of a scene, without drawing a pixel.

All random numbers of a scene are one row of uniforms, a function of (seed, split, index). The rest
is arithmetic on many rows at once. A property has its own column, so that turning one knob leaves
the other properties of every object as they were: two settings are compared on the same draws.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.data.ranges import Rule, at_least, check, finite, whole, within
from detectors.data.sources.scenes import shapes

_TRIES = 12  # places offered to an object before it is given up
_PROPERTIES = 4  # class, size, stretch, angle
_PLACE = 4  # columns of one try: whether beside a partner, x or angle, y or distance, partner
_LEAST_INSIDE = 0.25  # share of a silhouette that the border leaves
_LONGEST = 0.95  # of the image side; `shapes.boxes_within` relies on less than 1


class Arrangement(NamedTuple):
    """The objects of many scenes, packed; those of scene i are `offsets[i]:offsets[i + 1]`.

    Within a scene the first object is in front of all others.
    """

    offsets: np.ndarray  # [I + 1] int64
    labels: np.ndarray  # [n] int64
    transforms: np.ndarray  # [n, 2, 2] from units of `shapes.UNIT` to pixels
    origins: np.ndarray  # [n, 2] pixels
    boxes: np.ndarray  # [n, 4] xyxy pixels, tight round the silhouette inside the image

    def outlines(self, scene: int) -> np.ndarray:
        """[objects, VERTICES, 2] pixels."""
        rows = slice(self.offsets[scene], self.offsets[scene + 1])
        return _moved(shapes.UNIT[self.labels[rows]], self.transforms[rows], self.origins[rows])


class _Cast(NamedTuple):
    """The objects that may appear, before places are found for them."""

    labels: np.ndarray  # [I, K]
    transforms: np.ndarray  # [I, K, 2, 2]
    inverses: np.ndarray  # [I, K, 2, 2] from pixels to units
    middles: np.ndarray  # [I, K, 2] of the box, pixels from the origin of the shape
    halves: np.ndarray  # [I, K, 2] half width and height of the box, pixels


@dataclass(frozen=True)
class Layout:
    """Chooses the number, classes, sizes and places of objects.

    Args:
        side: height and width of the image in pixels.
        num_classes: the first so many of `shapes.NAMES`.
        objects: fewest and most objects of a scene, each count equally likely. An object that finds
            no place within the limits below is not drawn, so crowded scenes may hold fewer.
        sizes: least and greatest size, log-uniform between; a size is the square root of the box
            area over the image side. No box is longer than 0.95 of the image.
        stretch: greatest ratio by which a shape is drawn out along its own axis, log-uniform.
        crowding: share of the objects that are placed touching or nearly touching an earlier one.
        occlusion: greatest share of an object's silhouette inside the image that the objects in
            front may hide, counted on 64 points of it. An object that would be hidden more is not
            drawn, so whatever is drawn is annotated. Boxes ignore occlusion.
        truncation: greatest share of a box's width and of its height that the border may cut off;
            a quarter of the silhouette always stays inside. The annotated box is tight round that
            part.
        imbalance: exponent of Zipf's law; class c has weight (c + 1) ** -imbalance, 0 is uniform.

    Raises:
        ValueError: a value is outside its range.
    """

    side: int = 320
    num_classes: int = 8
    objects: tuple[int, int] = (2, 8)
    sizes: tuple[float, float] = (0.08, 0.4)
    stretch: float = 1.3
    crowding: float = 0.0
    occlusion: float = 0.3
    truncation: float = 0.1
    imbalance: float = 0.0

    def __post_init__(self) -> None:
        check(
            "scene layout",
            whole("side", self.side, 16),
            whole("num_classes", self.num_classes, 1),
            within("num_classes", self.num_classes, f"[1, {len(shapes.NAMES)}]"),
            self._counts(),
            self._extents(),
            within("stretch", self.stretch, "[1, 100]"),
            within("crowding", self.crowding, "[0, 1]"),
            within("occlusion", self.occlusion, "[0, 1)"),
            within("truncation", self.truncation, "[0, 0.5]"),
            at_least("imbalance", self.imbalance, 0),
        )

    def _counts(self) -> Rule:
        expected = f"0 <= fewest <= most objects and a most of 1 or more, found {self.objects}"
        if len(self.objects) != 2 or not all(whole("", n, 0)[0] for n in self.objects):
            return False, expected
        least, most = self.objects
        return least <= most and most >= 1, expected

    def _extents(self) -> Rule:
        expected = f"0 < least <= greatest < 1 as sizes, found {self.sizes}"
        if len(self.sizes) != 2 or not all(finite(size) for size in self.sizes):
            return False, expected
        return 0 < self.sizes[0] <= self.sizes[1] < 1, expected

    @property
    def columns(self) -> int:
        """Uniforms that one scene uses; with more objects it reads more, the first as before."""
        return 1 + self.objects[1] * (_PROPERTIES + _TRIES * _PLACE)

    def arrange(self, uniforms: np.ndarray) -> Arrangement:
        """The objects of I scenes from `[I, columns]` numbers in [0, 1)."""
        least, most = self.objects
        scenes = len(uniforms)
        counts = least + np.floor(uniforms[:, 0] * (most - least + 1)).astype(np.int64)
        rows = uniforms[:, 1:].reshape(scenes, most, _PROPERTIES + _TRIES * _PLACE)
        cast = self._cast(rows[..., :_PROPERTIES])
        places = rows[..., _PROPERTIES:].reshape(scenes, most, _TRIES, _PLACE)
        centers, placed = self._placed(cast, places, counts)
        return _packed(cast, centers, placed, self.side)

    def _cast(self, draws: np.ndarray) -> _Cast:
        """Class, size, stretch and angle from `[I, K, 4]` uniforms."""
        labels = np.searchsorted(self._class_steps(), draws[..., 0], side="right")
        small, large = self.sizes
        size = self.side * small * (large / small) ** draws[..., 1]
        transforms = _turns(self.stretch ** draws[..., 2], 2 * np.pi * draws[..., 3])
        points = _moved(shapes.UNIT[labels], transforms, np.zeros(2))
        least, most = points.min(axis=-2), points.max(axis=-2)
        halves, middles = (most - least) / 2, (most + least) / 2
        scale = np.minimum(
            size / np.sqrt(4 * halves.prod(axis=-1)),
            _LONGEST * self.side / (2 * halves.max(axis=-1)),
        )[..., None]
        transforms = transforms * scale[..., None]
        return _Cast(labels, transforms, np.linalg.inv(transforms), middles * scale, halves * scale)

    def _class_steps(self) -> np.ndarray:
        """[num_classes - 1] where the cumulated class shares pass from one class to the next."""
        weights = np.arange(1, self.num_classes + 1) ** -float(self.imbalance)
        return np.cumsum(weights / weights.sum())[:-1]

    def _placed(
        self, cast: _Cast, places: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Box centres `[I, K, 2]` and whether a place was found `[I, K]`, from front to back.

        An object is put behind those before it, so a place once found stays good.
        """
        centers = np.full((*cast.labels.shape, 2), -np.inf)  # overlaps nothing until placed
        for k in range(cast.labels.shape[1]):
            waiting = np.flatnonzero(k < counts)
            for draws in np.moveaxis(places[:, k], 1, 0):
                tried = self._tried(cast, draws, centers, waiting, k)
                good = self._acceptable(cast, tried, centers, waiting, k)
                centers[waiting[good], k] = tried[good]
                waiting = waiting[~good]
        return centers, np.isfinite(centers[..., 0])

    def _tried(
        self, cast: _Cast, draws: np.ndarray, centers: np.ndarray, rows: np.ndarray, k: int
    ) -> np.ndarray:
        """[rows, 2] box centres offered to object k of some scenes, from uniforms `[I, 4]`."""
        draws, halves = draws[rows], cast.halves[rows, k]
        reach = halves * (1 - 2 * self.truncation)
        anywhere = reach + draws[:, 1:3] * (self.side - 2 * reach)
        partner = np.floor(draws[:, 3] * k).astype(np.int64)
        near = centers[rows, partner]
        angle = 2 * np.pi * draws[:, 1]
        direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        span = (cast.halves[rows, partner] + halves) * (0.5 + 0.6 * draws[:, 2:3])
        beside = np.clip(near + direction * span, reach, self.side - reach)
        clustered = (draws[:, 0] < self.crowding) & np.isfinite(near[:, 0])
        return np.where(clustered[:, None], beside, anywhere)

    def _acceptable(
        self, cast: _Cast, tried: np.ndarray, centers: np.ndarray, rows: np.ndarray, k: int
    ) -> np.ndarray:
        """[rows] whether enough of object k is in the image and enough of that is in sight."""
        origins = tried - cast.middles[rows, k]
        points = _moved(shapes.INSIDE[cast.labels[rows, k]], cast.transforms[rows, k], origins)
        inside = ((points > 0) & (points < self.side)).all(axis=-1)  # [rows, SAMPLES]
        distance = np.abs(centers[rows, :k] - tried[:, None])
        touching = (distance < cast.halves[rows, :k] + cast.halves[rows, k, None]).all(axis=-1)
        behind, front = np.nonzero(touching)
        scene = rows[behind]
        origins = centers[scene, front] - cast.middles[scene, front]
        seen_from = (points[behind] - origins[:, None]) @ cast.inverses[scene, front].mT
        hidden = np.zeros_like(inside)
        np.logical_or.at(hidden, behind, shapes.contain(cast.labels[scene, front], seen_from))
        within = inside.sum(axis=1)
        enough = within >= _LEAST_INSIDE * shapes.SAMPLES
        return enough & ((hidden & inside).sum(axis=1) <= self.occlusion * within)


def _turns(stretch: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """[..., 2, 2] that stretch along the x axis and then turn by the angle."""
    cosine, sine = np.cos(angle), np.sin(angle)
    rows = [np.stack([cosine * stretch, -sine], -1), np.stack([sine * stretch, cosine], -1)]
    return np.stack(rows, axis=-2)


def _moved(points: np.ndarray, transforms: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """[..., P, 2] points in pixels from points in units."""
    return points @ transforms.mT + origins[..., None, :]


def _packed(cast: _Cast, centers: np.ndarray, placed: np.ndarray, side: int) -> Arrangement:
    """Only the placed objects, scene after scene, with their exact boxes."""
    offsets = np.concatenate([[0], np.cumsum(placed.sum(axis=1))])
    labels, transforms = cast.labels[placed], cast.transforms[placed]
    centers, halves = centers[placed], cast.halves[placed]
    origins = centers - cast.middles[placed]
    boxes = np.concatenate([centers - halves, centers + halves], axis=-1)
    cut = ((boxes < 0) | (boxes > side)).any(axis=1)
    outlines = _moved(shapes.UNIT[labels[cut]], transforms[cut], origins[cut])
    boxes[cut] = shapes.boxes_within(outlines, side)
    return Arrangement(offsets, labels, transforms, origins, boxes)

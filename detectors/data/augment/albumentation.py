"""Wraps a transform of albumentations 2.0 as one of ours."""

import albumentations
import numpy as np

from detectors.data.augment import Transform
from detectors.data.augment.transforms import chosen
from detectors.structures import Sample

# Change each pixel by itself, or by means over the picture.
POINTWISE = (
    albumentations.ChannelShuffle,
    albumentations.ColorJitter,
    albumentations.HueSaturationValue,
    albumentations.InvertImg,
    albumentations.RandomBrightnessContrast,
    albumentations.RandomGamma,
    albumentations.RGBShift,
    albumentations.Solarize,
    albumentations.ToGray,
    albumentations.ToSepia,
)


class Albumentation(Transform):
    """Applies one transform of albumentations, seeded anew for every sample.

    Left to itself the library repeats its draws between workers and epochs. A transform that moves
    boxes drops those of which less than `visible` of the area remains, gives `frame` the bounds of
    the moved picture, and makes `to_original` NaN, since the map need not be linear: for training.
    """

    def __init__(self, transform: albumentations.BasicTransform, visible: float = 0.25) -> None:
        self.scale_free = isinstance(transform, POINTWISE)
        self.moves_boxes = not isinstance(transform, albumentations.ImageOnlyTransform)
        boxes = albumentations.BboxParams(
            "pascal_voc", label_fields=["rows"], min_visibility=visible, clip=True
        )
        self.compose = albumentations.Compose(
            [transform], bbox_params=boxes if self.moves_boxes else None
        )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        self.compose.set_random_seed(int(rng.integers(2**32)))
        if not self.moves_boxes:
            return sample._replace(image=self.compose(image=sample.image)["image"])
        return self._moved(sample)

    def _moved(self, sample: Sample) -> Sample:
        height, width = sample.image.shape[:2]
        boxes = np.concatenate([sample.boxes, sample.frame[None]])
        boxes = np.clip(boxes, 0, [width, height, width, height])  # a hair outside aborts it
        result = self.compose(image=sample.image, bboxes=boxes, rows=np.arange(len(boxes)))
        rows = np.asarray(result["rows"], np.int64)
        moved = np.asarray(result["bboxes"], np.float32).reshape(-1, 4)
        objects = rows < len(sample.boxes)
        frame = moved[~objects]
        height, width = result["image"].shape[:2]
        whole = np.array([0, 0, width, height], np.float32)
        return chosen(sample, rows[objects])._replace(
            image=result["image"],
            boxes=moved[objects],
            frame=frame[0] if len(frame) else whole,
            to_original=np.full(4, np.nan, np.float32),
        )

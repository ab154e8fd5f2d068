"""Small videos on disk, and a camera that is none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

RATE = 12.5


def write_video(
    path: Path, images: Sequence[np.ndarray], codec: str = "FFV1", rate: float = RATE
) -> Path:
    """A video of images [H, W, 3] RGB; FFV1 keeps every bit of them."""
    height, width = images[0].shape[:2]
    code = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), code, rate, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(image[..., ::-1].copy())
    writer.release()
    return path


def read_video(path: Path) -> tuple[list[np.ndarray], float]:
    """Its images, RGB, and how many are shown a second."""
    reader, images = cv2.VideoCapture(str(path)), []
    while True:
        read, image = reader.read()
        if not read:
            return images, reader.get(cv2.CAP_PROP_FPS)
        images.append(image[..., ::-1])


def noise(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Images of which no two are alike."""
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 255, (count, height, width, 3), np.uint8))


class FakeCamera:
    """Stands in for `cv2.VideoCapture` of a camera.

    Args:
        images: what it sees, RGB; one that is None cannot be decoded.
        on_grab: called with the number of each frame before it is grabbed.
    """

    def __init__(self, images: Sequence[np.ndarray | None], on_grab: Any = None) -> None:
        self.images, self.on_grab = list(images), on_grab or (lambda number: None)
        self.grabbed, self.released = 0, False

    def __call__(self, place: int) -> "FakeCamera":
        assert place == 0
        return self

    def isOpened(self) -> bool:
        return bool(self.images)

    def get(self, prop: int) -> float:
        return {cv2.CAP_PROP_FPS: RATE}.get(prop, -1.0)

    def grab(self) -> bool:
        if self.grabbed == len(self.images):
            return False
        self.on_grab(self.grabbed)
        self.grabbed += 1
        return True

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        image = self.images[self.grabbed - 1]
        return image is not None, None if image is None else image[..., ::-1].copy()

    def release(self) -> None:
        self.released = True

"""Finds objects in pictures, batch by batch, and hands each picture on with what was found."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from detectors.data.augment.transforms import Resize
from detectors.data.reading import Prepared, in_batches
from detectors.data.sources.unlabelled import unannotated
from detectors.detector import Detector
from detectors.engine.checkpoint import checkpoint_file
from detectors.engine.checks import asked_in
from detectors.engine.hardware import autocast_type, torch_device
from detectors.engine.proposals import check_own
from detectors.engine.restoring import restored_data, restored_detector
from detectors.metrics import DetectionMetric, PackedDetections
from detectors.metrics.results import Write, coco_file, csv_file, image_file, yolo_files
from detectors.structures import Batch, Detections, Picture
from detectors.visualization.annotated import by_kind, drawn_pictures, drawn_videos
from detectors.weights.checkpoint import load_checkpoint

_log = logging.getLogger(__name__)

FOLDERS = ("pictures", "videos", "labels")  # of a run, with files of names that others may have


class Predictor(NamedTuple):
    """All that finding objects takes, wherever it was read from."""

    detect: Callable[[Tensor, Tensor], Detections]  # of images and frames on the device
    device: torch.device
    resize: Resize
    classes: list[str]
    category_ids: list[int]


def predictor_of(cfg: DictConfig) -> Predictor:
    """What `ckpt_path` names, ready on the device.

    Raises:
        ValueError: it is no checkpoint of a detector, or asks for code that is not trusted.
    """
    checkpoint = load_checkpoint(checkpoint_file(cfg.ckpt_path, Path(cfg.run_dir)))
    detector = restored_detector(checkpoint, cfg.trust).eval()
    precision = asked_in(detector, cfg.precision)
    check_own(detector, "predict")
    data = restored_data(checkpoint, OmegaConf.create({"data": {}}), cfg.trust)
    device = torch_device(cfg.device)
    kind = autocast_type(precision, device.type)
    fused = _fused(detector, data.resize.canvas).to(device)
    fused.to(memory_format=torch.channels_last)

    def detect(images: Tensor, frames: Tensor) -> Detections:
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, kind, enabled=kind is not None):
            return fused(images, frames)

    classes, category_ids = list(checkpoint["classes"]), list(checkpoint["category_ids"])
    return Predictor(detect, device, data.resize, classes, category_ids)


def _fused(detector: Detector, canvas: tuple[int, int]) -> Detector:
    """With batch norms folded, which is faster, where that leaves the features what they are."""
    try:
        return detector.fused(torch.full((1, 3, *canvas), 114, dtype=torch.uint8))
    except ValueError as reason:
        _log.info("%s", reason)
        return detector


@torch.inference_mode()
def detect(
    predictor: Predictor,
    prepared: Iterator[Prepared],
    write: Write,
    batch_size: int,
    score_threshold: float,
) -> tuple[int, int]:
    """How many pictures there were and detections in them; each is written, with ids 0, 1, ..."""
    pictures = detections = 0
    for some, batch in in_batches(prepared, batch_size):
        for picture, found in zip(some, _found(predictor, some, batch), strict=True):
            kept = found.scores >= score_threshold
            shown = PackedDetections(*(column[kept] for column in found))
            write(pictures, picture, shown._replace(image_ids=shown.image_ids * 0 + pictures))
            pictures, detections = pictures + 1, detections + len(shown.scores)
    return pictures, detections


def _found(
    predictor: Predictor, pictures: list[Picture], batch: Batch
) -> Iterator[PackedDetections]:
    """The detections in each picture, in its pixels; ids are places in the batch."""
    sizes = np.array([picture.image.shape[:2] for picture in pictures])
    images, frames = batch.images.to(predictor.device), batch.frames.to(predictor.device)
    detections = predictor.detect(images, frames)
    metric = DetectionMetric(unannotated(sizes))
    metric.update(Detections(*(field.cpu() for field in detections)), batch)
    found = metric.found()
    for place in range(len(pictures)):
        mine = found.image_ids == place
        yield PackedDetections(*(column[mine] for column in found))


@contextmanager
def results_in(folder: Path, predictor: Predictor, cfg: DictConfig) -> Iterator[Write]:
    """Writes all that `save` names into the run folder, complete when the block has ended."""
    makers: Mapping[str, Callable[[], AbstractContextManager[Write]]] = {
        "coco": lambda: coco_file(folder / "detections.json", predictor.category_ids),
        "csv": lambda: csv_file(folder / "detections.csv", predictor.classes),
        "yolo": lambda: yolo_files(folder / "labels"),
        "pictures": lambda: _drawings(folder, predictor.classes, cfg.video),
    }
    with ExitStack() as files:
        writers = [files.enter_context(image_file(folder / "images.json"))]
        writers += [files.enter_context(makers[name]()) for name in dict.fromkeys(cfg.save)]

        def write(image_id: int, picture: Picture, found: PackedDetections) -> None:
            for one in writers:
                one(image_id, picture, found)

        yield write


@contextmanager
def _drawings(folder: Path, classes: list[str], video: str) -> Iterator[Write]:
    with (
        drawn_pictures(folder / "pictures", classes) as pictures,
        drawn_videos(folder / "videos", classes) as videos,
    ):
        yield by_kind(pictures, videos if video == "mp4" else pictures)

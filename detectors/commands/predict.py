"""Find objects in pictures: a file, a folder, a glob, or a list of these."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from detectors.callbacks.progress import tracked
from detectors.data.sources.images import ImageFiles
from detectors.data.sources.unlabelled import read_pictures
from detectors.engine import run_folder
from detectors.engine.checkpoint import checkpoint_file
from detectors.engine.hardware import autocast_type, torch_device
from detectors.engine.memory import memory_told
from detectors.engine.restoring import restored_data, restored_detector
from detectors.metrics import DetectionMetric, PackedDetections, write_coco_results
from detectors.visualization.pictures import drawn
from detectors.weights.checkpoint import load_checkpoint

_log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Draw what the checkpoint's detector finds and write it as COCO results."""
    check_unused(Path(cfg.run_dir) / "pictures")
    source = read_pictures(cfg.source)
    checkpoint = load_checkpoint(checkpoint_file(cfg.ckpt_path, Path(cfg.run_dir)))
    detector = restored_detector(checkpoint, cfg.trust).eval()
    data = restored_data(
        checkpoint, OmegaConf.create({"data": {"batch_size": cfg.batch_size}}), cfg.trust
    )
    folder = run_folder.record(cfg, list(HydraConfig.get().overrides.task))
    with memory_told():
        found = detect(detector, data.plain_loader(source), source, cfg.device, cfg.precision)
    shown = PackedDetections(*(column[found.scores >= cfg.score_threshold] for column in found))
    write_coco_results(folder / "detections.json", shown, checkpoint["category_ids"])
    run_folder.write_images(source, folder)
    write_categories(checkpoint, folder)
    write_pictures(source, shown, checkpoint["classes"], folder / "pictures")
    _log.info("%d detections in %d pictures: %s", len(shown.scores), len(source), folder)


def check_unused(pictures: Path) -> None:
    """Refuse to mix the pictures of two runs.

    Raises:
        ValueError: there is something in the folder.
    """
    if pictures.is_dir() and any(pictures.iterdir()):
        raise ValueError(
            f"{pictures} has the pictures of an earlier run: choose another hydra.run.dir, or "
            "remove that folder"
        )


@torch.inference_mode()
def detect(
    detector: torch.nn.Module, loader: Any, source: ImageFiles, device: str, precision: str
) -> PackedDetections:
    """All detections, in pixels of the original pictures."""
    place = torch_device(device)
    kind = autocast_type(precision, place.type)
    detector.to(place)
    metric = DetectionMetric(source.annotations)
    for batch in tracked(loader, "detecting"):
        with torch.autocast(place.type, kind, enabled=kind is not None):
            detections = detector(batch.images.to(place), batch.frames.to(place))
        metric.update(type(detections)(*(field.cpu() for field in detections)), batch)
    return metric.found()


def write_categories(checkpoint: Mapping[str, Any], folder: Path) -> None:
    """`categories.json`: which class each category_id of the detections is."""
    pairs = zip(checkpoint["category_ids"], checkpoint["classes"], strict=True)
    categories = [{"id": number, "name": name} for number, name in pairs]
    run_folder.write_json(folder / "categories.json", categories)


def write_pictures(
    source: ImageFiles, found: PackedDetections, classes: list[str], folder: Path
) -> None:
    """One picture with boxes for each in `source`, under its own name."""
    folder.mkdir(exist_ok=True)
    for row in tracked(range(len(source)), "drawing"):
        mine = found.image_ids == source.annotations.image_ids[row]
        boxes, scores, labels = found.boxes[mine], found.scores[mine], found.labels[mine]
        picture = drawn(source.image(row), boxes, labels, classes, scores)
        picture.save(folder / f"{row:05d}_{Path(source.path(row)).stem}.jpg")

"""Lets the first stage of a trained detector propose, in a file as `detectors propose` writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from detectors.config.instantiate import instantiate
from detectors.data.module import DetectionData
from detectors.data.proposals.feeding import PictureProposals
from detectors.data.proposals.files import (
    known_beside,
    packed,
    picture_keys,
    read_proposals,
    write_proposals,
)
from detectors.data.proposals.recall import THRESHOLDS, coverage
from detectors.detector import Detector
from detectors.engine.hardware import torch_device
from detectors.engine.restoring import restored_detector
from detectors.heads.two_stage import TwoStageHead
from detectors.structures import Batch
from detectors.weights.checkpoint import load_checkpoint

FILE = "proposals.npz"


def propose_all(cfg: DictConfig, checkpoint: Path, file: Path) -> str:
    """Write the proposals of all pictures, unless they are there; how well they cover the objects.

    Args:
        cfg: of the training that wrote the checkpoint.
        checkpoint: of a detector with a first stage, which proposes as for a test.
    """
    data = instantiate(cfg, "data")
    if not file.is_file():
        device = torch_device(cfg.device)
        detector = restored_detector(load_checkpoint(checkpoint), []).eval().to(device)
        found: dict[int, np.ndarray] = {}
        known: dict[int, int] = {}
        for split in dict.fromkeys(("train", "val", cfg.split)):  # all that will be looked at
            keys = picture_keys(data.source(split), known)
            found |= dict(_proposed(detector, data, split, keys, device))
        write_proposals(file, packed(found, {"checkpoint": str(checkpoint)}), known)
    return f"{file.name} {_told(data, file)}"


@torch.inference_mode()
def _proposed(
    detector: Detector, data: DetectionData, split: str, own: np.ndarray, device: torch.device
) -> Iterator[tuple[int, np.ndarray]]:
    """Key, of those [I] of a split, and boxes [k, 4] of each picture, in its own pixels.

    One that cannot be read has none; a training takes the next in its place.
    """
    head, source = detector.head, data.source(split)
    assert isinstance(head, TwoStageHead)
    keys = dict(zip(source.annotations.image_ids.tolist(), own.tolist(), strict=True))
    for key in keys.values():
        yield int(key), np.zeros((0, 4), np.float32)
    batch: Batch
    tally = data.tally(split)
    for batch in data.plain_loader(source, tally=tally):
        if tally is not None and batch.unreadable is not None:
            tally.count(batch.unreadable.tolist())
        features = detector.features(batch.images.to(device))
        proposed = head.proposed(features, batch.frames.to(device))
        scale, shift = (part.repeat(1, 2)[:, None] for part in batch.to_original.split(2, dim=1))
        boxes = proposed.boxes.cpu() * scale + shift
        for number, found, valid in zip(
            batch.ids.tolist(), boxes, proposed.valid.cpu(), strict=True
        ):
            yield int(keys[number]), found[valid].numpy()


def _told(data: DetectionData, file: Path) -> str:
    """Recall of the validation split."""
    source: Any = data.source("val")
    own = PictureProposals(read_proposals(file), source, str(file), known_beside(file))
    ids = source.annotations.image_ids.tolist()
    figures = coverage([own.boxes(number) for number in ids], source.annotations)
    best = figures[-1]
    told = f"{best.mean_count:.0f} of a picture, recall {best.recall[0]:.3f} at IoU {THRESHOLDS[0]}"
    return f"({told}, ABO {best.abo:.3f})"

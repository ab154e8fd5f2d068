"""Draw a contact sheet of what the network will see: augmented, mixed, resized, with boxes."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from PIL import Image

from detectors.config.instantiate import instantiate
from detectors.data.dataset import DetectionDataset
from detectors.data.module import DetectionData
from detectors.data.sampling import EpochSampler
from detectors.engine import run_folder
from detectors.engine.build import configured_job
from detectors.structures import Sample
from detectors.visualization.pictures import contact_sheet, drawn

_log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> Path:
    """Write the sheet and say what is on it; the file."""
    cfg = configured_job(cfg)
    data = instantiate(cfg, "data")
    samples = first_samples(data, cfg.epoch, cfg.count)
    run_folder.record(cfg, list(HydraConfig.get().overrides.task))
    file = run_folder.save_picture(sheet(samples, data.classes, cfg.columns), cfg.file)
    _log.info("%s: %s", file, summary(samples))
    return file


def first_samples(data: DetectionData, epoch: int, count: int) -> list[Sample]:
    """The first samples of an epoch, as a training with this seed gets them."""
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, EpochSampler)
    assert isinstance(loader.dataset, DetectionDataset)
    assert loader.dataset.tally is not None
    loader.sampler.set_epoch(epoch)
    keys = list(loader.sampler)[:count]
    samples = [loader.dataset[key] for key in keys]
    loader.dataset.tally.count(row for sample in samples for row in sample.unreadable)
    return samples


def sheet(samples: Sequence[Sample], classes: Sequence[str], columns: int) -> Image.Image:
    """The samples in rows of so many, boxes and class names on them; `*` marks what is ignored."""
    names = [*classes, *(f"{name}*" for name in classes)]
    pictures = [
        np.asarray(
            drawn(sample.image, sample.boxes, sample.labels + len(classes) * sample.ignore, names)
        )
        for sample in samples
    ]
    return contact_sheet(pictures, columns)


def summary(samples: Sequence[Sample]) -> str:
    """The number of pictures and objects on the sheet."""
    objects = sum(len(sample.labels) for sample in samples)
    dropped = sum(sample.dropped for sample in samples)
    extra = f", {dropped} more dropped by mixes" if dropped else ""
    return f"{len(samples)} pictures, {objects} objects{extra}"

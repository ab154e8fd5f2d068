"""Draw which priors each object of training pictures gets, by one assigner or by several."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from PIL import Image
from rich.table import Table

from detectors.assigners import Assigner
from detectors.commands.preview import first_samples
from detectors.config.compose import compose
from detectors.config.fitted import is_fitted
from detectors.config.instantiate import instantiate
from detectors.config.words import words_of_job
from detectors.data.collate import collated
from detectors.detector import Detector
from detectors.engine import run_folder
from detectors.engine.build import configured_job, initial_detector
from detectors.engine.checkpoint import checkpoint_file
from detectors.engine.checks import check_canvases, check_classes
from detectors.engine.console import console
from detectors.engine.resume import check_model
from detectors.heads.dense import DenseHead
from detectors.structures import Batch, Targets
from detectors.visualization.assignment import Count, Level, counts, levels
from detectors.visualization.assignment_pictures import level_picture
from detectors.visualization.pictures import contact_sheet
from detectors.weights.checkpoint import load_checkpoint, stored_weights

_log = logging.getLogger(__name__)

Pictures = list[list[Level]]  # the levels of each picture


def main(cfg: DictConfig) -> Path:
    """Write the sheet and print how many priors the objects got; the file."""
    cfg = configured_job(cfg)
    if is_fitted(cfg):
        raise ValueError(
            "a fitted model has neither priors nor an assigner: nothing is to be drawn"
        )
    others = assigners(cfg.compare)
    detector, batch = prepared(cfg)
    own = _dense_heads(detector)[0].assigner
    found = assigned(detector, batch, others or {type(own).__name__: own}, cfg.seed)
    run_folder.record(cfg, list(HydraConfig.get().overrides.task))
    file = run_folder.save_picture(sheet(batch, found), cfg.file)
    console().print(summary(found, batch.targets))
    _log.info("%s: %d pictures", file, len(batch.images))
    return file


def assigners(names: Sequence[str]) -> dict[str, Assigner]:
    """Each by its name, as `assigner=NAME` would make it.

    Raises:
        ValueError: there is none of a name; lists those there are.
    """
    words = words_of_job()
    return {
        name: instantiate(compose([*words, f"assigner={name}"], "assign"), "part.assigner")
        for name in names
    }


def prepared(cfg: DictConfig) -> tuple[Detector, Batch]:
    """The detector, with the weights of `ckpt_path` if given, and the first pictures as a batch."""
    check_classes(cfg)
    torch.manual_seed(cfg.seed)
    checkpoint = _checkpoint(cfg)
    data = instantiate(cfg, "data")
    detector = initial_detector(cfg, lambda: data.classes)
    if checkpoint is not None:
        detector.load_state_dict(stored_weights(checkpoint))
        data.order = tuple(checkpoint["classes"])
    if not _dense_heads(detector):
        raise ValueError(
            "this model assigns no priors of its own, it looks at proposals: choose a model with "
            "a dense head, such as model=faster_rcnn without data.proposals"
        )
    check_canvases(detector, data.canvases())
    return detector, collated(first_samples(data, cfg.epoch, cfg.count), data.min_objects)


def _checkpoint(cfg: DictConfig) -> Mapping[str, Any] | None:
    """The content of `ckpt_path`, whose model must be the config's."""
    if cfg.ckpt_path is None:
        return None
    file = checkpoint_file(cfg.ckpt_path, Path(cfg.run_dir))
    checkpoint = load_checkpoint(file)
    check_model(cfg, checkpoint, file)
    return checkpoint


@torch.no_grad()
def assigned(
    detector: Detector, batch: Batch, chosen: Mapping[str, Assigner], seed: int
) -> dict[str, Pictures]:
    """The levels that each assigner assigns, all from the predictions of one training step."""
    torch.manual_seed(seed)
    features = detector.train().features(batch.images)
    output = detector.head(features, batch.frames, batch.targets)
    found = {}
    for name, assigner in chosen.items():
        torch.manual_seed(seed)  # some draw a sample
        for head in _dense_heads(detector):
            head.assigner = assigner
        priors, assignment = detector.head.assign(output, batch.targets)
        found[name] = [levels(priors, assignment, k) for k in range(len(batch.images))]
    return found


def _dense_heads(detector: Detector) -> list[DenseHead]:
    return [part for part in detector.modules() if isinstance(part, DenseHead)]


def sheet(batch: Batch, found: Mapping[str, Pictures]) -> Image.Image:
    """A column for each level; a row for each picture, of each assigner one below the other."""
    images = batch.images.permute(0, 2, 3, 1).numpy()
    cells = []
    for k, image in enumerate(images):
        boxes = batch.targets.boxes[k].numpy()
        rows = (batch.targets.valid[k] & ~batch.targets.ignore[k]).numpy().nonzero()[0]
        for name, pictures in found.items():
            cells += [level_picture(image, boxes, rows, level, name) for level in pictures[k]]
    return contact_sheet(cells, len(next(iter(found.values()))[0]))


def summary(found: Mapping[str, Pictures], targets: Targets) -> Table:
    """A table of how many priors the objects got, for each assigner and level."""
    objects = int((targets.valid & ~targets.ignore).sum())
    each = ("positives", "per object", "fewest", "objects without", "ignored")
    table = Table("assigner", "stride", *each, title=f"{objects} objects")
    for name, pictures in found.items():
        strides = [str(level.stride) for level in pictures[0]]
        for stride, count in zip([*strides, "all"], counts(pictures, targets), strict=True):
            table.add_row(name, stride, *_told(count), end_section=stride == "all")
    return table


def _told(count: Count) -> Sequence[str]:
    got = count.per_object
    mean, fewest = (f"{got.mean():.2f}", f"{got.min()}") if len(got) else ("-", "-")
    ignored = f"{count.ignored / count.priors:.2%}"
    return f"{got.sum()}", mean, fewest, f"{(got == 0).sum()}", ignored

"""Find objects in pictures, videos or of a camera: a file, folder, glob, or a list of these."""

import logging
from contextlib import closing
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from detectors.callbacks.progress import tracked
from detectors.config.paths import checkpoint_at
from detectors.data.reading import Unread, expected, read_ahead
from detectors.data.sources.footage import Footage, Span
from detectors.data.sources.unlabelled import check_span, found
from detectors.engine import run_folder
from detectors.engine.memory import memory_told
from detectors.engine.prediction import FOLDERS, Predictor, detect, predictor_of, results_in
from detectors.export.running import SUFFIXES, opened

_log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Write what the checkpoint's detector finds, in the forms that `save` names."""
    folder = Path(cfg.run_dir)
    check_unused(folder)
    check_saved(cfg)
    span = Span(cfg.every, cfg.frames, cfg.seconds)
    footage = found(cfg.source)
    check_span(footage, span)
    exported = Path(cfg.ckpt_path).suffix in SUFFIXES
    predictor = opened(checkpoint_at(cfg.ckpt_path), cfg) if exported else predictor_of(cfg)
    run_folder.record(cfg, list(HydraConfig.get().overrides.task))
    unread = Unread()
    pictures, detections = predict(cfg, footage, span, predictor, unread)
    write_classes(predictor, folder, "yolo" in cfg.save)
    _log.info("%d detections in %d pictures: %s", detections, pictures, folder)
    if told := unread.told():
        _log.warning("%s", told)


def check_unused(folder: Path) -> None:
    """Refuse to mix the pictures of two runs.

    Raises:
        ValueError: there is something in a folder for them.
    """
    for place in (folder / name for name in FOLDERS):
        if place.is_dir() and any(place.iterdir()):
            raise ValueError(
                f"{place} has the {place.name} of an earlier run: choose another hydra.run.dir, or "
                "remove that folder"
            )


def check_saved(cfg: DictConfig) -> None:
    """Refuse to write nothing, and to say how videos are drawn where nothing is.

    Raises:
        ValueError: names the words and the remedy.
    """
    if not cfg.save:
        raise ValueError("save=[]: nothing would be written; name pictures, coco, yolo or csv")
    if cfg.video != "mp4" and "pictures" not in cfg.save:
        raise ValueError(f"video={cfg.video} draws nothing without save=[pictures,...]; leave it")


def predict(
    cfg: DictConfig, footage: list[Footage], span: Span, predictor: Predictor, unread: Unread
) -> tuple[int, int]:
    """How many pictures there were, and detections in them; `unread` counts what there was not.

    Raises:
        ValueError: no picture could be read; nothing is left of the results then.
    """
    reading = read_ahead(footage, span, predictor.resize, ahead=cfg.batch_size)
    with (
        memory_told(),
        closing(reading),
        results_in(Path(cfg.run_dir), predictor, cfg) as write,
    ):
        shown = tracked(unread.readable(reading), "detecting", total=expected(footage, span))
        counts = detect(predictor, shown, write, cfg.batch_size, cfg.score_threshold)
        unread.check()
    return counts


def write_classes(predictor: Predictor, folder: Path, numbered: bool) -> None:
    """`categories.json`: the class of each category_id; `classes.txt`: that of each number."""
    pairs = zip(predictor.category_ids, predictor.classes, strict=True)
    categories = [{"id": number, "name": name} for number, name in pairs]
    run_folder.write_json(folder / "categories.json", categories)
    if numbered:
        run_folder.write_text(folder / "classes.txt", "".join(f"{n}\n" for n in predictor.classes))

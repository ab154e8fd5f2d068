"""Fits a model stage by stage, each of which a stopped run goes on with."""

import logging
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch import Trainer

from detectors.callbacks.checkpoints import STOPPING, Stopped
from detectors.callbacks.costs import TRAINING
from detectors.callbacks.progress import tracked
from detectors.data.augment.transforms import framed
from detectors.data.dataset import DetectionDataset
from detectors.data.module import DetectionData
from detectors.engine.checkpoint_files import CheckpointFiles
from detectors.engine.memory import memory_told
from detectors.engine.record import Record
from detectors.engine.trainer import stop_told
from detectors.fitted import Fitted, Work
from detectors.fitted.detector import FittedDetector
from detectors.measuring import reset_peaks
from detectors.module import LitData, LitDetector
from detectors.random_streams import torch_seed
from detectors.structures import Sample
from detectors.weights.checkpoint import load_checkpoint

FILE, FILES = Path("checkpoints", "last.ckpt"), "stages"  # in the run folder

_log = logging.getLogger(__name__)


class Examples(Sequence[Sample]):
    """The training pictures on the canvas, without the grey around them; read when asked for.

    In the place of one that cannot be read there is the next, as in any training.
    """

    def __init__(self, data: DetectionData) -> None:
        self.pictures: DetectionDataset = data.plain_pictures("train")

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        sample = self.pictures[index % len(self)]
        assert self.pictures.tally is not None
        self.pictures.tally.count(sample.unreadable)
        shown = framed(sample)
        if sample.proposals is None:
            return shown
        return shown._replace(proposals=sample.proposals - np.rint(sample.frame[[0, 1, 0, 1]]))


def fit_stages(
    trainer: Trainer, module: LitDetector, data: LitData, file: Path | None, run: Record
) -> None:
    """Fit the stages that are left, each with a line in the log and a checkpoint after it.

    Args:
        file: the checkpoint to go on from, if there is one.
        run: is told seconds, pictures, and what each stage says.
    """
    detector: Any = module.detector
    assert isinstance(detector, FittedDetector)
    told = _restored(module, file, run.folder)
    device = trainer.strategy.root_device
    reset_peaks(device)
    fitted = detector.to(device).eval().fitted
    files = run.folder / FILES
    work = Work(Examples(data.data), data.classes, module.seed, device, files, show=tracked)
    left = list(enumerate(fitted.stages, 1))[int(fitted.done) :]
    with stop_told(trainer), memory_told():
        for number, stage in left:
            with _stoppable(stage, number, run.folder):
                told[stage] = _fitted(stage, fitted, work)
                _save(module, data, told, run.folder)
            _log.info("stage %d/%d %s", number, len(fitted.stages), line(stage, told[stage]))
            _count(run, told, len(work.examples))
    if not left:
        _save(module, data, told, run.folder)
        _count(run, told, len(work.examples))
    shutil.rmtree(files, ignore_errors=True)
    own = (value for value in fitted.buffers(recurse=False) if value.is_floating_point())
    run.write(parameters=sum(value.numel() for value in (*fitted.parameters(), *own)))


def _restored(module: LitDetector, file: Path | None, folder: Path) -> dict[str, dict[str, float]]:
    """What the stages said that are done; their numbers and files are those of the checkpoint.

    A run that begins anew finds no files of one that was in the folder before.
    """
    files = folder / FILES
    if file is None:
        shutil.rmtree(files, ignore_errors=True)
        return {}
    checkpoint = load_checkpoint(file)
    module.load_state_dict(checkpoint["state_dict"])
    before = file.resolve().parents[1] / FILES
    if before != files.resolve():
        shutil.rmtree(files, ignore_errors=True)
        if before.is_dir():
            shutil.copytree(before, files)
    return dict(checkpoint["stages"])


def _fitted(stage: str, fitted: Fitted, work: Work) -> dict[str, float]:
    """Fits a stage; its seconds, and what it says."""
    started = time.perf_counter()
    torch.manual_seed(torch_seed(work.seed, name=f"stage {stage}"))
    try:
        figures = {name: float(value) for name, value in fitted.fit(stage, work).items()}
    except FileNotFoundError as error:
        if not str(error.filename).startswith(str(work.files)):
            raise
        raise ValueError(
            f"the stage {stage} goes on from files that those before it left in {work.files}, and "
            f"{Path(error.filename).name} is not there: go on in the folder of that run, with "
            "ckpt_path=last, or begin anew without ckpt_path"
        ) from error
    fitted.done += 1
    return {"seconds": time.perf_counter() - started, **figures}


def validated(trainer: Trainer, module: LitDetector, data: LitData) -> dict[str, float]:
    """Metrics on "val", as a training has them from its epochs whatever it is measured on."""
    with memory_told():
        trainer.validate(module, datamodule=data, verbose=False)
    values = trainer.callback_metrics.items()
    return {name: float(value) for name, value in values if name.startswith("val/")}


def line(stage: str, figures: Mapping[str, float]) -> str:
    """`positives: windows 1,204, loss 0.031, 12.3 s`."""
    shown = [f"{n} {_number(v)}" for n, v in figures.items() if n != "seconds"]
    told = ", ".join([*shown, f"{figures['seconds']:.1f} s"])
    return f"{stage}: {told}"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:.4g}"


def _save(module: LitDetector, data: LitData, told: Mapping[str, Any], folder: Path) -> None:
    content = {
        "state_dict": module.state_dict(),
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": lightning.__version__,
        "stages": told,
        **module.described(data),
    }
    CheckpointFiles().save_checkpoint(content, folder / FILE)


def _count(run: Record, told: Mapping[str, Mapping[str, float]], pictures: int) -> None:
    """Tell the record what the stages of all lives of the run have cost."""
    costs = run.costs
    costs.seconds[TRAINING] = sum(figures["seconds"] for figures in told.values())
    costs.images_seen = costs.timed = pictures if told else 0
    run.write(stages=told)


@contextmanager
def _stoppable(stage: str, number: int, folder: Path) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the block by `Stopped`, and with it the stage."""

    def stop(signalled: int, frame: FrameType | None) -> None:
        saved = f"those before it are saved in {folder / FILE}" if number > 1 else "the first one"
        raise Stopped(signalled, f"in stage {number}, {stage}, {saved}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

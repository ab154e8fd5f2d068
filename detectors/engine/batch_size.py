"""Finds the largest batch that fits a GPU, where the config leaves it to that."""

import contextlib
import copy
import gc
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from omegaconf import DictConfig, OmegaConf

from detectors.clock import class_counts
from detectors.config.compose import compose
from detectors.config.links import followed
from detectors.config.paths import key
from detectors.config.words import words_of_job
from detectors.data.collate import bucket
from detectors.data.module import DetectionData
from detectors.engine.build import configured
from detectors.engine.checkpoint import training_file
from detectors.engine.hardware import accelerator_of
from detectors.engine.trainer import assemble
from detectors.layers.progress import tell, tell_counts
from detectors.measuring import synchronize
from detectors.module import LitDetector
from detectors.structures import Batch, Progress, Targets
from detectors.weights.checkpoint import load_checkpoint

AUTO, KEY = "auto", "data.batch_size"
STEPS = 2  # of a trial: the state of an optimiser is made in the first, and is there in the second
SHARE = 0.95  # of the memory of the GPU; the rest is for what a long run leaves in pieces

_log = logging.getLogger(__name__)


def settled(cfg: DictConfig) -> tuple[list[str], DictConfig]:
    """The words of the running job and what they compose, `data.batch_size=auto` as a number.

    A run that goes on has the number it began with. For any other the largest power of two is taken
    that the GPU has memory for. Where no `auto` is said, both are as they are.

    Raises:
        ValueError: it would train on a CPU or in several processes, or no batch fits.
    """
    words, name = words_of_job(), str(HydraConfig.get().job.config_name)
    if OmegaConf.select(cfg, KEY) != AUTO:
        return words, cfg
    count = _of_checkpoint(cfg) or _found(cfg, words, name)
    words = numbered(words, count)
    return words, compose(words, name)


def numbered(words: Sequence[str], count: int) -> list[str]:
    """The words with that many pictures in a batch."""
    return [*(word for word in words if key(word) != KEY), f"{KEY}={count}"]


def _of_checkpoint(cfg: DictConfig) -> int | None:
    """The number with which the run began that goes on; None: it begins now."""
    file = None if cfg.ckpt_path is None else training_file(cfg.ckpt_path, Path(cfg.run_dir))
    return None if file is None else followed(load_checkpoint(file)["config"], KEY)


def _found(cfg: DictConfig, words: Sequence[str], name: str) -> int:
    check_device(str(cfg.trainer.device))
    single = numbered(words, 1)
    trial = configured(single, name, compose(single, name))
    trial.logger, trial.data.cache = {}, None
    module, data, trainer = assemble(trial)
    check_alone(trainer)
    steps = TrialSteps(module, data.data, trainer)
    with _share_of_memory(steps.device):
        count = largest(steps.fit, len(data.data.train_dataloader()))
    _log.info("data.batch_size=auto: %d, with %s", count, steps.told)
    _tell_rate(cfg, words, name, count)
    return count


def check_device(device: str) -> None:
    """Refuse what has no error for too little memory that a program could go on from.

    Raises:
        ValueError: the device is no GPU of CUDA.
    """
    if accelerator_of(device) not in ("gpu", "cuda"):
        raise ValueError(
            f"data.batch_size=auto: on device={device} a batch that is too large ends the process, "
            "so none can be tried, and on a CPU large ones are not faster: say a number, such as "
            "data.batch_size=8"
        )


def check_alone(trainer: Trainer) -> None:
    """Refuse several processes, each of which would find a number of its own.

    Raises:
        ValueError: they are more than one.
    """
    processes = trainer.num_devices * trainer.num_nodes
    if processes > 1:
        raise ValueError(
            f"data.batch_size=auto: the run has {processes} processes, which might find different "
            "numbers: find it on one GPU, with trainer=gpu, and say the number here; it is per GPU"
        )


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest power of two that fits, and is at most `most`.

    Sizes are tried from two on, since batch norm over maps of one cell cannot be trained with one
    picture; that is tried only where two do not fit.

    Raises:
        ValueError: one picture does not fit.
    """
    count = 1
    while 2 * count <= most and fits(2 * count):
        count *= 2
    if count == 1 and not fits(1):
        raise ValueError(
            "data.batch_size=auto: not even one picture fits the memory of the GPU: lower "
            "image_size, choose size=small, or set precision=bf16-mixed"
        )
    return count


class TrialSteps:
    """Makes training steps of a detector as the run will make them, with the batch that needs most.

    Weights are moved by what is learnt from noise, so the module is of no further use. What is
    compiled in the run is not compiled here, which takes no less memory.

    Attributes:
        device: where they are made.
        told: what the batch contains, in words.
    """

    def __init__(self, module: LitDetector, data: DetectionData, trainer: Trainer) -> None:
        self.device, self.precision = trainer.strategy.root_device, trainer.precision_plugin
        self.precision.convert_module(module)  # where all is computed in bf16 or float16
        self.module = module.to(self.device).train()
        assert module.optimizer is not None
        self.optimizer = module.optimizer(module.detector)
        averaged = any(isinstance(c, WeightAveraging) for c in trainer.callbacks)  # type: ignore[attr-defined]
        self.average = copy.deepcopy(module.detector) if averaged else None  # which takes memory
        self.canvas = max(data.canvases(), key=math.prod)
        self.objects = most_objects(data)
        self.rows = bucket(self.objects, data.min_objects)
        self.classes = len(data.classes)
        self.told = f"pictures of {self.canvas} (height, width) and {self.objects} objects in each"
        tell_counts(module, class_counts(data.annotations("train")))

    def fit(self, count: int) -> bool:
        """Whether there is memory for steps with that many pictures."""
        try:
            self._make(count)
        except torch.OutOfMemoryError:
            return False
        finally:
            self.optimizer.zero_grad()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    def _make(self, count: int) -> None:
        """Two steps; gradients of the first stay, as they do where they are accumulated."""
        batch = full_batch(count, self.canvas, self.rows, self.objects, self.classes, self.device)
        for step in range(STEPS):
            progress = Progress(images_seen=(step + 1) * count, step=step, steps=STEPS)
            tell(self.module, progress)
            tricked = batch
            for trick in self.module.batch_tricks.values():
                tricked = trick(tricked, self.module.detector, progress, seed=step)
            with self.precision.train_step_context():
                images = tricked.images.contiguous(memory_format=self.module.memory_format)
                terms = self.module.detector.loss(images, tricked.targets, tricked.frames)
            torch.stack(list(terms.values())).sum().backward()
            self.optimizer.step()
        synchronize(self.device)


def most_objects(data: DetectionData) -> int:
    """As many objects as a training picture may have, mixes among them."""
    found = most = int(np.diff(data.annotations("train").offsets).max())
    for mix in data.mix.values():
        mixed = most * (1 + mix.partners)
        most = min(mixed, getattr(mix, "most", mixed))
    return max(found, most)


def full_batch(
    count: int,
    canvas: tuple[int, int],
    rows: int,
    objects: int,
    classes: int,
    device: torch.device,
) -> Batch:
    """Noise that fills the canvas, the same for the same numbers, and objects of any size."""
    height, width = canvas
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, *canvas), dtype=torch.uint8, generator=draw)
    sides = torch.tensor([width, height])
    corners = torch.rand(count, rows, 2, generator=draw) * 0.5 * sides
    extents = (0.05 + 0.45 * torch.rand(count, rows, 2, generator=draw)) * sides
    targets = Targets(
        boxes=torch.cat([corners, corners + extents], dim=-1),
        labels=torch.randint(0, classes, (count, rows), generator=draw),
        valid=(torch.arange(rows) < objects).expand(count, rows),
        ignore=torch.zeros(count, rows, dtype=torch.bool),
    )
    frame = torch.tensor([0.0, 0.0, width, height])
    batch = Batch(
        images=images.to(device),
        targets=Targets(*(part.to(device) for part in targets)),
        frames=frame.expand(count, 4).to(device),
        to_original=torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(count, 4).to(device),
        ids=torch.arange(count, device=device),
    )
    return batch


@contextlib.contextmanager
def _share_of_memory(device: torch.device) -> Iterator[None]:
    """Let torch have only a share of the memory of a GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_per_process_memory_fraction(SHARE, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def _tell_rate(cfg: DictConfig, words: Sequence[str], name: str, count: int) -> None:
    """Say what the learning rate, which stays, would be by a rule."""
    usual: Any = compose([word for word in words if key(word) != KEY], name).data.batch_size
    rate = cfg.optimizer.lr
    if isinstance(usual, int) and usual != count:
        _log.warning(
            "optimizer.lr=%g stays, which goes with batches of %d: by the linear scaling rule "
            "(Goyal et al. 2017, sec. 2.1) batches of %d would take optimizer.lr=%g",
            *(rate, usual, count, rate * count / usual),
        )

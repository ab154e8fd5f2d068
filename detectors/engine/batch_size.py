"""Finds the largest batch that fits a GPU, where the config leaves it to that."""

import contextlib
import logging
from collections.abc import Callable, Iterator

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from detectors.config.compose import compose
from detectors.config.paths import key
from detectors.config.words import words_of_job
from detectors.engine.automatic import Trial, check_alone
from detectors.engine.hardware import accelerator_of
from detectors.engine.trial_steps import TrialSteps

KEY = "data.batch_size"
SHARE = 0.95  # of the memory of the GPU; the rest is for what a long run leaves in pieces

_log = logging.getLogger(__name__)


def largest_batch(cfg: DictConfig, trial: Trial) -> int:
    """The largest power of two of pictures that the GPU has memory for; a `Choice`.

    Raises:
        ValueError: the run is on a CPU or in several processes, or no batch fits.
    """
    check_device(str(cfg.trainer.device))
    module, data, trainer = trial(1)
    check_alone(trainer, KEY)
    steps = TrialSteps(module, data.data, trainer)
    with _share_of_memory(steps.device):
        count = largest(steps.fit, len(data.data.train_dataloader()))
    _log.info("data.batch_size=auto: %d, with %s", count, steps.told)
    _tell_rate(cfg, count)
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


def _tell_rate(cfg: DictConfig, count: int) -> None:
    """Say what the learning rate, which stays, would be by a rule."""
    words = [word for word in words_of_job() if key(word) != KEY]
    usual = compose(words, str(HydraConfig.get().job.config_name)).data.batch_size
    rate = cfg.optimizer.lr
    if isinstance(usual, int) and usual != count:
        _log.warning(
            "optimizer.lr=%g stays, which goes with batches of %d: by the linear scaling rule "
            "(Goyal et al. 2017, sec. 2.1) batches of %d would take optimizer.lr=%g",
            *(rate, usual, count, rate * count / usual),
        )

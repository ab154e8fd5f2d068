"""Decides whether a training is compiled, where the config leaves it to that.

A compiled training is not bit-equal to an eager one: fused operations round otherwise. So the
decision is part of the config that a run is known by and resumed under, and a study has to say it.
"""

import logging
import statistics
from collections.abc import Callable
from functools import partial

import torch
from omegaconf import DictConfig

from detectors.clock import steps_of_run
from detectors.data.collate import bucket
from detectors.engine.automatic import Trial, check_alone
from detectors.engine.trial_steps import TrialSteps, most_objects
from detectors.layers.progress import check_demands
from detectors.measuring import seconds_of
from detectors.module import LitData

KEY = "compile"
TIMED = 3  # steps, after one that is not; their median counts
HOPED = 0.5  # share of an eager step, more than we have seen compiling save; then it is measured
LEAST = 30.0  # seconds that compiling a step takes at least

_log = logging.getLogger(__name__)


def worthwhile(cfg: DictConfig, trial: Trial) -> bool:
    """Whether a compiled training would end sooner than an eager one; a `Choice`.

    Steps on noise are timed as the run will make them, first eager. Only if the best that compiling
    might save in the whole run is worth the least that it takes, they are compiled and timed too.
    Each size of the canvas and each number of rows of the targets has a graph of its own.

    Raises:
        ValueError: the run is in several processes.
    """
    module, data, trainer = trial(False)
    check_alone(trainer, KEY)
    try:
        check_demands(module.detector, trainer.accumulate_grad_batches, True)
    except ValueError as error:
        return _decided(False, str(error))
    steps_of_optimizer = steps_of_run(trainer, len(data.train_dataloader()))
    count, most = steps_of_optimizer * trainer.accumulate_grad_batches, graphs(data)
    steps = TrialSteps(module, data.data, trainer)
    eager = step_seconds(steps, cfg.data.batch_size)
    run = f"{count} steps of {eager:.3g} s"
    if count * eager * HOPED < most * LEAST:
        return _decided(False, f"{run} are too short a run for {most} graphs to be compiled")
    steps.loss = torch.compile(steps.loss, dynamic=False)
    first = seconds_of(partial(steps.make, steps.batch(cfg.data.batch_size), 0), steps.device)
    compiled = step_seconds(steps, cfg.data.batch_size)
    saved, cost = count * (eager - compiled), most * (first - compiled)
    told = f"{run}, {compiled:.3g} s compiled: {saved:.0f} s saved, {cost:.0f} s to compile"
    return _decided(saved > cost, f"{told} {most} graphs")


def _decided(compiled: bool, why: str) -> bool:
    _log.info("compile=auto: %s, for %s", str(compiled).lower(), why)
    return compiled


def step_seconds(steps: TrialSteps, count: int) -> float:
    """Median duration of a training step with that many pictures."""
    batch = steps.batch(count)
    calls: list[Callable[[], object]] = [partial(steps.make, batch, k) for k in range(1 + TIMED)]
    seconds = [seconds_of(call, steps.device) for call in calls]
    return statistics.median(seconds[1:])


def graphs(data: LitData) -> int:
    """How many graphs a compiled training has at most."""
    smallest = data.data.min_objects
    doubled = bucket(most_objects(data.data), smallest) // smallest  # a power of two
    return doubled.bit_length() * len(data.canvases())

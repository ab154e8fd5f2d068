"""Keeps `run.json`: what a run is, how far it is, what it cost and what it found.

It is written when the run begins, at the end of each epoch and when the run ends, each time whole
or not at all. How a run ends that does not come to its end is added by `detectors.failures`.
"""

import hashlib
import json
import logging
import os
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from detectors.callbacks.costs import TRAINING, Costs
from detectors.config.compose import chosen
from detectors.config.fitted import is_fitted
from detectors.config.words import said, words_of_job
from detectors.engine.build import sketch
from detectors.engine.evaluation import Evaluation
from detectors.engine.latency import latency
from detectors.engine.operations import operations
from detectors.engine.run_folder import environment, is_first_process, write_json
from detectors.measuring import processor
from detectors.module import LitDetector
from detectors.studies.keys import code_hashes, fingerprint, packages_of, run_key, split_hash

FILE, FORMAT = "run.json", 1
# What lives of one run must have in common for its numbers to be those of one machine and code.
CONDITIONS = (
    *("git_commit", "versions", "device", "device_name", "devices", "precision", "threads"),
    *("deterministic", "workers"),
)

_log = logging.getLogger(__name__)


class Record(Callback):
    """Writes `run.json` in the folder, and keeps the metrics of validations for it.

    Args:
        folder: that of the run.
        facts: what does not change while it runs; none in any process but the first.
        packages: those whose imported code is recorded.
        objective: by which the best validation is chosen.
    """

    def __init__(
        self, folder: Path, facts: Mapping[str, Any], packages: set[str], objective: str
    ) -> None:
        self.folder, self.content, self.packages = folder, dict(facts), packages
        self.objective = objective
        self.costs = Costs()
        self.validated = False
        self.last: dict[str, float] = {}  # of validations, by their names in `metrics.csv`
        self.best: dict[str, float] = {}

    def write(self, **changes: Any) -> None:
        """Write it with these changes; of several processes, the first writes."""
        if not is_first_process():
            return
        code = {**code_hashes(self.packages), **self.content.get("code", {})}
        scores = {"last": _plain(self.last), "best": _plain(self.best)}
        self.content.update(self.costs.found(), code=code, **scores, **changes)
        write_json(self.folder / FILE, self.content)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.validated:
            metrics = trainer.callback_metrics.items()
            self.last = {n: float(value) for n, value in metrics if n.startswith("val/")}
            self.best = self.last if self._is_best(trainer) else self.best
        self.validated = False
        self.write()

    def _is_best(self, trainer: Trainer) -> bool:
        """By the rule of the callback that keeps the best checkpoint: a tie changes nothing."""
        if self.objective not in self.best or self.objective not in self.last:
            return True
        keeps = (c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint))
        modes = [keep.mode for keep in keeps if keep.monitor == self.objective]
        new, old = self.last[self.objective], self.best[self.objective]
        return new < old if modes[:1] == ["min"] else new > old

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last, "best": self.best, "validated": self.validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last, self.best = dict(state_dict["last"]), dict(state_dict["best"])
        self.validated = state_dict["validated"]

    def finish_unmeasured(self) -> None:
        """Record that the run is done, and that nothing was evaluated."""
        self.write(state="done", exit_code=0, ended=now(), latency_missing="nothing was evaluated")

    def finish(
        self,
        evaluation: Evaluation,
        epoch: int | None,
        timed: tuple[LitDetector, Any, Trainer] | None,
    ) -> None:
        """Record what the run has found.

        Args:
            evaluation: of the measured weights.
            epoch: in which these were learnt, the first being 0; None where there are none.
            timed: whose latency is measured; None: it is not.
        """
        if not is_first_process():
            return
        split, training = self.content["split"], self.costs.seconds[TRAINING]
        found = {"latency_missing": "latency=false"}
        if timed is not None:
            found = asked("latency", lambda: latency(*timed, split, training)._asdict())
        ids = json.dumps(evaluation.image_ids.tolist()).encode()
        sha = hashlib.sha256(ids).hexdigest()
        images = {"images": len(evaluation.image_ids), "image_ids": sha}
        self.write(
            state="done",
            exit_code=0,
            metrics=_plain(evaluation.metrics),
            measured_epoch=epoch,
            data={**self.content["data"], **images},
            ended=now(),
            **found,
        )


def begin(
    cfg: DictConfig,
    config: Mapping[str, Any],
    module: LitDetector,
    data: Any,
    trainer: Trainer,
    resumed: Path | None,
) -> Record:
    """The record of a run that begins now, written for the first time.

    It is one of the trainer's callbacks, and so is what counts the costs.

    Args:
        cfg: what the run is made of.
        config: the same as it was composed, from which its key follows.
        resumed: the checkpoint from which it goes on.
    """
    facts = _facts(cfg, config, module, data, trainer) if is_first_process() else {}
    if facts and resumed is not None:
        facts = _continued(facts, resumed.parents[1] / FILE)
    record = Record(Path(cfg.run_dir), facts, packages_of(config), cfg.objective)
    trainer.callbacks[:0] = [record.costs, record]  # type: ignore[attr-defined]
    record.write()
    return record


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _facts(
    cfg: DictConfig, config: Mapping[str, Any], module: LitDetector, data: Any, trainer: Trainer
) -> dict[str, Any]:
    """All of `run.json` that is known before the first step; the rest is null."""
    print_of_data, canvas = fingerprint(config), data.data.resize.canvas
    measured = "train" if data.data.overfit and cfg.split == "val" else cfg.split
    return {
        "format": FORMAT,
        "state": "running",
        "error": None,
        "reason": None,
        "exit_code": None,
        "log": None,
        "key": run_key(config, print_of_data),
        **_said(),
        "debug": cfg.get("debug"),
        "seed": cfg.seed,
        "split": cfg.split,
        "select": cfg.select,
        "data": {
            "fingerprint": print_of_data,
            "training": split_hash(config, "train"),
            "measured": split_hash(config, measured),
            "classes": list(data.classes),
            "images": None,
            "image_ids": None,
        },
        **code_and_machine(trainer.strategy.root_device),
        **_settings(data, trainer),
        "max_epochs": None if is_fitted(cfg) else trainer.max_epochs,
        "parameters": sum(parameter.numel() for parameter in module.detector.parameters()),
        **_operations(cfg, canvas),
        "metrics": None,
        "measured_epoch": None,
        "latency": None,
        "latency_missing": None,
        "started": now(),
        "ended": None,
        "earlier": [],
    }


def _said() -> dict[str, Any]:
    """What the words of the job chose."""
    job = HydraConfig.get()
    return {
        "words": said(),
        "model": job.runtime.choices.get("model"),
        "tricks": chosen("trick", words_of_job(), str(job.job.config_name)),
    }


def code_and_machine(device: torch.device) -> dict[str, Any]:
    """What `run.json` says of them for a run on the device."""
    told = environment()
    versions = {name: told[name] for name in ("python", "cuda", "cudnn")}
    return {
        "git_commit": told["git_commit"],
        "git_changes": told["git_changes"],
        "versions": {**versions, **told["packages"]},
        "device": device.type,
        "device_name": processor(device),
        "threads": torch.get_num_threads(),
        "host": platform.node(),
        "pid": os.getpid(),
    }


def _operations(cfg: DictConfig, canvas: tuple[int, int]) -> dict[str, Any]:
    """Those of the detector for one picture, or why they are not known."""
    if is_fitted(cfg):
        return {"flops": None, "flops_missing": "they depend on the picture"}
    return asked("flops", lambda: operations(sketch(cfg).eval(), *canvas)["all"])


def _settings(data: Any, trainer: Trainer) -> dict[str, Any]:
    """As they were resolved."""
    return {
        "devices": trainer.num_devices * trainer.num_nodes,
        "precision": trainer.precision,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "workers": data.data.num_workers,
        "batch_size": data.data.batch_size,
        "image_size": list(data.data.resize.canvas),
    }


def asked(what: str, call: Callable[[], Any]) -> dict[str, Any]:
    """What the call finds about a detector and one picture; null, with the reason, if it refuses.

    A detector need not work with one picture alone, and not every operation can be counted. What a
    training has found is not lost for that.

    Returns:
        The items `what` and `what_missing` of `run.json`.
    """
    try:
        return {what: call(), f"{what}_missing": None}
    except Exception as error:
        reason = " ".join(str(error).split())
        _log.warning("run.json has no %s, which cannot be found: %s", what, reason)
        return {what: None, f"{what}_missing": reason}


def _continued(facts: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The facts of a resumed run, with what the record of its life before says.

    Code that has changed since is recorded as it was then, so that the run is known to be stale. A
    run whose data have changed has a key of its own, which is that of no config.
    """
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # of a version of ours that wrote none
        return dict(facts)
    changed = {k: before[k] for k in CONDITIONS if k in before and before[k] != facts.get(k)}
    began, goes_on = (found["data"]["fingerprint"] for found in (before, facts))
    key = facts["key"]
    if began != goes_on:
        key = hashlib.sha256(f"{before['key']} {key}".encode()).hexdigest()[:16]
        _log.warning(
            "the files of the data are not those that this run began with (fingerprint %s, now "
            "%s), of pictures the times of writing count too. No study will take it for a run of "
            "either: bring them back, or start anew",
            *(began, goes_on),
        )
    return {
        **facts,
        "key": key,
        "code": before["code"],
        "started": before["started"],
        "earlier": [*before["earlier"], *([changed] if changed else [])],
    }


def _plain(metrics: Mapping[str, float]) -> dict[str, float]:
    """Without the name of the split."""
    return {name.partition("/")[2]: value for name, value in metrics.items()}

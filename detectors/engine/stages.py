"""Trainings one after the other in one run, each from weights and proposals of those before.

Each is a training like any other, with a folder of its own in that of the run. What is done is not
done again when the run goes on.
"""

import copy
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from torch import Tensor

from detectors.callbacks.costs import TRAINING
from detectors.config.compose import compose
from detectors.config.paths import key
from detectors.config.words import words_of_job
from detectors.engine.build import configured
from detectors.engine.first_stage import FILE, propose_all
from detectors.engine.record import FILE as RECORD
from detectors.engine.resume import resumed_from
from detectors.module import LitDetector
from detectors.weights.checkpoint import load_checkpoint, stored_weights

# Keys that the user may say for all stages, each of which has a value of its own.
SHARED = ("trainer.", "schedule.", "optimizer.", "warmup.", "data.batch_size")

Train = Callable[[DictConfig, Callable[[LitDetector], None]], float]

_log = logging.getLogger(__name__)


class PlannedStage(NamedTuple):
    """One training of several."""

    name: str  # also of its folder
    words: list[str]  # which it has beside those of the run
    after: str | None  # the stage from whose weights it starts; None: as any training does
    proposes: bool  # whether its first stage proposes for those that follow


def planned_stages(cfg: DictConfig) -> list[PlannedStage]:
    """The stages of a run in their order.

    Raises:
        ValueError: a stage has an unknown key, or comes after one that does not come before it.
    """
    nodes: Any = OmegaConf.to_container(cfg.stages, resolve=True)
    found: list[PlannedStage] = []
    for name, node in nodes.items():
        if unknown := set(node) - {*PlannedStage._fields} | set(node) & {"name"}:
            raise ValueError(f"stages.{name}.{min(unknown)}: a stage has words, after and proposes")
        after = node.get("after")
        if after is not None and after not in [stage.name for stage in found]:
            raise ValueError(f"stages.{name}.after={after}: no stage before it has this name")
        proposes = bool(node.get("proposes", False))
        found.append(PlannedStage(name, list(node.get("words", [])), after, proposes))
    return found


def check_run(cfg: DictConfig, stages: Sequence[PlannedStage]) -> None:
    """Refuse words that mean nothing for a run in stages, and a folder with those of another run.

    Raises:
        ValueError: names the word or the folder, and the reason.
    """
    places = [Path(cfg.run_dir) / stage.name for stage in stages]
    if cfg.ckpt_path is None and (begun := [place for place in places if _state(place)]):
        raise ValueError(
            f"{begun[0]} has a stage of an earlier run, which a later one would take for its own: "
            "go on with it by ckpt_path=last, or choose another hydra.run.dir"
        )
    if cfg.ckpt_path not in (None, "last"):
        raise ValueError(
            f"ckpt_path={cfg.ckpt_path}: a run in stages goes on where it was with ckpt_path=last "
            "and hydra.run.dir=FOLDER"
        )
    devices = OmegaConf.select(cfg, "trainer.devices")
    if devices not in (None, 1, "auto"):
        raise ValueError(f"trainer.devices={devices}: a run in stages takes one device")
    if cfg.weights is not None:
        raise ValueError(
            f"weights={cfg.weights}: the stages start from a backbone and from each other; give "
            "part.backbone.weights=FILE instead"
        )


def train_stages(
    cfg: DictConfig, stages: Sequence[PlannedStage], train: Train
) -> dict[str, Tensor]:
    """Train what is not trained yet; the weights of all stages together, later ones before earlier.

    Args:
        cfg: of the run.
        train: trains as a config says, given what sets its first weights.

    Raises:
        ValueError: a word of the run is also one of a stage, or a stage was trained otherwise.
    """
    words, folder = words_of_job(), Path(cfg.run_dir)
    said = {stage.name: _words(words, stage, folder / stage.name, cfg) for stage in stages}
    for stage in stages:  # what cannot be is refused before the first one is trained
        configured(said[stage.name], "train", _composed(said[stage.name]))
    weights: dict[str, dict[str, Tensor]] = {}
    for number, stage in enumerate(stages, start=1):
        place = folder / stage.name
        with _job_of(said[stage.name]):
            told = _fitted(stage, said[stage.name], place, weights, train)
        _log.info("stage %d of %d, %s: %s", number, len(stages), stage.name, told)
        weights[stage.name] = stored_weights(load_checkpoint(_last(place)))
    return {name: value for stage in stages for name, value in weights[stage.name].items()}


def _words(words: Sequence[str], stage: PlannedStage, place: Path, cfg: DictConfig) -> list[str]:
    """All words of a stage; those of the run come before its own where they may."""
    own = {key(word): word for word in stage.words}
    said = [word for word in words if key(word) not in ("ckpt_path", "run_dir")]
    for word in said:
        if key(word) in own and not key(word).startswith(SHARED):
            raise ValueError(f"{word}: the stage {stage.name} says {own[key(word)]}: leave it out")
    kept = [word for name, word in own.items() if name not in map(key, said)]
    going_on = cfg.ckpt_path == "last" and _last(place).is_file()
    resumed = [f"ckpt_path={_last(place)}"] if going_on else []
    return [*said, *kept, *resumed, f"run_dir={place}"]


def _composed(words: list[str]) -> DictConfig:
    """The config of a stage, by the null known for one."""
    cfg = compose(words, "train")
    with open_dict(cfg):
        cfg.stages = None
    return cfg


def _last(place: Path) -> Path:
    return place / "checkpoints" / "last.ckpt"


def _fitted(
    stage: PlannedStage,
    words: list[str],
    place: Path,
    weights: dict[str, dict[str, Tensor]],
    train: Train,
) -> str:
    """Do what is left of a stage; what it has come to."""
    cfg = _composed(words)
    done = cfg.ckpt_path is not None and _state(place) == "done"
    if done:
        resumed_from(configured(words, "train", cfg), place)  # refuses other words
    else:
        start = None if stage.after is None else weights[stage.after]
        train(cfg, lambda module: _take(module, start))
    told = [f"{'was done, ' * done}{_figures(place, measured=not stage.proposes)}"]
    if stage.proposes:
        told.append(propose_all(configured(words, "train", cfg), _last(place), place / FILE))
    return "; ".join(told)


def _take(module: LitDetector, weights: dict[str, Tensor] | None) -> None:
    """Put those weights in their places that the module has; others stay as they began."""
    if weights is not None:
        module.detector.load_state_dict(weights, strict=False)


def _state(place: Path) -> str | None:
    """How the stage's training ended; None: it never began."""
    file = place / RECORD
    return json.loads(file.read_text(encoding="utf-8"))["state"] if file.is_file() else None


def _figures(place: Path, measured: bool) -> str:
    """Steps and seconds of a training, and the first of its metrics if they mean something."""
    content = json.loads((place / RECORD).read_text(encoding="utf-8"))
    found = [(name, value) for name, value in content["metrics"].items() if value is not None]
    first = [f"{name} {value:.3f}" for name, value in found[: int(measured)]]
    return ", ".join([f"{content['steps']} steps", f"{content[TRAINING]:.0f} s", *first])


@contextmanager
def _job_of(words: list[str]) -> Iterator[None]:
    """Let the running Hydra job have these words, which its records tell of."""
    running: Any = HydraConfig.instance()
    before, changed = running.cfg, copy.deepcopy(running.cfg)
    OmegaConf.set_readonly(changed.hydra, None)
    with read_write(changed):
        changed.hydra.overrides.task = [word for word in words if not word.startswith("hydra.")]
    running.cfg = changed
    try:
        yield
    finally:
        running.cfg = before

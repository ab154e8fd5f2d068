"""Decides whether a run may go on from a checkpoint: only under the words it began with."""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from detectors.config.equivalence import defaults
from detectors.config.links import followed, found
from detectors.config.overrides import leaves
from detectors.data.sources.relabelled import check_same
from detectors.engine.checkpoint import training_file
from detectors.weights.checkpoint import load_checkpoint
from detectors.weights.container import SUFFIX
from detectors.weights.initial import BACKBONE, HUB, unread

# Keys, with all below them, that change no step of a training, nor which checkpoint is the best.
MAY_CHANGE = (
    *("ckpt_path", "run_dir", "trainer.default_root_dir"),
    *("weights", "weights_classes", BACKBONE, HUB),  # a resumed run reads none of them
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),  # how long it lasts
    "part.cfg",  # where the file was; part.network is what it says
    *("device", "trainer.device", "data.num_workers", "data.cache"),
    *("select", "split", "latency", "report", "fingerprint"),  # what is done at its end, and told
    *("logger", "trainer.log_every_n_steps", "trainer.num_sanity_val_steps"),
    *("trainer.checkpoint_minutes", "trainer.enable_progress_bar", "trainer.profiler"),
    *(
        f"callback.{name}"
        for name in ("best", "last", "nonfinite", "pictures", "progress", "table")
    ),
)
SHOWN = 4  # differences in a message
_LINK = re.compile(r"\$\{([\w.]+)\}")
_ABSENT = object()

_log = logging.getLogger(__name__)


class Resumed(NamedTuple):
    """The run that goes on."""

    file: Path
    classes: Sequence[str]  # names of its labels

    def check_classes(self, names: Sequence[str]) -> None:
        """Refuse data whose files have other classes by now, or the same in another order.

        Raises:
            ValueError: the difference.
        """
        check_same(self.classes, names, "the data")
        if list(names) != list(self.classes):
            raise ValueError(
                f"the data have the classes {list(names)}, but the run of {self.file} began with "
                f"{list(self.classes)}: bring them back into that order, or start anew with "
                f"weights={self.file}, which maps them by name"
            )


def resumed_from(cfg: DictConfig, folder: Path) -> Resumed | None:
    """The checkpoint to go on from, of a run with the same words; None: the run starts anew.

    What may differ is `MAY_CHANGE`, and the run goes on with what the config says now.

    Raises:
        ValueError: there is no such checkpoint, or other words differ; names them.
    """
    if cfg.ckpt_path is None:
        return None
    file = training_file(cfg.ckpt_path, folder)
    if file is None:
        return None
    if file.suffix == SUFFIX:
        raise ValueError(
            f"ckpt_path={file} holds weights, but not how far its run was: resume from a .ckpt, or "
            f"start anew from its weights with weights={file}"
        )
    checkpoint = load_checkpoint(file)
    differing = differences(cfg, checkpoint["config"])
    changed = {key: pair for key, pair in differing.items() if not _within(key, MAY_CHANGE)}
    if changed:
        raise ValueError(
            f"{file} is of a run with other words, and to go on it needs the same: "
            f"{told(changed)}. Take that back, or start anew, from its weights with weights={file}"
        )
    _log.info("resuming from %s", file)
    return Resumed(file, checkpoint["classes"])


def check_model(cfg: DictConfig, checkpoint: Mapping[str, Any], file: Path) -> None:
    """Refuse a checkpoint whose model is not the config's.

    Raises:
        ValueError: names what differs.
    """
    stored = followed(checkpoint["config"], "model")
    own: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if unread(stored) != unread(own):
        pairs = differences(cfg, checkpoint["config"])
        parts = {key: pair for key, pair in pairs.items() if _within(key, ("part", "model"))}
        raise ValueError(
            f"{file} holds another model than this config: {told(parts or pairs)}. Give the same "
            "overrides"
        )


def differences(cfg: DictConfig, stored: Any) -> dict[str, tuple[Any, Any]]:
    """Old and new values by the keys in which a stored config and this one differ.

    A key that only refers to another one which differs is left out, and so is one that the stored
    config lacks where it repeats the default of its constructor, and one of `part` through which
    nothing else differs: it is there only to be referred to, and may have stood elsewhere.
    """
    written: Any = OmegaConf.to_container(cfg, resolve=False)
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    new, old = dict(leaves(resolved)), dict(leaves(followed(stored)))
    pairs = {key: (old.get(key, _ABSENT), new.get(key, _ABSENT)) for key in {**old, **new}}
    differing = {
        key: pair
        for key, pair in pairs.items()
        if pair[0] != pair[1] and not (pair[0] is _ABSENT and _is_default(resolved, key, pair[1]))
    }
    shown = {key for key in differing if not _within(key, ("part",))}
    shown |= {origin for key in shown for origin in _origins(written, key)}
    return {
        key: pair
        for key, pair in differing.items()
        if key in shown and _origin(written, key) not in differing
    }


def _is_default(resolved: Any, key: str, value: Any) -> bool:
    """Whether a key says of a constructor what that would take anyway."""
    outer, _, last = key.rpartition(".")
    node = found(resolved, outer) if outer else {}
    return isinstance(node, Mapping) and defaults(node).get(last, _ABSENT) == value


def _origins(written: Any, key: str) -> Iterator[str]:
    """The key that a key refers to, the one that this refers to, and so on."""
    origin = _origin(written, key)
    while origin is not None:
        yield origin
        origin = _origin(written, origin)


def _origin(written: Any, key: str) -> str | None:
    """The key that a key refers to, itself or by a parent; None where it holds its own value."""
    node, names = written, key.split(".")
    for place, name in enumerate(names):
        node = node.get(name) if isinstance(node, Mapping) else None
        link = _LINK.fullmatch(node) if isinstance(node, str) else None
        if link:
            return ".".join([link[1], *names[place + 1 :]])
    return None


def told(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """`optimizer.lr was 0.01 and is 0.5` for each."""
    lines = [f"{key} was {_value(old)} and is {_value(new)}" for key, (old, new) in changed.items()]
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "; ".join([*lines[:SHOWN], *more])


def _value(value: Any) -> str:
    return "not there" if value is _ABSENT else str(value)


def _within(key: str, keys: Collection[str]) -> bool:
    return any(f"{key}.".startswith(f"{outer}.") for outer in keys)

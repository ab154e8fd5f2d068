"""Asks Optuna what to try next and tells it what was found, in a file that survives any kill.

What a trial tries is a function of the sampler's seed, of its number and of the trials that have
ended. So a search of one job at a time repeats, also where it was killed between.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from detectors.studies.search.space import Options, Range, Search, Value

if TYPE_CHECKING:
    import optuna

FILE = "search.db"


class Ended(NamedTuple):
    """One trial, as it stands."""

    number: int
    state: str  # complete, pruned, failed, open
    value: float | None  # of the measured weights, or of the epoch after which it was stopped
    epochs: Mapping[int, float]  # the metric by epoch, the first being 1
    values: Mapping[str, Value]
    reason: str
    key: str | None  # of its run; None where its words were refused


class Trials:
    """The trials of one search."""

    def __init__(self, search: Search, folder: Path, threads: int) -> None:
        """Begin the search in the folder, or go on with it.

        Raises:
            ValueError: Optuna is not installed, or the folder has another search.
        """
        try:
            import optuna
        except ImportError as error:
            raise ValueError(
                "detectors search needs optuna: pip install 'lightning-detectors[search]'"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self.search = optuna, search
        self._passed: set[tuple[int, int]] = set()  # numbers of trials, and epochs they went beyond
        file = (folder / FILE).absolute()
        if not file.exists():
            self._make(file)
        self.study = optuna.load_study(study_name="search", storage=f"sqlite:///{file}")
        self._check_same({**search.identity(), "threads": threads}, folder)

    def _make(self, file: Path) -> None:
        """Make the file whole or not at all."""
        beside = file.with_name(f".{file.name}.part")
        beside.unlink(missing_ok=True)
        storage = self._optuna.storages.RDBStorage(f"sqlite:///{beside}")
        self._optuna.create_study(storage=storage, study_name="search", direction="maximize")
        storage.remove_session()
        storage.engine.dispose()
        os.replace(beside, file)

    def _check_same(self, identity: Mapping[str, Any], folder: Path) -> None:
        now = json.loads(json.dumps(identity))
        before = self.study.user_attrs.get("search")
        if before is None or not self.count():  # nothing was tried of what was said before
            self.study.set_user_attr("search", now)
        elif differing := [name for name in now if now[name] != before.get(name)]:
            name = differing[0]
            raise ValueError(
                f"{folder} has a search with {name} {before.get(name)}, and this one has "
                f"{now[name]}: take that back, or begin anew with another search.name or folder"
            )

    def open(self) -> "list[optuna.Trial]":
        """Trials that have not ended, those that a kill has left half asked filled up."""
        states = (self._optuna.trial.TrialState.RUNNING,)
        found = self.study.get_trials(deepcopy=False, states=states)
        return [self._filled(self._optuna.Trial(self.study, trial._trial_id)) for trial in found]

    def ask(self) -> "optuna.Trial":
        """The next trial."""
        return self._filled(self.study.ask())

    def count(self) -> int:
        """Trials that were asked for so far."""
        return len(self.study.get_trials(deepcopy=False))

    def _filled(self, trial: "optuna.Trial") -> "optuna.Trial":
        for name, options in self.search.space.items():
            self.study.sampler = self._sampler(trial.number, name)
            _suggest(trial, name, options)
        return trial

    def _sampler(self, number: int, name: str) -> "optuna.samplers.BaseSampler":
        """One whose draws do not depend on what this process has drawn before."""
        told = f"{self.search.sampler_seed}/{number}/{name}"
        seed = int(hashlib.sha256(told.encode()).hexdigest()[:8], 16)
        if self.search.sampler == "random":
            return self._optuna.samplers.RandomSampler(seed)
        return self._optuna.samplers.TPESampler(
            n_startup_trials=self.search.startup, seed=seed, multivariate=False
        )

    def report(self, trial: "optuna.Trial", epochs: Mapping[int, float]) -> str:
        """Note the metric of the epochs so far; why the trial is to be stopped, or nothing.

        Epochs are judged once and in their order, however many have passed at once.
        """
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        before = 0
        for epoch, value in sorted(epochs.items()):
            if epoch not in known:
                trial.report(value, epoch)
            if (trial.number, epoch) not in self._passed:
                if reason := self._worse(trial.number, before, epoch, value):
                    return reason
                self._passed.add((trial.number, epoch))
            before = epoch
        return ""

    def _worse(self, number: int, before: int, epoch: int, value: float) -> str:
        """That the trial is not among the best 1/keep of those that have come to this epoch.

        Asked after first, first x keep, first x keep^2, ... epochs, or at the first validation from
        there on; the best always goes on. ASHA (Li et al. 2020, A system for massively parallel
        hyperparameter tuning, Alg. 2) in the form that stops trials instead of pausing them.

        Args:
            before: the epoch of the validation before this one.
        """
        prune = self.search.prune
        if prune is None or all(e <= before for e in rungs(prune["first"], prune["keep"], epoch)):
            return ""
        others = [
            trial.intermediate_values[epoch]
            for trial in self.study.get_trials(deepcopy=False)
            if epoch in trial.intermediate_values and trial.number != number
        ]
        kept = max(1, (len(others) + 1) // prune["keep"])
        if sum(other > value for other in others) < kept:
            return ""
        return f"not among the best {kept} of {len(others) + 1} after epoch {epoch}"

    def complete(self, trial: "optuna.Trial", value: float) -> None:
        """End a trial that has trained to its end."""
        self.study.tell(trial.number, value)

    def stop(self, trial: "optuna.Trial", reason: str) -> None:
        """End a trial that is not worth its training, or has diverged: others avoid its words."""
        trial.set_user_attr("reason", reason)
        self.study.tell(trial.number, state=self._optuna.trial.TrialState.PRUNED)

    def fail(self, trial: "optuna.Trial", reason: str) -> None:
        """End a trial that tells nothing of its words."""
        trial.set_user_attr("reason", reason)
        self.study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)

    def all(self) -> list[Ended]:
        """Every trial by number."""
        names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        return [
            Ended(
                trial.number,
                names.get(trial.state.name, "open"),
                trial.value if trial.state.name in ("COMPLETE", "PRUNED") else None,
                dict(sorted(trial.intermediate_values.items())),
                dict(trial.params),
                str(trial.user_attrs.get("reason", "")),
                trial.user_attrs.get("key"),
            )
            for trial in self.study.get_trials(deepcopy=False)
        ]

    def best(self) -> Ended | None:
        """The complete trial of the highest value, the first of several."""
        complete = [trial for trial in self.all() if trial.state == "complete"]
        return max(complete, key=lambda trial: trial.value or 0.0, default=None)


def rungs(first: int, keep: int, last: int) -> Iterator[int]:
    """Epochs after which trials are compared, as far as `last`."""
    epoch = first
    while epoch <= last:
        yield epoch
        epoch *= keep


def _suggest(trial: "optuna.Trial", name: str, options: Options) -> None:
    if not isinstance(options, Range):
        trial.suggest_categorical(name, options)
    elif options.whole:
        step = int(options.step or 1)
        trial.suggest_int(name, int(options.low), int(options.high), log=options.log, step=step)
    else:
        trial.suggest_float(name, options.low, options.high, log=options.log, step=options.step)


def luck(count: int) -> float:
    """Expected largest of `count` draws from a normal distribution, in standard deviations.

    The integral of x count phi(x) Phi(x)^(count - 1) by the trapezoidal rule.
    """
    step, points = 0.001, range(-8000, 8001)
    density = (math.exp(-((i * step) ** 2) / 2) / math.sqrt(2 * math.pi) for i in points)
    below = ((1 + math.erf(i * step / math.sqrt(2))) / 2 for i in points)
    pairs = zip(points, density, below, strict=True)
    return step * sum(i * step * count * d * b ** (count - 1) for i, d, b in pairs)

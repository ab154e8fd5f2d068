"""Trains the trials of a search, stops those that are not worth it, and tells what they found."""

import contextlib
import csv
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from detectors.config.spelling import unknown_choice
from detectors.config.suggestions import composed
from detectors.studies import claims
from detectors.studies.design import Cell
from detectors.studies.execute import PAUSE, Runner, halt
from detectors.studies.keys import check_result, fingerprint, resolved, run_key
from detectors.studies.search.space import Range, Search
from detectors.studies.search.trials import Trials
from detectors.studies.store import Run

if TYPE_CHECKING:
    import optuna

LOOK = 1.0  # seconds between two looks at what trials have found
CLAIM = "search.claim"  # in the folder of a search, while it runs


class Searcher:
    """Goes on with a search until it has all its trials."""

    def __init__(
        self,
        search: Search,
        trials: Trials,
        runner: Runner,
        directories: Sequence[str] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        """Make one; nothing is started.

        Args:
            directories: words that name folders of configs of the user's.
            say: shows a line of progress.
        """
        self.search, self.trials, self.runner, self.say = search, trials, runner, say
        self.directories = tuple(directories)
        self._open: dict[Cell, optuna.Trial] = {}
        self._halted: dict[Cell, str] = {}  # why a run that goes on was told to stop

    def work(self, beat: Callable[[], None]) -> None:
        """Run the search to its end.

        Args:
            beat: of the claim on its folder; called often.
        """
        try:
            for trial in self.trials.open():
                self._take(trial)
            look = 0.0
            while self._open or self._may_ask():
                beat()
                if self.runner.reap() or time.monotonic() >= look:
                    self._turn()
                    look = time.monotonic() + LOOK
                if self.runner.late and not self.runner.going:
                    return
                time.sleep(PAUSE)
        finally:
            self.runner.stop()

    def _may_ask(self) -> bool:
        return not self.runner.late and self.trials.count() < self.search.trials

    def _turn(self) -> None:
        """Tell what has ended, and fill the free slots."""
        for cell in list(self._open):
            self._look(cell)
        while self._may_ask() and len(self._open) < self.runner.executor.slots:
            self._take(self.trials.ask())
        self.runner.fill(list(self._open))

    def _take(self, trial: "optuna.Trial") -> None:
        """Go on with a trial, whose words may turn out to be refused."""
        words = self.search.words(trial.params)
        try:
            key = self._key(words)
        except ValueError as error:
            self._end(trial, f"refused: {' '.join(str(error).split())}", self.trials.fail)
            return
        trial.set_user_attr("key", key)
        cell = Cell(f"trial {trial.number}", self.search.seed, words, key)
        self._open[cell] = trial
        self.say(f"trial {trial.number}: {' '.join(self.search.chosen(trial.params))} ({key})")
        self._look(cell)

    def _key(self, words: Sequence[str]) -> str:
        config = resolved(self._composed(words))
        check_result(config)
        return run_key(config, fingerprint(config))

    def _composed(self, words: Sequence[str]) -> DictConfig:
        return composed([*self.directories, *words])

    def has_test(self) -> bool:
        """Whether the data have a test split; what no trial could be made of is refused here.

        Raises:
            ValueError: names the word, and the reason.
        """
        for name, options in self.search.space.items():
            words = [] if isinstance(options, Range) else [f"{name}={one}" for one in options]
            if told := unknown_choice([*self.directories, *words]):
                raise ValueError(f"search.space: {told}")
        return self._composed(self.search.words(self.search.first())).data.get("test") is not None

    def _look(self, cell: Cell) -> None:
        """Tell what a trial has found so far, and whether that is its end."""
        trial, run = self._open[cell], self.runner.store.run(cell.key)
        reason = self._halted.get(cell) or self.trials.report(trial, self._epochs(run))
        going = cell in self.runner.going
        if reason and going:
            if cell not in self._halted:
                self._halted[cell] = reason
                halt(run.folder)
            return
        if going or (not reason and self.runner.open(cell)):
            return
        del self._open[cell]
        if reason:
            self._end(trial, reason, self.trials.stop)
        elif run.state == "done":
            self._complete(trial, run)
        elif run.state == "diverged":
            self._end(trial, f"diverged: {run.reason}", self.trials.stop)
        else:
            self._end(trial, f"{run.state}: {run.reason}", self.trials.fail)

    def _epochs(self, run: Run) -> dict[int, float]:
        """The metric by epoch; none of a run of other code, which is trained anew."""
        if self.runner.store.outdated(run.record):
            return {}
        return epochs_of(run.folder, self.search.metric)

    def _complete(self, trial: "optuna.Trial", run: Run) -> None:
        value = run.record["metrics"].get(self.search.metric)
        if value is None or value < 0:
            raise ValueError(
                f"search.metric: {self.search.metric} is not defined on the validation pictures "
                f"of {run.folder}: choose another"
            )
        self.trials.complete(trial, value)
        best = self.trials.best()
        assert best is not None
        told = f"{self.search.metric} {100 * value:.1f}"
        self.say(f"trial {trial.number}: {told}; the best is trial {best.number}")

    def _end(
        self, trial: "optuna.Trial", reason: str, end: "Callable[[optuna.Trial, str], None]"
    ) -> None:
        end(trial, reason)
        self.say(f"trial {trial.number}: {reason}")


def epochs_of(folder: Path, metric: str) -> dict[int, float]:
    """The metric on the validation pictures by epoch of a run, the first being 1.

    Read from `metrics.csv`; epochs without a validation are not there.
    """
    file, name = folder / "metrics.csv", f"val/{metric}"
    with contextlib.suppress(FileNotFoundError), file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
        return {int(row["epoch"]) + 1: float(row[name]) for row in rows if row.get(name)}
    return {}


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Callable[[], None]]:
    """The search of a folder for this process; call what is given often, so that others know.

    A process of another machine that has it is watched for its heartbeat before this one gives up.

    Raises:
        ValueError: another process has it.
    """
    file = folder / CLAIM
    watch, since = claims.Watch(), time.monotonic()
    claim = claims.take(file, watch)
    holder = claims.read(file)
    if claim is None and holder is not None and holder.host != socket.gethostname():
        print(f"{folder}: is it still searched on {holder.host}? waiting {claims.STILL:.0f} s")
        while claim is None and time.monotonic() - since < claims.STILL + claims.BEAT:
            time.sleep(LOOK)
            claim = claims.take(file, watch)
            beaten = claims.read(file)
            if beaten is not None and beaten.beat != holder.beat:
                break
    if claim is None:
        raise ValueError(f"{folder}: another process runs this search; wait, or end it first")
    heard = time.monotonic()

    def beat() -> None:
        nonlocal claim, heard
        if claim is not None and time.monotonic() - heard >= claims.BEAT:
            claim, heard = claims.beat(file, claim), time.monotonic()
            if claim is None:
                raise ValueError(f"{folder}: this process stood still, another runs it now")

    try:
        yield beat
    finally:
        if claim is not None:
            claims.release(file, claim)

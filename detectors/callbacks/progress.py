"""Shows the progress of a run in a terminal or a log."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from detectors.ranges import Count

SECONDS = 20  # from one line to the next where there is no terminal
T = TypeVar("T")


class Steps:
    """One bar after the other in a terminal; elsewhere lines, of which few are written.

    Args:
        console: where they are shown.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.task: Any = None
        self.name, self.said = "", 0.0  # said: when a line was written
        self.total: float | None = None

    def open(self, name: str, total: float | None) -> None:
        """Begin a bar or lines; the total is None where it is unknown."""
        self.close()
        self.name, self.total, self.said = name, total, time.monotonic()
        if self.console.is_terminal:
            self.bar = batch_bar(self.console)
            self.bar.start()
            self.task = self.bar.add_task(name, total=total, text="")

    def due(self) -> bool:
        """Whether something is to be shown: always on a bar, a line after some seconds."""
        return self.bar is not None or time.monotonic() - self.said >= SECONDS

    def show(self, done: int, text: str = "") -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=done, text=text)
            return
        self.said = time.monotonic()
        total = "" if self.total is None else f"/{self.total:g}"
        line = f"{self.name}  {done}{total}  {text}".rstrip()
        self.console.print(line, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        self.bar = None


def tracked(
    items: Iterable[T], name: str, console: Console | None = None, total: float | None = None
) -> Iterator[T]:
    """The items, with a bar or lines about how many are done.

    Args:
        name: what is done.
        console: where it is shown; None: standard error.
        total: how many there will be; None: the length of `items` if it has one, else unknown.
    """
    steps = Steps(console or Console(file=sys.stderr))
    steps.open(name, len(items) if total is None and isinstance(items, Sized) else total)
    try:
        for done, item in enumerate(items, 1):
            yield item
            if steps.due():
                steps.show(done)
    finally:
        steps.close()


class EpochProgress(ProgressBar):
    """A bar for each epoch with the losses and the last AP; lines where there is no terminal.

    Such a line comes at the end of an epoch, and within one and in evaluations at least every half
    minute if a step takes less than ten seconds.

    It uses Lightning's callback hooks, which are stable, and none of its progress classes. The
    losses are fetched from the device every `every` steps.
    """

    def __init__(self, every: Count = 10, shown: str = "val/AP") -> None:
        super().__init__()
        self.every, self.shown = every, shown
        self.steps = Steps(Console(file=sys.stderr))

    def disable(self) -> None:
        self.every = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(epoch_name(trainer), trainer.num_training_batches)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._due() and (self.steps.bar is None or (batch_idx + 1) % self.every == 0):
            losses = {name: float(value) for name, value in outputs["terms"].items()}
            text = describe({"loss": sum(losses.values()), **losses}, self._last(trainer))
            self.steps.show(batch_idx + 1, text)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps.close()
        if self._shown():
            self.steps.console.print(self._line(trainer), highlight=False, soft_wrap=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open("validation", sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._due():
            self.steps.show(batch_idx + 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps.close()
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._open(epoch_name(trainer), trainer.num_training_batches)  # the epoch goes on

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open("test", sum(trainer.num_test_batches))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._due():
            self.steps.show(batch_idx + 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.steps.close()

    def _open(self, name: str, steps: float) -> None:
        if self._shown():
            self.steps.open(name, steps)

    def _shown(self) -> bool:
        return bool(self.every) and self.trainer.is_global_zero

    def _due(self) -> bool:
        return self._shown() and self.steps.due()

    def _last(self, trainer: Trainer) -> dict[str, float]:
        value = trainer.callback_metrics.get(self.shown)
        return {} if value is None else {self.shown: float(value)}

    def _line(self, trainer: Trainer) -> str:
        known = trainer.callback_metrics.items()
        losses = {n[6:]: float(v) for n, v in known if _is_mean_loss(n)}
        text = describe(losses, self._last(trainer))
        return f"{epoch_name(trainer)}  {text}"


def batch_bar(console: Console) -> Progress:
    """A bar with name, count, time left and a text; it vanishes when it stops."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        transient=True,
    )


def epoch_name(trainer: Trainer) -> str:
    """`epoch 3/20`, or `epoch 3` where the number of steps ends the run."""
    last = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}" + (f"/{last}" if last not in (None, -1) else "")


def describe(losses: dict[str, float], metrics: dict[str, float]) -> str:
    """`loss 1.234  box 0.5  val/AP 0.312`."""
    return "  ".join(f"{name} {value:.4g}" for name, value in {**losses, **metrics}.items())


def _is_mean_loss(name: str) -> bool:
    ours = name.startswith("train/") and name != "train/lr"
    return ours and not name.endswith(("_step", "_epoch"))

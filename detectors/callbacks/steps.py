"""Writes a table with a row for every logged step, which a resumed run goes on with."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from detectors.files import whole_file


class StepsTable(Logger):
    """Writes `steps.csv`: a row for every time that something is logged, with its step.

    A resumed run repeats the steps after its checkpoint, so the rows that stand from its first one
    on are dropped. Each row is in the file at once: a run that is killed loses none that its
    checkpoint counts as done. In one step several rows may be logged, such as losses and the
    metrics of a validation; they are told apart by their columns.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.file = Path(folder) / "steps.csv"
        self.columns: list[str] = []  # none until a row is logged

    @property
    def name(self) -> str:
        return "steps"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.file.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Nothing: `config.yaml` of the run folder has them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row; the first of a resumed run drops what it will log again."""
        assert step is not None  # Lightning's trainer always says it
        row: dict[str, Any] = {"step": step, **metrics}
        first = not self.columns
        rows = self._before(row) if first else []
        new = [name for name in row if name not in self.columns]
        if first or new:
            rows = rows if first else self._rows()
            self.columns = [*self.columns, *new]
            self._write([*rows, row])
        else:
            with self.file.open("a", encoding="utf-8", newline="") as file:
                file.write(self._lines([row]))

    def _rows(self) -> list[dict[str, str]]:
        """Of the file; of a process that was killed, the last line may have no end."""
        text = self.file.read_text(encoding="utf-8") if self.file.is_file() else ""
        lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        reader = csv.DictReader(lines)
        rows = list(reader)
        self.columns = list(reader.fieldnames or [])
        return rows

    def _before(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """The rows that were logged before this one is."""
        rows = self._rows()
        for place, old in enumerate(rows):
            named = {name for name, value in old.items() if value}
            if int(old["step"]) > row["step"] or (
                int(old["step"]) == row["step"] and named == set(row)
            ):
                return rows[:place]
        return rows

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.file) as file:
            csv.writer(file, lineterminator="\n").writerow(self.columns)
            file.write(self._lines(rows))

    def _lines(self, rows: list[dict[str, Any]]) -> str:
        lines = io.StringIO()
        csv.DictWriter(lines, self.columns, lineterminator="\n").writerows(rows)
        return lines.getvalue()

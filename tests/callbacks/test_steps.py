"""The table of steps holds each once, whatever stopped the run in between."""

from pathlib import Path

from detectors.callbacks.steps import StepsTable

LOGGED: list[tuple[int, dict[str, float]]] = [
    (0, {"epoch": 0, "train/loss_step": 4.0}),
    (1, {"epoch": 0, "train/loss_step": 3.5}),
    (1, {"epoch": 0, "train/loss_step": 3.25}),  # of the second half of an accumulated step
    (1, {"epoch": 0, "val/AP": 0.1}),
    (1, {"epoch": 0, "train/loss": 3.6}),
    (2, {"epoch": 1, "train/loss_step": 2.0}),
    (3, {"epoch": 1, "train/loss_step": 1.5}),
    (3, {"epoch": 1, "val/AP": 0.2}),
    (3, {"epoch": 1, "train/loss": 1.75}),
    (4, {"epoch": 2, "val/AP": 0.2}),  # the best, once more
]


def log(folder: Path, rows: list[tuple[int, dict[str, float]]]) -> str:
    table = StepsTable(str(folder))
    for step, metrics in rows:
        table.log_metrics(metrics, step)
    return (folder / "steps.csv").read_text()


def test_a_resumed_run_goes_on_with_the_table(tmp_path: Path) -> None:
    whole = log(tmp_path, LOGGED)
    assert whole.splitlines()[0] == "step,epoch,train/loss_step,val/AP,train/loss"
    assert len(whole.splitlines()) == 1 + len(LOGGED)
    for stopped in range(1, len(LOGGED) + 1):
        for resumed in set(range(stopped + 1)) - {2}:  # no run goes on within a step
            folder = tmp_path / f"{stopped} {resumed}"
            log(folder, LOGGED[:stopped])
            assert resumed == len(LOGGED) or log(folder, LOGGED[resumed:]) == whole


def test_a_line_that_was_cut_is_dropped(tmp_path: Path) -> None:
    whole = log(tmp_path, LOGGED)
    (tmp_path / "steps.csv").write_text(whole[:-3])
    assert log(tmp_path, LOGGED[9:]) == whole


def test_a_longer_run_keeps_what_was_measured_at_the_first_end(tmp_path: Path) -> None:
    whole = log(tmp_path, LOGGED)
    longer = log(tmp_path, [(4, {"epoch": 2, "train/loss_step": 1.0})])
    assert longer == f"{whole}4,2,1.0,,\n"

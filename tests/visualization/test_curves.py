"""The curves of a run: every logged step, on an axis of epochs from 0 on."""

import csv
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from detectors.visualization.curves import draw, losses, position, read_curves, score

matplotlib.use("Agg")
from matplotlib import pyplot


def table(file: Path, rows: list[dict]) -> None:
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(dict.fromkeys(n for row in rows for n in row)))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two epochs of four steps, every second step logged, as the logger counts: from 0."""
    steps = [{"step": step, "epoch": step // 4, "train/loss_step": 2.0} for step in (1, 3, 5, 7)]
    table(tmp_path / "steps.csv", steps)
    epochs = [{"epoch": e, "step": 4 * (e + 1), "train/loss": 2, "val/AP": e} for e in (0, 1)]
    table(tmp_path / "metrics.csv", epochs)
    return tmp_path


def test_every_logged_step_is_a_point_on_an_axis_of_epochs_from_zero(folder: Path) -> None:
    steps, epochs = read_curves(folder)
    places, unit = position(steps, epochs)
    np.testing.assert_allclose(places, [0.5, 1.0, 1.5, 2.0])
    assert unit == "epoch"


def test_steps_after_the_last_finished_epoch_go_on_at_its_pace(folder: Path) -> None:
    steps, epochs = read_curves(folder)
    places, _ = position(steps, epochs[:1])
    np.testing.assert_allclose(places, [0.5, 1.0, 1.5, 2.0])


def test_without_a_finished_epoch_the_axis_counts_steps(folder: Path) -> None:
    (folder / "metrics.csv").unlink()
    steps, epochs = read_curves(folder)
    places, unit = position(steps, epochs)
    np.testing.assert_allclose(places, [2, 4, 6, 8])
    assert unit == "step"


def test_a_run_without_a_table_of_epochs_has_them_from_its_steps(folder: Path) -> None:
    (folder / "metrics.csv").unlink()
    rows = [{"step": 3, "epoch": 0, "train/loss_step": 1.0, "val/AP": ""}]
    table(folder / "steps.csv", [*rows, {"step": 3, "epoch": 0, "val/AP": 0.25}])
    steps, epochs = read_curves(folder)
    assert position(steps, epochs)[0].tolist() == [1.0, 1.0]
    assert [row["val/AP"] for row in epochs] == [0.25]


def test_of_a_loss_by_step_and_by_epoch_the_one_by_step_is_shown(folder: Path) -> None:
    rows = [{"train/box": 1.0, "train/lr": 1, "train/box_step": 2.0, "train/loss_step": 3.0}]
    assert losses(rows) == ["train/loss_step", "train/box_step"]
    assert losses([{"train/box": 1.0, "train/loss": 3.0}]) == ["train/loss", "train/box"]


def test_a_score_of_one_is_not_hidden_by_the_frame() -> None:
    figure, axes = pyplot.subplots()
    score(axes, [{"epoch": 0, "step": 1, "val/AP50": 1.0}], "val/AP50", color="black")
    (line,) = axes.lines
    assert axes.get_ylim() == (0, 1)
    assert not line.get_clip_on()
    assert axes.get_xlim()[0] == 0
    pyplot.close(figure)


def test_a_score_that_is_never_defined_draws_nothing() -> None:
    figure, axes = pyplot.subplots()
    score(axes, [{"epoch": 0, "step": 1, "val/APs": -1.0}], "val/APs", color="black")
    assert not axes.lines  # an empty line has no extent, which spoils the layout
    pyplot.close(figure)


def test_a_longer_curve_widens_the_axis() -> None:
    """What is not clipped would lie outside."""
    figure, axes = pyplot.subplots()
    for epochs in (1, 5):
        rows = [{"epoch": e, "step": e, "val/AP": 0.5} for e in range(epochs)]
        score(axes, rows, "val/AP", color="black")
    assert axes.get_xlim()[1] >= 5
    pyplot.close(figure)


def test_a_line_that_a_kill_cut_off_is_left_out(folder: Path) -> None:
    with (folder / "steps.csv").open("a") as file:
        file.write("9,2,1.")
    assert len(read_curves(folder).steps) == 4


def test_a_table_of_words_is_refused_by_name(folder: Path) -> None:
    (folder / "metrics.csv").write_text("epoch,step\n0,many\n")
    with pytest.raises(ValueError, match=r"metrics\.csv is no table"):
        read_curves(folder)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"epoch": 0, "step": 9, "train/loss": 2.0}],
        [{"epoch": 0, "step": 9, "train/loss_step": 2.0, "train/box_step": ""}],
        [{"epoch": 0, "step": 9, "train/loss": "nan", "val/AP": -1.0}],
        [
            {"epoch": 0, "step": 9, "train/loss": 2.0, "train/lr": 0.1, "val/AP": ""},
            {"epoch": 0, "step": 10, "train/loss": "", "train/lr": "", "val/AP": 0.3},
        ],
    ],
)
def test_curves_of_any_sparse_table(rows: list[dict], tmp_path: Path) -> None:
    table(tmp_path / "metrics.csv", rows)
    draw(tmp_path, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").width > 1000

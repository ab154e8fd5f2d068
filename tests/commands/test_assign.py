"""The sheet and table of assignments tell what the heads train."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detectors.structures import Assignment, Pairs
from detectors.visualization.assignment import Level, counts, levels
from detectors.visualization.assignment_pictures import level_picture
from tests.examples import FAMILIES, assignable_rows, random_targets, shapes

PRIORS = shapes([8, 16], [[(8.0, 12.0)], [(30.0, 20.0), (16.0, 16.0)]])
COUNT = PRIORS.boxes.shape[1]
WORDS = ["size=small", "image_size=128", "device=cpu", "data=scenes_easy"]


def assigned_at_random(rows: int, valid: torch.Tensor) -> Assignment:
    """Two images; only objects that are `valid` [2, M] are matched."""
    positive = torch.rand(2, COUNT) < 0.4
    matched = torch.multinomial(valid.float(), COUNT, replacement=True)
    ignored = (torch.rand(2, COUNT) < 0.3) & ~positive
    return Assignment(matched * positive, positive, ignored)


def test_counts_equal_naive_ones() -> None:
    torch.manual_seed(0)
    objects = random_targets(2, 8, 3)
    found = assigned_at_random(8, objects.valid & ~objects.ignore)
    pictures = [levels(PRIORS, found, image) for image in range(2)]
    bounds = [(0, PRIORS.level_sizes[0]), (PRIORS.level_sizes[0], COUNT), (0, COUNT)]
    for (start, end), count in zip(bounds, counts(pictures, objects), strict=True):
        per_object = [
            sum(
                bool(found.positive[image, n]) and int(found.matched[image, n]) == row
                for n in range(start, end)
            )
            for image in range(2)
            for row in assignable_rows(objects, image)
        ]
        assert count.per_object.tolist() == per_object
        assert count.ignored == int(found.ignored[:, start:end].sum())
        assert count.priors == 2 * (end - start)


def test_a_prior_of_several_pairs_counts_for_each_object() -> None:
    """Object 0 has the priors 5 and 70, object 1 the prior 5, object 2 none."""
    prior = torch.tensor([[5, 9, 70, 5, 0]])
    row = torch.tensor([[1, 0, 0, 0, 2]])
    weight = torch.tensor([[0.5, 0.0, 1.0, 1.0, 0.0]])
    positive = torch.zeros(1, COUNT, dtype=torch.bool)
    positive[0, [5, 70]] = True
    paired = Pairs(prior, row, torch.zeros(1, 5, 4), weight)
    found = Assignment(positive.long() * 0, positive, ~positive & False, pairs=paired)
    fine, coarse = levels(PRIORS, found, 0)
    assert (fine.prior.tolist(), fine.owner.tolist()) == ([5, 5], [1, 0])
    assert (coarse.prior.tolist(), coarse.owner.tolist()) == ([70 - 64], [0])


def test_points_are_dots_and_boxes_are_boxes() -> None:
    """On a white picture of 480 pixels, in the colour of object 0: hue 0."""
    image = np.full((480, 480, 3), 255, np.uint8)
    boxes = np.array([[100.0, 100, 116, 116], [300, 300, 340, 360]], np.float32)
    nothing = np.zeros(2, bool)
    level = Level(16, boxes, np.array([0, 1]), np.array([0, 0]), nothing, np.zeros(2, np.float32))
    picture = level_picture(image, np.zeros((1, 4)), np.array([], int), level, "name")[48:]
    red = (picture == picture[108, 108]).all(-1)
    assert red[108, 108]
    assert red[330, 320]
    assert red[300, 300:340].all()
    assert not red[100, 100:116].any()


def test_assigners_are_laid_below_each_other(
    detectors: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = [
        "model=fcos",
        *WORDS,
        "count=2",
        "compare=[center_sampling,sim_ota]",
        "file=a/sheet.png",
    ]
    detectors(tmp_path, "assign", *words)
    with Image.open(tmp_path / "a" / "sheet.png") as sheet:
        assert sheet.size == (5 * (4 * 128 + 6), 2 * 2 * (48 + 4 * 128 + 6))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    named = [row[1] for row in rows if len(row) > 1 and row[1] in ("center_sampling", "sim_ota")]
    assert named == ["center_sampling"] * 6 + ["sim_ota"] * 6


@pytest.mark.parametrize(
    ("word", "told"), [("compare=[max_iou,atsss]", "best_shape"), ("count=0", "count: found 0")]
)
def test_what_cannot_be_drawn_is_refused(
    detectors: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    word: str,
    told: str,
) -> None:
    """A name that no file of conf/assigner has, with those there are."""
    with pytest.raises(SystemExit):
        detectors(tmp_path, "assign", *WORDS, word)
    assert told in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"fast_rcnn"}))
def test_every_family_is_drawn(
    detectors: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    family: str,
) -> None:
    one = ["data.objects=largest"] * (family == "localizer")  # which refuses several
    words = [f"model={family}", *WORDS, *one, "count=2", "hydra.run.dir=out"]
    detectors(tmp_path, "assign", *words)
    assert (tmp_path / "out" / "assign.png").is_file()
    assert " all " in capsys.readouterr().out

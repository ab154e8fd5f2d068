"""Every assigner of `conf/assigner` keeps the contract."""

from pathlib import Path
from typing import cast

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

import detectors
from detectors.assigners.inside import within
from detectors.ops.selection import gather_rows
from detectors.structures import Assignment, Predictions, Targets
from tests.examples import files, predictions, random_boxes, random_targets, shapes, targets

CLASSES = 3
CONF = Path(detectors.__file__).parents[1] / "conf"
CONFIGS = files("assigner")
PRIORS = shapes([8], [[(16.0, 12.0), (24.0, 30.0)]])
COUNT = PRIORS.boxes.shape[1]


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def assigner(request) -> nn.Module:
    """Samplers of these configs take all there is of the few priors here."""
    parts = {"assigner": request.param, "score": CONF / "score/class.yaml"}  # some rank by it
    cfg = OmegaConf.create({"part": {slot: loaded(path) for slot, path in parts.items()}})
    return instantiate(cfg.part.assigner, _convert_="all")


def loaded(path: Path) -> DictConfig:
    """The node of a file, over those of the files that it builds on."""
    node = cast(DictConfig, OmegaConf.load(path))
    names = [name for name in node.pop("defaults", []) if name != "_self_"]
    return cast(DictConfig, OmegaConf.merge(*(loaded(path.with_stem(n)) for n in names), node))


@pytest.fixture
def guess() -> tuple[Predictions, Tensor]:
    """Predictions of two images and what they decode to."""
    return predictions(PRIORS, 2, CLASSES), random_boxes(2, COUNT)


@pytest.fixture
def objects() -> Targets:
    """No two share a cell, a size or a place, so that nothing is left to an order."""
    return targets(
        [
            (0, 2, 3, 19, 17),
            (1, 20, 22, 43, 50),
            (0, 30, 1, 63, 33),
            (2, 9, 40, 14, 46),
            (1, 0, 0, 8, 6, "ignore"),
            (1, 50, 50, 60, 62),
        ],
        [(2, 1, 1, 60, 62), (2, 40, 41, 55, 60)],
    )


def check_alike(a: Assignment, b: Assignment, of_a: Targets, of_b: Targets) -> None:
    """The same priors for the same boxes and classes, whatever the rows are called."""
    assert torch.equal(a.positive, b.positive)
    assert torch.equal(a.ignored, b.ignored)
    for of_each in ("boxes", "labels"):
        first = gather_rows(getattr(of_a, of_each), a.matched)
        second = gather_rows(getattr(of_b, of_each), b.matched)
        assert torch.equal(first[a.positive], second[b.positive])
    if a.scores is None:
        assert b.scores is None
    else:
        assert torch.equal(a.scores, b.scores)


def fields(found: Assignment) -> list[Tensor | None]:
    """All tensors of an assignment, those of its pairs too."""
    return [*found[:-1], *(found.pairs or ())]


def reordered(objects: Targets, order: list[int]) -> Targets:
    return Targets(*(field[:, order] for field in objects))


def test_shapes_types_and_disjoint_states(assigner, guess, objects) -> None:
    found = assigner(*guess, objects)
    assert found.matched.shape == found.positive.shape == found.ignored.shape == (2, COUNT)
    assert found.matched.dtype == torch.int64
    assert found.positive.dtype == found.ignored.dtype == torch.bool
    assert not (found.positive & found.ignored).any()
    assert found.positive.any(1).all()
    assert (found.matched[~found.positive & ~found.ignored] == 0).all()
    assert assigner.own_classes == (found.scores is not None)
    if found.scores is not None:
        assert found.scores.shape == (2, COUNT, CLASSES)
        assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_order_of_objects_changes_nothing(assigner, guess, objects) -> None:
    other = reordered(objects, [5, 3, 1, 0, 7, 2, 6, 4])
    check_alike(assigner(*guess, objects), assigner(*guess, other), objects, other)


def test_padding_changes_nothing(assigner, guess, objects) -> None:
    """Neither its amount nor what stands in it."""
    rubbish = random_targets(2, 8, CLASSES)._replace(valid=torch.zeros(2, 8, dtype=torch.bool))
    longer = Targets(*(torch.cat(pair, dim=1) for pair in zip(objects, rubbish, strict=True)))
    check_alike(assigner(*guess, objects), assigner(*guess, longer), objects, longer)


def test_two_images_equal_each_alone(assigner, guess, objects) -> None:
    together = assigner(*guess, objects)
    raw, boxes = guess
    for image in range(2):
        rows = slice(image, image + 1)
        own = raw._replace(
            logits=raw.logits[rows], deltas=raw.deltas[rows], quality=raw.quality[rows]
        )
        alone = assigner(own, boxes[rows], Targets(*(field[rows] for field in objects)))
        for field, expected in zip(fields(alone), fields(together), strict=True):
            assert field is None if expected is None else torch.equal(field, expected[rows])


def test_objects_to_ignore_are_never_assigned(assigner, guess, objects) -> None:
    """They change nothing at all."""
    absent = objects._replace(valid=objects.valid & ~objects.ignore)
    check_alike(assigner(*guess, objects), assigner(*guess, absent), objects, absent)


def test_without_objects_everything_is_background(assigner, guess) -> None:
    found = assigner(*guess, targets([], []))
    assert not found.positive.any()
    assert not (found.ignored & within(PRIORS)).any()
    if found.scores is not None:
        assert (found.scores == 0).all()


def test_only_objects_to_ignore_are_as_good_as_none(assigner, guess) -> None:
    found = assigner(*guess, targets([(0, 8, 8, 24, 24, "ignore")], []))
    assert not found.positive.any()
    assert not (found.ignored & within(PRIORS)).any()


def test_assignment_takes_no_gradient(assigner, guess, objects) -> None:
    raw, boxes = guess
    found = assigner(raw, boxes.requires_grad_(), objects)
    assert not any(field.requires_grad for field in fields(found) if field is not None)

"""Every loss term of `conf/class_loss`, `box_loss` and `quality_loss` keeps the contract."""

from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

import detectors
from detectors.coders import (
    CellOffset,
    CenterOffset,
    Delta,
    Distance,
    GaussianCorners,
    LogDistance,
    PointOffset,
    Yolo,
)
from detectors.heads.criterion import Criterion
from detectors.layers.progress import tell
from detectors.losses.reduction import per_batch_positives
from detectors.structures import Assignment, Progress
from tests.examples import files, points, predictions, shapes, targets
from tests.losses.loss_examples import gradients, image_of, matched_for, value

CONF = Path(detectors.__file__).parents[1] / "conf"


LATE = Progress(images_seen=10**9, step=0, steps=1)  # YOLOv2's early prior loss is over


def configured(group: str) -> dict[str, nn.Module]:
    """The loss terms of one group by the names of their files."""
    configs = {path.stem: OmegaConf.load(path) for path in files(group)}
    terms = {
        f"{group}={name}": instantiate(config, _convert_="all")
        for name, config in configs.items()
        if "_target_" in config
    }
    for term in terms.values():
        tell(term, LATE)
    return terms


BOX_TERMS = configured("box_loss")
TERMS = configured("class_loss") | BOX_TERMS | configured("quality_loss")
ONLY_POSITIVES = BOX_TERMS | {
    name: TERMS[name] for name in ("quality_loss=centerness", "quality_loss=iou")
}
CODERS = {
    "delta": (Delta(), shapes([8], [[(10.0, 13.0)]])),
    "distance": (Distance(), points([8])),
    "yolo": (Yolo(1.2), shapes([8], [[(373.0, 326.0)]])),
    "center offset": (CenterOffset(), points([8])),
    "cell offset": (CellOffset(), points([8])),
    "point offset": (PointOffset(), points([8])),
    "log distance": (LogDistance(), points([8])),
    "gaussian corners": (GaussianCorners(), shapes([8], [[(10.0, 13.0)]])),
}

terms = partial(pytest.mark.parametrize, "term")
all_terms = terms(TERMS.values(), ids=TERMS.keys())


@all_terms
def test_is_finite_for_each_prior_with_finite_gradients_even_without_positives(
    term: nn.Module,
) -> None:
    for images in (("+-i--+", "--i--i"), ("-i---", "iiiii")):
        given = matched_for(term, *images)
        assert term(given).shape == given.positive.shape
        assert term(given).isfinite().all()
        assert all(field.isfinite().all() for field in gradients(term, given))


@all_terms
def test_ignored_priors_are_not_looked_at(term: nn.Module) -> None:
    given = matched_for(term, "+-i--+i", "--i--ii")
    ignored = given.counted == 0
    assert all((field[ignored] == 0).all() for field in gradients(term, given))


@terms(ONLY_POSITIVES.values(), ids=ONLY_POSITIVES.keys())
def test_boxes_and_centerness_are_taught_to_positives_alone(term: nn.Module) -> None:
    given = matched_for(term, "+-i--+i", "--+--ii")
    found, positive = gradients(term, given), given.positive > 0
    assert all((field[~positive] == 0).all() for field in found)
    taught = sum(
        field.abs().flatten(2).sum(2) if field.dim() > 2 else field.abs() for field in found
    )
    assert (taught[positive] > 0).all()


@terms(ONLY_POSITIVES.values(), ids=ONLY_POSITIVES.keys())
def test_nothing_to_teach_costs_nothing(term: nn.Module) -> None:
    assert value(term, matched_for(term, "-i--", "----")) == 0


@all_terms
def test_is_the_sum_of_images_each_by_its_own_normaliser(term: nn.Module) -> None:
    given = matched_for(term, "+-i--+i", "-++--ii")
    first, second = (value(term, image_of(given, image)) for image in range(2))
    torch.testing.assert_close(value(term, given, torch.tensor([2.0, 5.0])), first / 2 + second / 5)


@all_terms
@pytest.mark.parametrize("size", [20.0, 1e4])
def test_a_network_that_is_too_sure_gets_finite_gradients(term: nn.Module, size: float) -> None:
    given = matched_for(term, "+-i--+i", "-++--ii")
    raw = given.predictions
    sure = {name: (getattr(raw, name).sign() * size) for name in ("logits", "deltas", "quality")}
    given = given._replace(predictions=raw._replace(**sure))
    assert value(term, given).isfinite()
    assert all(field.isfinite().all() for field in gradients(term, given))


@pytest.mark.parametrize(
    ("term", "coder"),
    [
        pytest.param(term, coder, id=f"{name}-{coder}")
        for name, term in BOX_TERMS.items()
        for coder, (code, _) in CODERS.items()
        if term.deltas in (None, code.kind)
    ],
)
@pytest.mark.parametrize("value", [-1e4, -3.0, 0.0, 3.0, 1e4])
def test_unmatched_priors_teach_no_box_whatever_they_predict(
    term: nn.Module, coder: str, value: float
) -> None:
    """An unmatched prior is its own target; boxes without area or of enormous sides included."""
    code, priors = CODERS[coder]
    raw = predictions(priors, 2, 1)
    deltas = torch.full((*raw.logits.shape[:2], code.numbers), value, requires_grad=True)
    nothing = torch.zeros(raw.quality.shape, dtype=torch.bool)
    assignment = Assignment(nothing.long(), nothing, nothing)
    criterion = Criterion(1, code, {"box": term}, per_batch_positives)
    boxes = code.decode(deltas, priors)
    loss = criterion(raw._replace(deltas=deltas), boxes, targets([], []), assignment)["box"]
    loss.backward()
    assert loss == 0
    assert deltas.grad is not None
    assert (deltas.grad == 0).all()

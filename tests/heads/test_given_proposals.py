"""A second stage that looks at the proposals it is given, and at nothing else."""

import pytest
import torch
from torch import Tensor

import detectors
from detectors.assigners.sampled import Sampler
from detectors.detector import Detector
from detectors.heads.windows import WindowGrid
from detectors.ops.windows import unit_windows
from detectors.structures import Proposals, Targets
from tests.examples import random_boxes, targets

SIDE = 96
THIN = ["size=small", "part.neck.channels=16", "+part.head.region_head.width=16"]
ALONE = [f"++part.head.{name}=null" for name in ("proposal_head", "train_proposals")]
ALONE += ["++part.head.test_proposals=null"]


def images() -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 255


def frames() -> Tensor:
    return torch.tensor([[0.0, 0.0, SIDE, SIDE], [0.0, 8.0, SIDE, 80.0]])


def proposals(rows: int = 12, real: tuple[int, int] = (12, 5)) -> Proposals:
    torch.manual_seed(1)
    boxes = random_boxes(2, rows, canvas=SIDE, smallest=8).clamp(0, SIDE)
    return Proposals(boxes, torch.arange(rows) < torch.tensor(real)[:, None])


@pytest.fixture(scope="module")
def both() -> tuple[Detector, Detector]:
    """One with a first stage, and the same without."""
    torch.manual_seed(0)
    whole = detectors.build("faster_rcnn", THIN, num_classes=3).eval()
    alone = detectors.build("faster_rcnn", [*THIN, *ALONE], num_classes=3).eval()
    lacking, unknown = alone.load_state_dict(whole.state_dict(), strict=False)
    assert not lacking
    assert all(name.startswith("head.proposal_head") for name in unknown)
    return whole, alone


@torch.no_grad()
def test_given_the_same_proposals_it_finds_the_same(both: tuple[Detector, Detector]) -> None:
    whole, alone = both
    expected = whole.head(whole.features(images()), frames())
    regions = expected.looks[0].regions
    found = alone.candidates(images(), frames(), Proposals(regions.boxes, regions.valid))
    for one, other in zip(found[:2], whole.head.detect(expected)[:2], strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_padding_and_order_change_nothing(both: tuple[Detector, Detector]) -> None:
    _, alone = both
    few = proposals(12, (6, 5))
    padded = Proposals(*(torch.cat([field, field], dim=1) for field in few))
    padded = padded._replace(valid=torch.cat([few.valid, few.valid & False], dim=1))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    mixed = Proposals(*(field[:, order] for field in few))
    expected = alone(images(), frames(), few)
    for given in (padded, mixed):
        found = alone(images(), frames(), given)
        assert found.valid.sum() == expected.valid.sum() > 0
        for name in ("scores", "boxes"):  # of a few regions there are fewer rows
            one, other = (getattr(each, name)[each.valid] for each in (found, expected))
            torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


@pytest.mark.parametrize("objects", [[(1, 8, 8, 40, 60)], []])
def test_it_trains_on_what_is_given_and_on_the_objects(
    both: tuple[Detector, Detector], objects: list[tuple]
) -> None:
    _, alone = both
    given: Targets = targets(objects, [(2, 10, 10, 50, 70)])
    output = alone.head(alone.features(images()), frames(), given, proposals())
    assert output.looks[0].regions.valid.sum(1).tolist() == [12 + len(objects), 5 + 1]
    losses = alone.loss(images(), given, frames(), proposals())
    assert set(losses) == {"region_class", "region_box"}
    assert all(term.isfinite() for term in losses.values())


def test_it_can_do_nothing_without(both: tuple[Detector, Detector]) -> None:
    whole, alone = both
    assert alone.head.needs_proposals
    with pytest.raises(ValueError, match="proposals that come with the images, and there are none"):
        alone(images(), frames())
    with pytest.raises(ValueError, match="no second stage that looks at those of others"):
        whole(images(), frames(), proposals())


def test_windows_stand_in_the_frame() -> None:
    found = WindowGrid(sides=[1.0, 0.5], ratios=[1.0])(frames())
    expected = torch.tensor(unit_windows([1.0, 0.5], [1.0]), dtype=torch.float32)
    torch.testing.assert_close(found.boxes[0], expected * SIDE)
    size, corner = torch.tensor([SIDE, 72.0] * 2), torch.tensor([0.0, 8.0] * 2)
    torch.testing.assert_close(found.boxes[1], expected * size + corner)
    assert found.valid.all()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (ALONE[:1], "train_proposals needs the scores of a first stage"),
        (["++part.head.train_proposals=null"], "a first stage lacks train_proposals"),
        (
            ["+part.head.windows._target_=detectors.heads.windows.WindowGrid"],
            "a first stage takes no windows",
        ),
    ],
)
def test_halves_of_a_first_stage_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        detectors.build("faster_rcnn", [*THIN, *words])


def test_without_losses_of_its_own_the_second_stage_is_idle() -> None:
    torch.manual_seed(0)
    whole = detectors.build("faster_rcnn", THIN, num_classes=3)
    first = detectors.build("faster_rcnn", [*THIN, "part.head.losses=null"], num_classes=3)
    first.load_state_dict(whole.state_dict())
    given, found = targets([(1, 8, 8, 40, 60)], [(2, 10, 10, 50, 70)]), []
    for detector in (whole, first):
        for part in detector.modules():
            if isinstance(part, Sampler):  # both stages draw, so the second would draw otherwise
                part.count = part.most_positive = 10**6
        found.append(detector.eval().loss(images(), given, frames()))
    both, alone = found
    assert set(alone) == {"proposal_class", "proposal_box"} < set(both)
    torch.testing.assert_close(alone, {name: both[name] for name in alone})
    assert first(images(), frames()).valid.shape == whole(images(), frames()).valid.shape


def test_somebody_must_learn() -> None:
    with pytest.raises(ValueError, match="losses=null lets the first stage alone learn"):
        detectors.build("faster_rcnn", [*THIN, *ALONE, "part.head.losses=null"])

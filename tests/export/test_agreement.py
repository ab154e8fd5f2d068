"""Files agree with their detectors, and what does not agree is refused."""

from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from detectors.data.augment.transforms import Stretch
from detectors.export.agreement import (
    Agreement,
    candidates_agree,
    detections_agree,
    rounded,
)
from detectors.export.description import texts
from detectors.export.network import ExportedNetwork
from detectors.export.running import ProgramDetector
from detectors.export.verifying import agreement, batches, samples
from detectors.export.writing import as_pt2
from detectors.heads.region_stage import as_priors
from detectors.structures import Candidates, Detections, Sample
from tests.examples import THIN
from tests.export.conftest import SIDE, WORDS, description, lively

RESIZE = Stretch(SIDE)


@cache
def scenes() -> list[Sample]:
    """Generated pictures."""
    return samples([], RESIZE)


@pytest.mark.parametrize("family", WORDS)
def test_an_onnx_file_finds_what_its_detector_finds(family, made, data_root) -> None:
    real = samples(str(data_root / "coco_tiny" / "val2017"), RESIZE)
    pictures = [*batches(real), *batches(scenes())]
    assert {len(batch.images) for batch in pictures} == {1, 3}
    axes = [given.shape[0] for given in made(family).file.session.get_inputs()]
    assert axes == ["batch", "batch"]
    found = agreement(made(family).network, made(family).file, pictures)
    assert found.rows > 100
    assert found.absent <= found.rows / 20


def test_a_file_of_other_weights_is_refused(made) -> None:
    one = made("centernet")
    other = ExportedNetwork(lively("centernet"), suppression=True)
    with torch.no_grad():
        next(other.detector.head.tower.parameters())[0] *= 1.01
    with pytest.raises(ValueError, match=r"picture 1 of a batch of 1: row \d+, label"):
        agreement(other, one.file, batches(scenes()))


@pytest.mark.parametrize("suppression", [True, False])
def test_a_program_gives_what_its_detector_gives(suppression) -> None:
    network = ExportedNetwork(lively("centernet"), suppression).eval()
    told = texts(description(suppression=suppression))
    program = ProgramDetector(as_pt2(network, (SIDE, SIDE), told))
    found = agreement(network, program, batches(scenes()))
    assert found.rows > 20
    assert found.pixels < 1e-3


def test_candidates_of_regions_are_compared_by_what_they_lead_to() -> None:
    """Their order may differ where scores of proposals tie."""
    network = ExportedNetwork(lively("faster_rcnn"), suppression=False)

    def turned(*given: Tensor) -> tuple[Tensor, ...]:
        return tuple(output.flip(1) for output in network(*given))

    def without_best(*given: Tensor) -> tuple[Tensor, ...]:
        boxes, scores = network(*given)
        return boxes, scores.where(scores < scores.amax((1, 2), keepdim=True), 0.0)

    pictures = batches(scenes())
    assert agreement(network, SimpleNamespace(outputs=turned), pictures).rows > 100
    with pytest.raises(ValueError, match="in one list alone"):
        agreement(network, SimpleNamespace(outputs=without_best), pictures)


def test_candidates_that_another_head_judges_are_compared_with_its_judgement() -> None:
    network = ExportedNetwork(lively("iou_net", THIN["iou_net"]), suppression=False)
    assert network.outputs == ("boxes", "scores", "iou")

    def turned(*given: Tensor) -> tuple[Tensor, ...]:
        return tuple(output.flip(1) for output in network(*given))

    def misjudged(*given: Tensor) -> tuple[Tensor, ...]:
        boxes, scores, iou = network(*given)
        return boxes, scores, 1 - iou

    pictures = batches(scenes()[:1])  # whose suppression goes box by box
    assert agreement(network, SimpleNamespace(outputs=turned), pictures).rows > 100
    with pytest.raises(ValueError, match="in one list alone"):
        agreement(network, SimpleNamespace(outputs=misjudged), pictures)


def test_candidates_have_all_that_their_suppression_looks_at() -> None:
    """So that what is suppressed outside is what the detector finds."""
    network = ExportedNetwork(lively("faster_rcnn_kl", WORDS["faster_rcnn"]), suppression=False)
    (batch,) = batches(scenes()[:1] * 3)[-1:]
    outputs = dict(zip(network.outputs, network(batch.images, batch.frames), strict=True))
    assert list(outputs) == ["boxes", "scores", "deviations"]
    priors = as_priors(outputs["boxes"][:, :, 0], (SIDE, SIDE))
    found = network.detector.postprocess(Candidates(priors=priors, **outputs), batch.frames)
    for field, expected in zip(found, network.detector(batch.images, batch.frames), strict=True):
        torch.testing.assert_close(field, expected)


def test_a_detector_that_finds_nothing_shows_nothing() -> None:
    network = ExportedNetwork(lively("centernet"), suppression=True)
    network.detector.postprocess.score_threshold = 1.0
    itself = SimpleNamespace(outputs=network.forward)
    with pytest.raises(ValueError, match="finds nothing in the pictures"):
        agreement(network, itself, batches(scenes()))


def detections(*rows: tuple[float, int, float], most: int = 4) -> Detections:
    """One picture with rows (score, label, left) of boxes ten pixels wide."""
    boxes, scores = torch.zeros(1, most, 4), torch.zeros(1, most)
    labels, valid = torch.zeros(1, most, dtype=torch.int64), torch.zeros(1, most, dtype=torch.bool)
    for row, (score, label, left) in enumerate(rows):
        boxes[0, row] = torch.tensor([left, 0.0, left + 10.0, 10.0])
        scores[0, row], labels[0, row], valid[0, row] = score, label, True
    return Detections(boxes, scores, labels, valid)


A, B, C, D = (0.9, 0, 5.0), (0.8, 1, 20.0), (0.8, 1, 40.0), (0.3, 0, 60.0)


def test_rows_may_change_places_where_their_scores_tie() -> None:
    found = detections_agree(detections(A, B, C), detections(A, C, B), 0.05)
    assert found == Agreement(3, 0.0, 0.0, moved=1, absent=0)


@pytest.mark.parametrize(
    "other",
    [
        (A, B, (0.8, 1, 40.02)),
        (A, B, (0.7998, 1, 40.0)),
        (A, B, (0.8, 0, 40.0)),
        (A, B),
        (A, B, C, D),
        (A, B, C, C),
    ],
)
def test_a_row_that_is_moved_changed_lost_or_new_is_refused(other) -> None:
    with pytest.raises(ValueError, match="in one list alone"):
        detections_agree(detections(A, B, C), detections(*other), 0.05)


def test_a_row_may_be_absent_where_a_tie_decides_which_is_written() -> None:
    """Of the last row of a full list, or at the threshold."""
    full = detections_agree(detections(A, B, most=2), detections(A, C, most=2), 0.05)
    assert full == Agreement(1, 0.0, 0.0, moved=0, absent=2)
    ended = detections_agree(detections(A, (0.05 + 1e-7, 0, 5.0)), detections(A), 0.05)
    assert ended.absent == 1


def test_candidates_agree_row_by_row() -> None:
    boxes, scores = torch.rand(2, 7, 4), torch.rand(2, 7, 3)
    assert candidates_agree((boxes, scores), (boxes + 1e-3, scores)).rows == 14
    with pytest.raises(ValueError, match=r"0\.02 px"):
        candidates_agree((boxes, scores), (boxes + 0.02, scores))
    unsure, other = torch.rand(2, 7, 4), torch.rand(2, 7, 4)
    assert candidates_agree((boxes, scores, unsure), (boxes, scores, unsure)).rows == 14
    with pytest.raises(ValueError, match="of what else is told of them"):
        candidates_agree((boxes, scores, unsure), (boxes, scores, other))
    with pytest.raises(ValueError, match="nan"):
        candidates_agree((boxes, scores), (boxes, scores * torch.nan))


def test_rounding_is_told_and_too_much_is_refused() -> None:
    told = rounded([detections(A, B)], [detections(A, (0.795, 1, 20.5))])
    assert (told.rows, told.near) == (2, 2)
    with pytest.raises(ValueError, match="of 2 detections of the checkpoint only 1 stay"):
        rounded([detections(A, B)], [detections(A, (0.7, 1, 20.0))])


def test_a_large_box_may_be_further_off_than_a_small_one() -> None:
    boxes, scores = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 20, 300]]]), torch.rand(1, 2, 3)
    moved = torch.tensor([[[0.0], [0.02]]])
    assert candidates_agree((boxes, scores), (boxes + moved, scores)).rows == 2
    with pytest.raises(ValueError, match=r"0\.02 px"):
        candidates_agree((boxes, scores), (boxes + moved.flip(1), scores))
    with pytest.raises(ValueError, match=r"0\.05 px"):
        candidates_agree((boxes, scores), (boxes + 2.5 * moved, scores))

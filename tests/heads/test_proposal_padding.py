"""Padded proposals cost nothing and change nothing."""

import torch

from detectors.heads.two_stage import without_padding
from detectors.structures import Detections


def _detections(real: list[int], rows: int) -> Detections:
    valid = torch.arange(rows) < torch.tensor(real)[:, None]
    batch = len(real)
    return Detections(
        boxes=torch.rand(batch, rows, 4),
        scores=torch.rand(batch, rows),
        labels=torch.zeros(batch, rows, dtype=torch.int64),
        valid=valid,
    )


def test_keeps_what_is_real_in_any_image() -> None:
    padded = _detections([2, 5], 9)
    cut = without_padding(padded)
    assert cut.valid.shape == (2, 5)
    assert torch.equal(cut.boxes, padded.boxes[:, :5])
    assert cut.valid.sum(1).tolist() == [2, 5]


def test_one_row_stays_where_nothing_is_real() -> None:
    assert without_padding(_detections([0, 0], 9)).boxes.shape == (2, 1, 4)


def test_a_graph_keeps_its_shape() -> None:
    compiled = torch.compile(without_padding, fullgraph=True, backend="eager")
    assert compiled(_detections([2, 5], 9)).valid.shape == (2, 9)

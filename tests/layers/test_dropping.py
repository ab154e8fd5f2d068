import pytest
import torch
from torch import nn

import detectors
from detectors.layers.dropping import DropBlock, dropout, seed_rate, spatial_dropout
from detectors.layers.progress import tell
from detectors.structures import Progress


def _at(done: float, **arguments: object) -> DropBlock:
    layer = DropBlock(4, **arguments).train()
    tell(layer, Progress(images_seen=1, step=int(100 * done), steps=100))
    return layer


def test_rate_of_middles_is_equation_1() -> None:
    """Ghiasi et al. 2018: 0.1 / 49 * 20 ** 2 / 14 ** 2 for squares of 7 on 20 x 20 cells."""
    rate = seed_rate(torch.tensor(0.1), 7, 20, 20)
    assert rate.item() == pytest.approx(0.1 / 49 * 400 / 196)


def test_what_is_dropped_are_whole_squares_and_the_rest_is_scaled_up() -> None:
    layer, x = _at(1.0, keep=0.8, size=3), torch.ones(2, 4, 12, 16)
    found = layer(x)
    kept = found > 0
    torch.testing.assert_close(found[kept], torch.full([int(kept.sum())], x.numel() / kept.sum()))
    torch.testing.assert_close(found.sum(), x.sum())
    for dropped in (~kept).flatten(0, 1):  # each lies in a 3 x 3 square of dropped ones
        squares = dropped.float().unfold(0, 3, 1).unfold(1, 3, 1).amin((-2, -1))
        covered = torch.zeros_like(dropped)
        for row, column in squares.nonzero().tolist():
            covered[row : row + 3, column : column + 3] = True
        assert torch.equal(covered, dropped)


def test_share_kept_falls_linearly_over_the_run() -> None:
    x = torch.ones(8, 4, 40, 40)
    shares = [(_at(done, keep=0.9, size=3)(x) > 0).float().mean().item() for done in (0, 0.5, 1)]
    assert shares == pytest.approx([1.0, 0.95, 0.9], abs=0.01)  # overlaps cost a little


def test_nothing_is_dropped_at_the_start_and_in_evaluation() -> None:
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(_at(0.0)(x), x)
    assert torch.equal(_at(1.0).eval()(x), x)


def test_a_map_smaller_than_a_square_stays_finite() -> None:
    found = _at(1.0, keep=0.01)(torch.ones(1, 4, 2, 3))
    assert found.isfinite().all()


def test_is_one_graph() -> None:
    layer = _at(1.0)
    x = torch.randn(1, 4, 9, 9)
    assert torch.compile(layer, fullgraph=True, backend="eager")(x).shape == x.shape


def test_spatial_dropout_takes_whole_channels_and_dropout_does_not() -> None:
    x = torch.ones(4, 8, 6, 6)
    channels = spatial_dropout(8, 0.5)(x).flatten(2)
    assert torch.equal(channels.amin(-1), channels.amax(-1))
    values = dropout(8, 0.5)(x).flatten(2)
    assert not torch.equal(values.amin(-1), values.amax(-1))


def test_tricks_drop_from_every_level_that_the_neck_is_given() -> None:
    with torch.device("meta"):
        words = ["size=small", "trick=[spatial_dropout,dropblock,dropout]"]
        stages = detectors.build("yolov3", words).neck.stages
    assert list(stages) == ["spatial_dropout", "dropblock", "dropout", "neck"]
    kinds = [nn.Dropout2d, DropBlock, nn.Dropout]
    for kind, stage in zip(kinds, list(stages.values())[:3], strict=True):
        assert [type(block) for block in stage.blocks] == [kind] * 3

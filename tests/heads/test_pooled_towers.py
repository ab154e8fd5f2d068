"""Towers over pooled features against loops over windows and crops."""

import pytest
import torch
from torch import nn

from detectors.heads.pooled_towers import GlobalTower, WindowTower
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(6, 16)]
WINDOWS = [[(3.0, 3.0), (5.0, 1.0), (1.0, 7.0)]]
CLASSES = 2


def lively(tower: nn.Module) -> nn.Module:
    for parameter in tower.parameters():
        nn.init.normal_(parameter)
    return tower.eval()


def test_each_window_is_pooled_and_told_apart_by_the_same_two_layers() -> None:
    """Cell by cell and window by window, cut at the border."""
    tower = lively(WindowTower(SPECS, CLASSES, [3], WINDOWS))
    feature = torch.randn(2, 6, 4, 5)
    ((logits, deltas, quality),) = tower([feature])
    assert quality is None
    assert logits.shape == (2, 3 * (1 + CLASSES), 4, 5)
    assert deltas.shape == (2, 3 * 4, 4, 5)
    for row in range(4):
        for column in range(5):
            for window, (width, height) in enumerate(WINDOWS[0]):
                half_x, half_y = int(width) // 2, int(height) // 2
                rows = slice(max(row - half_y, 0), row + half_y + 1)
                columns = slice(max(column - half_x, 0), column + half_x + 1)
                mean = feature[:, :, rows, columns].mean(dim=(2, 3))
                of_window = slice(3 * window, 3 * window + 3)
                torch.testing.assert_close(logits[:, of_window, row, column], tower.logits(mean))
                of_window = slice(4 * window, 4 * window + 4)
                torch.testing.assert_close(deltas[:, of_window, row, column], tower.deltas(mean))


def test_a_window_over_everything_is_the_localizer() -> None:
    """The same two layers give the same for the cell in the middle."""
    whole = lively(GlobalTower(SPECS, 1 + CLASSES, [1]))
    windows = WindowTower(SPECS, CLASSES, [1], [[(7.0, 5.0)]]).eval()
    windows.load_state_dict(whole.state_dict())
    feature = torch.randn(2, 6, 5, 7)
    for one, other in zip(whole([feature])[0][:2], windows([feature])[0][:2], strict=True):
        torch.testing.assert_close(one[..., 0, 0], other[..., 2, 3])


def test_towers_for_one_level_only() -> None:
    with pytest.raises(ValueError, match=r"GlobalTower reads one .* delivers 2 .*part.levels"):
        GlobalTower(SPECS * 2, CLASSES, [1, 1])
    with pytest.raises(ValueError, match="one box an image"):
        GlobalTower(SPECS, CLASSES, [3])


@pytest.mark.parametrize("shape", [(4.0, 3.0), (3.0, 2.5)])
def test_windows_without_a_middle_are_refused(shape: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="odd numbers"):
        WindowTower(SPECS, CLASSES, [1], [[shape]])


def test_windows_that_are_not_the_priors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pools 3 windows .* priors are 2: choose"):
        WindowTower(SPECS, CLASSES, [2], WINDOWS)

import pytest
import torch
from torch import nn

from detectors.heads.roi_heads import Res5Head, VGGHead


def test_the_stage_sees_each_region_alone() -> None:
    head = Res5Head((256, 6, 6), 3, name="resnet18", norm=nn.BatchNorm2d).eval()
    pooled = torch.randn(2, 3, 256, 6, 6)
    logits, deltas = head(pooled)
    assert logits.shape == (2, 3, 4)
    assert deltas.shape == (2, 3, 3, 4)
    hidden = head.stage(pooled[1, 2][None])
    assert hidden.shape == (1, 512, 3, 3)
    torch.testing.assert_close(logits[1, 2], head.logits(hidden.mean((2, 3)))[0])


def test_a_stage_of_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="takes 256 channels, regions have 128"):
        Res5Head((128, 7, 7), 3, name="resnet18", norm=None)


def test_boxes_are_class_specific_and_the_backgrounds_are_left_out() -> None:
    head = VGGHead((2, 2, 2), 3, width=5).eval()
    with torch.no_grad():
        head.predictor.deltas.bias.copy_(torch.arange(16.0))
    pooled = torch.zeros(1, 1, 2, 2, 2)
    logits, deltas = head(pooled)
    assert logits.shape == (1, 1, 4)
    assert deltas.tolist() == [[[[4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]]]


def test_dropout_leaves_hidden_units_out_in_training_only() -> None:
    head, pooled = VGGHead((2, 2, 2), 3, width=50), torch.ones(1, 4, 2, 2, 2)
    head.train()
    assert not torch.equal(head(pooled)[0], head(pooled)[0])
    head.eval()
    assert torch.equal(head(pooled)[0], head(pooled)[0])

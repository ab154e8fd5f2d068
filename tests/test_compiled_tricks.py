"""Tricks that change the network or its loss leave a training step one graph as a run goes on."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

import detectors
from detectors.layers.progress import tell
from detectors.structures import Progress, Targets
from tests.examples import THIN

CASES = {  # each kind of trick that changes the graph, several at once where they fit
    "regularised": ("yolov3", "[dropblock,drop_path,sam,miwrc,frn,rfb,se,spatial_dropout]"),
    "normalised": ("yolov3_tiny", "[cmbn,spp,cbam,mish,dropout,ciou,focal]"),
    "weighed": ("fcos", "[quality_focal,distribution_focal]"),
    "mined": ("retinanet", "[ohem,label_smoothing,diou,group_norm]"),
}


def targets(count: int) -> Targets:
    draw = torch.Generator().manual_seed(count)
    corner = torch.rand(2, 8, 2, generator=draw) * 40
    boxes = torch.cat([corner, corner + 8 + torch.rand(2, 8, 2, generator=draw) * 40], dim=-1)
    valid = (torch.arange(8) < count).expand(2, 8)
    labels = torch.randint(0, 3, (2, 8), generator=draw)
    return Targets(boxes, labels, valid, torch.zeros(2, 8, dtype=torch.bool))


@pytest.mark.parametrize("kind", CASES)
def test_the_loss_is_one_graph_whatever_the_step_and_the_objects(kind: str) -> None:
    family, tricks = CASES[kind]
    thin = ["backbone=darknet_thin"] if family == "yolov3" else THIN.get(family, [])
    words = ["size=small", "image_size=96", f"trick={tricks}", *thin]
    detector = detectors.build(family, words, num_classes=3).train()
    graphs = CompileCounter()
    loss = torch.compile(detector.loss, fullgraph=True, dynamic=False, backend=graphs)
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    for step, objects in enumerate((5, 0, 8)):
        tell(detector, Progress(images_seen=2 * step + 2, step=step, steps=3))
        losses = loss(images, targets(objects))
        assert all(value.isfinite() for value in losses.values())
    assert graphs.frame_count == 1

"""A step of each family takes no more operations and memory than it did, and never waits for them.

Counted, not timed, so that a noisy machine changes nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import detectors
from detectors.layers.progress import tell
from tests.examples import START, THIN
from tests.test_models import case

ATEN = torch.ops.aten
WAITING = {  # the host reads what the device has computed, or how much it was
    ATEN._local_scalar_dense.default,
    ATEN.nonzero.default,
    ATEN.masked_select.default,
    ATEN.equal.default,
    ATEN.unique_dim.default,
    ATEN._unique2.default,
}


class Cost(NamedTuple):
    calls: int  # of operators
    megabytes: float  # of tensors that they made


class Costs(NamedTuple):
    """At size=small, two pictures of 96 x 128."""

    step: Cost  # forward, losses and backward
    detection: Cost


LIMITS = {
    "yolov1": Costs(Cost(583, 26.5), Cost(186, 2.8)),
    "yolov2": Costs(Cost(708, 27.0), Cost(208, 6.0)),
    "yolov3": Costs(Cost(1031, 35.7), Cost(376, 10.6)),
    "yolov4": Costs(Cost(1736, 60.0), Cost(504, 22.0)),
    "yolox_s": Costs(Cost(1434, 37.7), Cost(479, 13.8)),
    "ssd300": Costs(Cost(929, 63.3), Cost(338, 16.9)),
    "retinanet": Costs(Cost(861, 87.4), Cost(403, 14.0)),
    "faster_rcnn": Costs(Cost(1406, 168.2), Cost(659, 61.8)),
    "centernet": Costs(Cost(683, 87.1), Cost(230, 62.0)),
    "cornernet": Costs(Cost(1444, 38.5), Cost(497, 161.0)),
    "centernet_triplets": Costs(Cost(1919, 55.2), Cost(693, 168.0)),
    "fcos": Costs(Cost(1143, 81.5), Cost(433, 12.5)),
    "efficientdet_d0": Costs(Cost(3030, 151.3), Cost(1016, 59.0)),
    "atss": Costs(Cost(1408, 30.7), Cost(460, 9.2)),
    "ota": Costs(Cost(1795, 32.8), Cost(447, 9.2)),
    "paa": Costs(Cost(3184, 36.6), Cost(540, 24.8)),
    "foveabox": Costs(Cost(902, 29.8), Cost(403, 8.9)),
    "foveabox_align": Costs(Cost(1152, 43.6), Cost(478, 11.3)),
    "gfl": Costs(Cost(1313, 34.1), Cost(420, 9.9)),
    "localizer": Costs(Cost(447, 73.4), Cost(172, 11.0)),
    "sliding_window": Costs(Cost(510, 44.2), Cost(185, 12.2)),
}
SLACK = 1.02  # versions of torch differ by a few
WON = 0.9  # below it the limit is to be lowered


class Counting(TorchDispatchMode):
    """Counts operators, the bytes of new tensors, and where the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.bytes = 0, 0
        self.waits: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: tuple,
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
        self.calls += 1
        self.bytes += sum(t.numel() * t.element_size() for t in made if storage(t) not in given)
        if func in WAITING:
            self.waits.append(str(func))
        return found


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def counted(call: Callable[[], object]) -> Counting:
    with Counting() as counting:
        call()
    return counting


@pytest.mark.parametrize("family", LIMITS)
def test_a_step_and_a_detection_cost_no_more_than_before(family: str) -> None:
    torch.manual_seed(0)
    words = ["size=small", "image_size=[96,128]", *THIN.get(family, [])]
    detector = detectors.build(family, words, num_classes=3).train()
    tell(detector, START)
    images, targets, frames = case(5, 2)

    def step() -> None:
        losses = detector.loss(images, targets, frames)
        torch.stack(list(losses.values())).sum().backward()

    @torch.inference_mode()
    def detect() -> None:
        detector.eval()(images, frames)

    for call, limit in zip((step, detect), LIMITS[family], strict=True):
        found = counted(call)
        assert found.waits == []
        for cost, most in zip((found.calls, found.bytes / 1e6), limit, strict=True):
            assert cost <= SLACK * most + 0.1
            assert cost >= WON * most, "better than its limit: lower that"


def test_what_waits_is_counted() -> None:
    found = counted(lambda: torch.arange(4.0).nonzero().sum().item())
    assert found.waits == ["aten.nonzero.default", "aten._local_scalar_dense.default"]
    assert found.bytes == 4 * 4 + 3 * 8 + 8

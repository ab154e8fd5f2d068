"""Counts the operations of a detector."""

import math
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from detectors.detector import Detector
from detectors.structures import Proposals

REGIONS = 2000  # of selective search; Fast R-CNN, sec. 5


def operations(detector: Detector, height: int, width: int) -> dict[str, int]:
    """Operations of each part, and of "all", for one image: a multiply-add counts as two.

    Those of convolutions and matrix products. A second stage counts for as many regions as it may
    get; where these come with the images, for `REGIONS`. Nothing is computed: the detector is moved
    to the device "meta".
    """
    images = torch.zeros(1, 3, height, width, dtype=torch.uint8, device="meta")
    library = torch.ops.torchvision  # empty unless a part of the detector has imported it
    formulas = (
        {library.deform_conv2d: _deformable_operations} if hasattr(library, "deform_conv2d") else {}
    )
    boxes = torch.zeros(1, REGIONS, 4, device="meta")
    given = Proposals(boxes, boxes[..., 0] == 0) if detector.head.takes_proposals else None
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter, torch.no_grad():
        detector.to("meta")(images, None, given)
    counts = {place: sum(kinds.values()) for place, kinds in counter.get_flop_counts().items()}
    places = {name: f"{type(detector).__name__}.{name}" for name, _ in detector.named_children()}
    return {name: counts.get(place, 0) for name, place in {**places, "all": "Global"}.items()}


def _deformable_operations(
    image: Sequence[int], weight: Sequence[int], *rest: object, out_shape: Sequence[int]
) -> int:
    """Those of the ordinary convolution; finding the samples is not counted."""
    return 2 * math.prod(weight) * out_shape[0] * out_shape[2] * out_shape[3]

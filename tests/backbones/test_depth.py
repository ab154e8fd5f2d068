"""Every backbone states the order of its layers."""

import pytest
import torch

from detectors.backbones.depth import stages_of
from detectors.config.compose import compose
from detectors.config.paths import CONF
from detectors.weights.initial import initial_model

FAMILIES = ("yolov1", "yolov2", "yolov3", "yolov4", "ssd300", "retinanet", "centernet_dla")


@pytest.mark.parametrize("family", [*FAMILIES, "centernet_hourglass"])
def test_stages_hold_every_parameter_once_and_there_are_several(family: str) -> None:
    assert (CONF / "model" / f"{family}.yaml").is_file()
    with torch.device("meta"):
        backbone = initial_model(compose([f"model={family}", "size=small"])).backbone
    stages = stages_of(backbone)
    names = [name for stage in stages for name in stage]
    assert sorted(names) == sorted(name for name, _ in backbone.named_parameters())
    assert len(stages) >= 3
    assert all(any(backbone.get_parameter(n).ndim > 1 for n in stage) for stage in stages)

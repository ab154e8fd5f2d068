"""Tricks on losses, assignment and suppression change the node that they name and nothing else."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate


def changed(family: str, *tricks: str) -> dict[str, Any]:
    """What of `part` differs from the plain family's, node by node."""
    plain, other = (
        OmegaConf.to_container(compose([f"model={family}", *words]), resolve=False)["part"]
        for words in ([], [f"trick=[{','.join(tricks)}]"])
    )
    return {name: node for name, node in other.items() if plain.get(name) != node}


@pytest.mark.parametrize("trick", ["iou", "giou", "diou", "ciou", "eiou", "mse", "smooth_l1"])
def test_box_losses(trick: str) -> None:
    found = changed("yolov3", trick)
    assert list(found) == ["box_loss"]
    assert OmegaConf.create(found["box_loss"]).get("weight", 1.0) == 1.0


def test_the_last_of_two_box_losses_wins() -> None:
    assert changed("fcos", "mse", "ciou")["box_loss"]["kind"] == "ciou"


@pytest.mark.parametrize(
    "trick", ["soft_nms", "soft_nms_linear", "matrix_nms", "matrix_nms_linear", "box_fusion"]
)
@pytest.mark.parametrize("family", ["yolov4", "centernet", "ssd300"])
def test_suppressors_leave_the_familys_thresholds(family: str, trick: str) -> None:
    plain = compose([f"model={family}"]).part.postprocess
    cfg = compose([f"model={family}", f"trick=[{trick}]"])
    made = instantiate(cfg, "part.postprocess")
    assert made.score_threshold == plain.score_threshold
    assert made.detections == plain.detections
    assert type(made.suppressor).__name__ in ("Soft", "Matrix", "Fusion")
    assert set(changed(family, trick)) == {trick, "postprocess"}


def test_diou_nms_keeps_the_threshold_and_needs_one() -> None:
    made = instantiate(compose(["model=ssd300", "trick=[diou_nms]"]), "part.postprocess")
    assert (made.suppressor.threshold, made.suppressor.beta) == (0.45, 1.0)
    with pytest.raises(ValueError, match=r"postprocess\.suppressor.*threshold"):
        instantiate(compose(["model=centernet", "trick=[diou_nms]"]), "part.postprocess")

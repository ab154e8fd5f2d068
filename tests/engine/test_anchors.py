"""Shapes found in the training data stand in the config as numbers."""

from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.config.links import followed
from detectors.data.anchor_clustering import canvas_shapes, clustered_shapes
from detectors.engine.anchors import with_anchors
from detectors.engine.restoring import restored_detector
from detectors.engine.trainer import assemble

WORDS = ["size=small", "trick=[kmeans_anchors]", "data.train.read.count=40", "run_dir=."]


def clustered(*words: str) -> Any:
    return with_anchors(compose([*WORDS, *words]))


def priors(*words: str) -> Any:
    return OmegaConf.to_container(clustered(*words).part.priors, resolve=True)


def test_shapes_rise_and_are_dealt_as_the_familys_own() -> None:
    found = priors("model=yolov3")["shapes"]
    assert [len(level) for level in found] == [3, 3, 3]
    assert (np.diff(np.prod(np.concatenate(found), axis=1)) >= 0).all()
    data = instantiate(compose(["model=yolov3", *WORDS]), "data")
    boxes = canvas_shapes(data.annotations("train"), data.resize)
    expected, _ = clustered_shapes(boxes, 9, seed=0)
    np.testing.assert_allclose(np.concatenate(found), expected, atol=0.0051)


def test_they_are_a_function_of_the_seed() -> None:
    assert priors("model=yolov4") == priors("model=yolov4")
    assert priors("model=yolov4") != priors("model=yolov4", "seed=7")


def test_shapes_in_cells_become_pixels() -> None:
    found = priors("model=yolov2")
    assert found["_target_"] == "detectors.priors.BoxGrid"
    assert [len(level) for level in found["shapes"]] == [5]
    assert min(min(found["shapes"][0])) > 2


def test_no_shape_that_no_level_has_is_left() -> None:
    """YOLOv4-tiny has one, and one on two levels."""
    cfg = clustered("model=yolov4_tiny")
    assert cfg.part.assigner.unused == []
    assert len(np.unique(np.concatenate(cfg.part.priors.shapes), axis=0)) == 6


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd300", "yolov1"])
def test_priors_that_are_no_list_of_shapes_are_refused(family: str) -> None:
    with pytest.raises(ValueError, match="clustered shapes take the place of a list of shapes"):
        clustered(f"model={family}")


def test_a_checkpoint_has_the_numbers_and_needs_no_data() -> None:
    """Nor is a config that has them clustered again."""
    cfg = compose([*WORDS, "model=yolov3", "device=cpu", "data.num_workers=0"])
    module, _, _ = assemble(with_anchors(cfg))
    config = module.config
    shapes = followed(config, "model.head.priors.shapes")
    assert shapes == priors("model=yolov3")["shapes"]
    assert config["clustering"] is None
    state = {f"detector.{name}": value for name, value in module.detector.state_dict().items()}
    model = {"config": config, "state_dict": state}
    assert restored_detector(model, []).head.priors.shapes == shapes  # type: ignore[union-attr]
    done = OmegaConf.create(config)
    assert with_anchors(done) is done


def test_another_number_of_classes_than_the_data_have_is_refused() -> None:
    cfg = compose([*WORDS[:1], "model=yolov3", "num_classes=7", "run_dir=."])
    with pytest.raises(ValueError, match=r"num_classes=7, but the data have data\.num_classes=4"):
        assemble(cfg)


def test_without_the_trick_nothing_is_read() -> None:
    cfg = compose(["model=yolov3", "data.train.read.count=0"])
    assert with_anchors(cfg) is cfg

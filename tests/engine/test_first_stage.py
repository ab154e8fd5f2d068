"""Proposals of a first stage are made of what a training can read."""

from typing import Any

import numpy as np
import pytest
import torch

from detectors.config.instantiate import instantiate
from detectors.data.proposals.files import picture_keys
from detectors.data.sources.base import Unreadable
from detectors.engine.build import configured, initial_detector
from detectors.engine.first_stage import _proposed

WORDS = [
    *("model=faster_rcnn_vgg", "size=small", "image_size=64", "data=scenes_easy", "run_dir=."),
    *("scenes.layout.side=64", "data.train.read.count=6", "data.val.count=2", "data.num_workers=0"),
    *("data.batch_size=2", "data.max_unreadable=0.2", "part.head.region_head.width=16"),
]


def test_a_training_picture_that_cannot_be_read_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next takes its place, as in the trainings; one more than allowed stops it."""
    cfg = configured(WORDS)
    data: Any = instantiate(cfg, "data")
    detector, source, broken = initial_detector(cfg).eval(), data.source("train"), {2}
    plain = source.image

    def image(index: int) -> np.ndarray:
        if index in broken:
            raise Unreadable(f"picture {index} is broken")
        return plain(index)

    monkeypatch.setattr(source, "image", image)
    keys = picture_keys(source)
    cpu = torch.device("cpu")
    found = dict(_proposed(detector, data, "train", keys, cpu))
    assert found.keys() == set(keys.tolist())
    counts = [len(found[int(key)]) for key in keys]
    assert counts[2] == 0
    assert min(counts[:2] + counts[3:]) > 0
    broken.add(4)
    with pytest.raises(ValueError, match=r"2 of 6 training pictures cannot be read"):
        dict(_proposed(detector, data, "train", keys, cpu))

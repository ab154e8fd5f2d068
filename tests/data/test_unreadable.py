"""Unreadable pictures are replaced in training, named and counted; an evaluation stops at any."""

import json
import logging
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detectors.data.augment.mosaic import Mosaic
from detectors.data.augment.transforms import HorizontalFlip, Letterbox, Translate
from detectors.data.module import DetectionData
from detectors.data.sources.base import Unreadable
from detectors.data.sources.coco import read_coco

COUNT = 12
BAD = (3, 4, 11)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve noisy pictures, three of which cannot be used."""
    folder, rng = tmp_path_factory.mktemp("damaged"), np.random.default_rng(0)
    images, rows = [], []
    for k in range(COUNT):
        noise = rng.integers(0, 255, (24, 32, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{k}.jpg")
        images.append({"id": k, "file_name": f"{k}.jpg", "height": 24, "width": 32})
        rows.append({"id": k, "image_id": k, "category_id": 1, "bbox": [k, k, 9, 9]})
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cat"}]}
    (folder / "all.json").write_text(json.dumps(content))
    shutil.copytree(folder, folder / "whole")
    return folder


@pytest.fixture
def damaged(folder):
    """Data of these pictures, damaged after the files were listed."""

    def make(**changed) -> DetectionData:
        for name in BAD:
            shutil.copy(folder / "whole" / f"{name}.jpg", folder)
        listed = read_coco(folder / "all.json", folder)
        (folder / "3.jpg").write_bytes((folder / "3.jpg").read_bytes()[:300])
        (folder / "4.jpg").unlink()
        Image.new("RGB", (32, 30)).save(folder / "11.jpg")
        whole = partial(read_coco, folder / "all.json", folder / "whole")
        settings = {
            "train": lambda: listed,
            "val": whole,
            "num_classes": 1,
            "resize": Letterbox(32),
            "augment": {"shift": Translate(0.1), "flip": HorizontalFlip()},
            "batch_size": 4,
            "num_workers": 0,
            "max_unreadable": 0.25,
        }
        return DetectionData(**(settings | changed))

    return make


def epochs(data: DetectionData) -> list[list[torch.Tensor]]:
    """The tensors of every batch of two epochs."""
    loader, tensors = data.train_dataloader(), []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            tensors.append([*batch.targets, *(x for x in batch if isinstance(x, torch.Tensor))])
    return tensors


@pytest.mark.parametrize("mix", [None, {"mosaic": Mosaic()}])
def test_the_next_picture_takes_the_place_whatever_the_workers(damaged, caplog, mix) -> None:
    with caplog.at_level(logging.WARNING):
        expected = epochs(damaged(mix=mix))
    told = [line for line in caplog.messages if "takes its place" in line]
    assert len(told) == 3
    for name in BAD:
        assert sum(f"/{name}.jpg: " in line for line in told) == 1
    assert "(3 such pictures, at most 3)" in told[-1]
    for changed in ({"num_workers": 2}, {"cache": "ram"}):
        found = epochs(damaged(mix=mix, **changed))
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_a_sample_tells_whose_place_it_takes(damaged) -> None:
    dataset = damaged().train_dataloader().dataset
    for index, (instead, lost) in {0: (0, ()), 3: (5, (3, 4)), 11: (0, (11,))}.items():
        sample = dataset[0, index]
        assert (sample.id, sample.unreadable) == (instead, lost)


def test_more_than_the_share_stop_the_training_in_one_line(damaged) -> None:
    for share, count, most in ((0.01, 1, 0), (0.17, 3, 2)):
        message = (
            rf"^{count} of 12 training pictures cannot be read, more than data.max_unreadable="
            rf"{share} allows, which is {most}: \S*\.jpg: [^\n]*data.read_all=true names all[^\n]*$"
        )
        with pytest.raises(ValueError, match=message):
            epochs(damaged(max_unreadable=share))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_evaluation_stops_at_the_first_by_name(damaged, workers) -> None:
    data = damaged(num_workers=workers)
    with pytest.raises(Unreadable, match=r"^\S*/3\.jpg: damaged or truncated[^\n]*$"):
        list(data.plain_loader(data.source("train")))


def test_all_pictures_are_read_before_a_run_if_asked_for(damaged) -> None:
    damaged().setup("fit")
    with pytest.raises(ValueError, match=r"3 of 12 train pictures cannot be read: .*/3\.jpg: "):
        damaged(read_all=True).setup("fit")
    damaged(read_all=True).setup("validate")

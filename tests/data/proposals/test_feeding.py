"""Proposals of a file reach the batch, moved as the picture was."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.data.augment import Transform
from detectors.data.augment.mosaic import Mosaic
from detectors.data.augment.ssd_crop import IoUCrop
from detectors.data.augment.transforms import (
    HorizontalFlip,
    Letterbox,
    ScaleJitter,
    ShorterEdge,
    Stretch,
    Translate,
)
from detectors.data.module import DetectionData
from detectors.data.proposals.files import packed, picture_keys, write_proposals
from detectors.data.sources.scenes import Layout, Look, Scenes
from detectors.structures import Sample

CHAINS = {
    "none": {},
    "flip": {"flip": HorizontalFlip(1.0)},
    "crop": {"flip": HorizontalFlip(0.5), "crop": IoUCrop()},
    "all": {"jitter": ScaleJitter(0.5, 2.0), "shift": Translate(0.3), "flip": HorizontalFlip(0.5)},
}
RESIZES = {"letterbox": Letterbox(96), "stretch": Stretch([80, 120]), "shorter": ShorterEdge(60)}


def scenes(split: str = "train", count: int = 6) -> Scenes:
    return Scenes(split=split, count=count, seed=0, layout=Layout(side=96), look=Look())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file that proposes the objects themselves, in the order in which they are annotated."""
    found = {}
    for source in (scenes(), scenes("val")):
        truth = source.annotations
        ranges = zip(truth.offsets[:-1], truth.offsets[1:], strict=True)
        boxes = [truth.boxes[start:end] for start, end in ranges]
        found |= dict(zip(picture_keys(source).tolist(), boxes, strict=True))
    path = tmp_path_factory.mktemp("proposals") / "objects.npz"
    write_proposals(path, packed(found, {}))
    return str(path)


def data(file: str | None, **words: Any) -> DetectionData:
    settings = {"resize": Letterbox(96), "batch_size": 3, "num_workers": 0, "num_classes": None}
    readers = {"train": scenes, "val": partial(scenes, "val")}
    return DetectionData(**{**readers, **settings, "proposals": file, **words})


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("chain", CHAINS)
def test_they_go_where_the_objects_go(file: str, chain: str, resize: str) -> None:
    given = data(file, augment=CHAINS[chain], resize=RESIZES[resize])
    loader = given.train_dataloader()
    met = 0
    for key in [(epoch, index) for epoch in range(3) for index in range(6)]:
        sample: Sample = loader.dataset[key]
        assert sample.proposals is not None
        for box in sample.boxes:
            assert np.abs(sample.proposals - box).max(axis=1).min() < 0.01
            met += 1
    assert met > 20


def test_a_batch_pads_them_to_as_many_as_any_picture_has(file: str) -> None:
    loader = data(file).val_dataloader()
    most = int(np.diff(scenes("val").annotations.offsets).max())
    batches = list(loader)
    assert [batch.proposals.boxes.shape for batch in batches] == [(3, most, 4)] * 2
    for batch in batches:
        assert batch.proposals.valid.sum(1).tolist() == batch.targets.valid.sum(1).tolist()
        real = batch.targets.boxes[batch.targets.valid]
        assert (batch.proposals.boxes[batch.proposals.valid] - real).abs().max() < 0.01
        assert len(batch.places) == 2


def test_workers_hand_over_the_same(file: str) -> None:
    alone, helped = (list(data(file, num_workers=n).val_dataloader()) for n in (0, 1))
    for one, other in zip(alone, helped, strict=True):
        assert all((a == b).all() for a, b in zip(one.proposals, other.proposals, strict=True))


def test_without_a_file_there_are_none() -> None:
    batch = next(iter(data(None).val_dataloader()))
    assert batch.proposals is None
    assert len(batch.places) == 1


def test_mixes_are_refused(file: str) -> None:
    with pytest.raises(ValueError, match=r"data.proposals=.*mosaic makes one of several"):
        data(file, mix={"mosaic": Mosaic()})


def test_a_transform_without_a_way_back_is_refused(file: str) -> None:
    class Lost(Transform):
        def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
            return sample._replace(to_original=np.full(4, np.nan, np.float32))

    loader = data(file, augment={"lost": Lost()}).train_dataloader()
    with pytest.raises(ValueError, match="proposals of a file cannot follow"):
        next(iter(loader))


def test_files_of_other_pictures_are_refused_by_the_split(file: str, tmp_path: Path) -> None:
    more = data(file, train=partial(scenes, count=8))
    with pytest.raises(ValueError, match=r"train lacks 2 of 8 pictures: picture 6, picture 7"):
        more.train_dataloader()
    with pytest.raises(ValueError, match="is not there: make it with"):
        data(str(tmp_path / "none.npz")).val_dataloader()

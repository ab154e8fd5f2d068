"""Batches from files are the same for any number of workers, and after resuming."""

import json
import multiprocessing
import pickle
from functools import partial
from pathlib import Path

import albumentations
import lightning
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from detectors.config.compose import compose
from detectors.data import shared_memory
from detectors.data.augment.albumentation import Albumentation
from detectors.data.augment.mosaic import Mosaic
from detectors.data.augment.transforms import HorizontalFlip, Letterbox, ScaleJitter, Translate
from detectors.data.closing import Closing
from detectors.data.module import DetectionData
from detectors.data.multiscale import Multiscale
from detectors.data.sources.coco import read_coco
from detectors.data.sources.label_noise import LabelNoise
from detectors.data.sources.scenes import Layout, Look, Scenes
from detectors.module import LitData

COUNT = 14


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    """Json and folder of fourteen noisy pictures of different sizes, some without objects."""
    folder, rng = tmp_path_factory.mktemp("tiny"), np.random.default_rng(0)
    images, annotations = [], []
    for k in range(COUNT):
        height, width = rng.integers(24, 48, 2).tolist()
        noise = rng.integers(0, 255, (height, width, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{k}.png")
        images.append({"id": 100 + k, "file_name": f"{k}.png", "height": height, "width": width})
        for _ in range(k % 5 * 4):
            x, y, side = rng.uniform(2, 10, 3).tolist()
            annotations.append(
                {"id": len(annotations), "image_id": 100 + k, "category_id": 1 + k % 2,
                 "bbox": [x, y, side, side], "iscrowd": 0, "area": side**2}
            )  # fmt: skip
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "all.json").write_text(json.dumps(content))
    return folder / "all.json", folder


@pytest.fixture
def data(files):
    """DetectionData on these pictures; arguments replace those of the constructor."""

    def make(**changed) -> DetectionData:
        reader = partial(read_coco, *files)
        augment = {
            "scale": ScaleJitter(0.7, 1.4),
            "shift": Translate(0.1),
            "flip": HorizontalFlip(),
        }
        settings = {
            "train": reader,
            "val": reader,
            "num_classes": 2,
            "resize": Letterbox(32),
            "augment": augment,
            "batch_size": 4,
            "num_workers": 0,
            "seed": 3,
        }
        return DetectionData(**(settings | changed))

    return make


def scenes() -> Scenes:
    layout = Layout(side=32, num_classes=2, objects=(1, 2), sizes=(0.3, 0.6))
    return Scenes(split="train", count=8, seed=0, layout=layout, look=Look())


def epochs(data: DetectionData, count: int = 2) -> list[list[torch.Tensor]]:
    """The tensors of every batch of some epochs, from one loader."""
    loader, tensors = data.train_dataloader(), []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            found = [*batch.targets, *(x for x in batch if isinstance(x, torch.Tensor))]
            tensors.append([x.nan_to_num() for x in found])  # a mosaic has no way back
    return tensors


def equal(a: list[list[torch.Tensor]], b: list[list[torch.Tensor]]) -> bool:
    pairs = zip(a, b, strict=True)
    return all(torch.equal(x, y) for one, other in pairs for x, y in zip(one, other, strict=True))


def test_batches_do_not_depend_on_the_number_of_workers(data) -> None:
    expected = epochs(data())
    assert len(expected) == 6
    for workers in (1, 2):
        assert equal(epochs(data(num_workers=workers)), expected)


def test_mixed_batches_depend_neither_on_workers_nor_on_the_cache(data) -> None:
    """With crops, which see whole pictures, and without, where the canvas is kept."""
    for augment in ({"flip": HorizontalFlip()}, {"shift": Translate(0.1)}):
        mixed = partial(data, augment=augment, mix={"mosaic": Mosaic()}, mix_block=6)
        expected = epochs(mixed())
        for changed in ({"num_workers": 2}, {"num_workers": 3}, {"cache": "ram"}):
            assert equal(epochs(mixed(**changed)), expected)
    assert not equal(epochs(mixed(mix_block=None)), expected)
    with pytest.raises(ValueError, match=r"expected a whole number mix_block >= 1"):
        mixed(mix_block=0)
    with pytest.raises(ValueError, match=r"data\.mix_block=8 is about partners of a mix"):
        data(mix_block=8)


@pytest.mark.parametrize("workers", [0, 2])
def test_partners_are_decoded_once(data, workers: int) -> None:
    """Two workers may read a picture at the same moment, which both then do."""
    read = multiprocessing.get_context("fork").Value("l", 0)

    def counted(index: int) -> np.ndarray:
        with read.get_lock():
            read.value += 1
        return image(index)

    mixed = data(mix={"mosaic": Mosaic(probability=1.0)}, mix_block=14, num_workers=workers)
    source = mixed.source("train")
    image, source.image = source.image, counted
    assert len(epochs(mixed, 1)) == 3  # of four samples, each of four pictures
    assert read.value <= 14 + (6 if workers else 0)


@pytest.mark.parametrize("batch", [3, 14])
@pytest.mark.parametrize("augment", [None, {"flip": HorizontalFlip()}])
def test_a_batch_of_several_blocks_shows_the_pictures_that_it_names(data, batch, augment) -> None:
    """Also those that no mix and no transform has made anew, while others take their memory."""
    closing = Closing(1, 2)
    mixed = partial(data, augment=augment, mix={"mosaic": Mosaic()}, mix_block=2, closing=closing)
    found, plain = mixed(batch_size=batch), mixed(batch_size=batch)
    loader, expected = found.train_dataloader(), plain.train_dataloader()
    expected.dataset.cache = None
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        expected.sampler.set_epoch(epoch)
        for one, other in zip(loader, expected, strict=True):
            assert torch.equal(one.images, other.images)
    assert equal(epochs(mixed(batch_size=batch, num_workers=2)), epochs(mixed(batch_size=batch)))


def test_reduced_decoding_is_refused_where_it_never_happens(data, files) -> None:
    with pytest.raises(ValueError, match="crops, or canvases that change"):
        data(decode="reduced").train_dataloader()
    flip = {"flip": HorizontalFlip()}
    sides = Multiscale([32, 64])
    with pytest.raises(ValueError, match="crops, or canvases that change"):
        data(decode="reduced", augment=flip, multiscale=sides).train_dataloader()
    noisy = partial(LabelNoise, scenes)
    with pytest.raises(ValueError, match="these pictures are no files"):
        data(decode="reduced", augment=flip, train=noisy, val=scenes).check_batches(1)
    with pytest.raises(ValueError, match=r"found data\.decode=fast, expected exact or reduced"):
        data(decode="fast")


def test_the_seed_decides_and_epochs_differ(data) -> None:
    batches = epochs(data())
    assert equal(epochs(data()), batches)
    assert not equal(epochs(data(seed=4)), batches)
    assert not equal(batches[:3], batches[3:])
    sample = data().train_dataloader().dataset
    assert (sample[0, 5].image != sample[1, 5].image).any()


def test_one_transform_more_leaves_the_draws_of_the_others(data) -> None:
    """Flip draws the same with and without what stands before it."""
    alone = data(augment={"flip": HorizontalFlip()}).train_dataloader().dataset
    both = (
        data(augment={"shift": Translate(0.0), "flip": HorizontalFlip()}).train_dataloader().dataset
    )
    for index in range(COUNT):
        np.testing.assert_array_equal(alone[2, index].image, both[2, index].image)


def test_a_transform_set_to_null_is_off(data) -> None:
    plain = data(augment=None).train_dataloader().dataset
    off = data(augment={"flip": None}).train_dataloader().dataset
    np.testing.assert_array_equal(plain[0, 3].image, off[0, 3].image)


def test_evaluation_shows_every_picture_once_in_order_with_the_way_back(data) -> None:
    module = data(num_workers=1)
    batches = list(module.val_dataloader())
    truth = module.annotations("val")
    assert torch.cat([batch.ids for batch in batches]).tolist() == truth.image_ids.tolist()
    back = []
    for batch in batches:
        boxes = batch.targets.boxes * batch.to_original[:, None, [0, 1, 0, 1]]
        boxes = boxes + batch.to_original[:, None, [2, 3, 2, 3]]
        back.append(boxes[batch.targets.valid])
    np.testing.assert_allclose(torch.cat(back), truth.boxes, atol=1e-3)


def test_each_split_is_read_once_and_only_when_needed(files, data) -> None:
    calls = []

    def reader():
        calls.append("read")
        return read_coco(*files)

    module = data(train=reader, val=reader, test=reader)
    assert not calls
    for stage in ("fit", "test"):
        module.setup(stage)
    assert module.classes == ("cat", "dog")
    assert calls == ["read"]


def test_labels_are_those_of_the_model_that_the_data_are_for(data) -> None:
    plain, mapped = data(), data()
    mapped.order = ("dog", "cat")
    assert mapped.classes == ("dog", "cat")
    for split in ("val", "train"):
        truth, own = plain.annotations(split), mapped.annotations(split)
        assert own.category_ids == (2, 1)
        assert np.array_equal(own.labels, 1 - truth.labels)
    mapped = data()
    mapped.order = ("cat", "emu")
    with pytest.raises(ValueError, match="the model does not know dog, and emu of the model"):
        mapped.annotations("val")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_classes": 3}, r"2 classes .*num_classes is 3; set data.num_classes=2"),
        (
            {"classes": ["cat", "cow"]},
            r"has the classes \['cat', 'dog'\], expected \['cat', 'cow'\]",
        ),
    ],
)
def test_wrong_classes_stop_before_the_first_step(data, changed, message) -> None:
    with pytest.raises(ValueError, match=message):
        data(**changed).setup("fit")


class Recorder(lightning.LightningModule):
    """Trains one number and notes the images it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch, step: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch.ids.tolist(), int(batch.images.sum())))
        return self.weight * 1.0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(data: DetectionData, folder: Path, **settings) -> Recorder:
    recorder, resume = Recorder(), settings.pop("ckpt_path", None)
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,
    )
    trainer.fit(recorder, LitData(data), ckpt_path=resume, weights_only=False)
    return recorder


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_stopped_run_goes_on_with_the_very_next_batch(data, tmp_path, stop) -> None:
    """Three steps an epoch; stopped within and at the end of one."""
    keep = lightning.pytorch.callbacks.ModelCheckpoint(
        tmp_path, save_last=True, every_n_train_steps=1, save_top_k=0
    )
    off = {"enable_checkpointing": False}
    whole = fit(data(), tmp_path, max_epochs=3, **off)
    first = fit(data(), tmp_path, max_steps=stop, callbacks=[keep])
    second = fit(
        data(num_workers=1), tmp_path, max_epochs=3, ckpt_path=tmp_path / "last.ckpt", **off
    )
    assert len(whole.seen) == 9
    assert first.seen + second.seen == whole.seen


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*:DeprecationWarning")
def test_overfitting_to_some_batches_repeats_them(data, tmp_path) -> None:
    """Lightning puts a sampler of its own into the loader, whose keys are indices."""
    seen = fit(data(), tmp_path, max_epochs=2, overfit_batches=2, enable_checkpointing=False).seen
    assert [row[1:] for row in seen[:2]] == [row[1:] for row in seen[2:]]
    assert len(seen) == 4


def test_the_data_set_can_be_sent_to_a_spawned_worker(data) -> None:
    jitter = Albumentation(albumentations.ColorJitter(p=1))
    ours = data(augment={"colour": jitter}).train_dataloader().dataset
    theirs = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(ours[4, 2].image, theirs[4, 2].image)


@pytest.mark.parametrize("name", ["bccd", "bccd_dev", "coco_tiny"])
def test_configured_real_data_gives_batches(data_root, name) -> None:
    words = [f"data={name}", "resize=stretch", "augment=shift", "image_size=64"]
    config = compose([*words, "data.num_workers=0", "data.batch_size=8"])
    module = instantiate(config.data, _convert_="all")
    batch = next(iter(module.train_dataloader()))
    assert batch.images.shape == (8, 3, 64, 64)
    assert len(module.classes) == config.data.num_classes
    assert batch.targets.labels.max() < config.data.num_classes
    assert batch.targets.valid.any()
    boxes, frames = batch.targets.boxes, batch.frames[:, None]
    assert (boxes[..., :2] >= frames[..., :2])[batch.targets.valid].all()
    assert (boxes[..., 2:] <= frames[..., 2:])[batch.targets.valid].all()


def test_an_empty_batch_is_refused_at_once(data) -> None:
    with pytest.raises(ValueError, match="batch_size >= 1, found 0"):
        data(batch_size=0)


@pytest.mark.parametrize(
    "changed",
    [
        {"min_objects": 0},  # would be doubled for ever
        {"min_objects": 2.5},
        {"batch_size": 1.5},
        {"num_workers": True},
        {"seed": -1},
        {"max_unreadable": 1},
        {"max_unreadable": "all"},
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(data, changed) -> None:
    ((word, value),) = changed.items()
    with pytest.raises(ValueError, match=f"^data: expected .*{word} .*found {value}$"):
        data(**changed)


def test_a_split_that_is_not_there_is_refused(data) -> None:
    with pytest.raises(ValueError, match=r"no split test: use one of train, val, or let data.test"):
        data().setup("test")


def test_a_split_of_crowds_alone_is_refused(files, data) -> None:
    source = read_coco(*files)
    source.annotations = source.annotations._replace(crowd=np.ones_like(source.annotations.crowd))
    with pytest.raises(ValueError, match="train has no object to learn or to measure: of"):
        data(train=lambda: source).setup("fit")


def test_names_of_classes_are_text(data) -> None:
    with pytest.raises(ValueError, match=r"data.classes: the name of class 1 is null"):
        data(classes=["cat", None])
    assert data(classes=["cat", "dog"]).classes == ("cat", "dog")


@pytest.mark.parametrize("name", ["voc", "voc0712", "coco", "yolo"])
def test_data_sets_that_are_not_here_say_what_to_do(monkeypatch, name) -> None:
    monkeypatch.delenv("DETECTORS_DATA", raising=False)
    words = [f"data={name}", "resize=letterbox", "augment=none", "image_size=64"]
    own = ["data.num_classes=2", "data.train.root=/no/such.yaml"] if name == "yolo" else []
    config = compose([*words, *own])
    message = "such.yaml does not exist" if name == "yolo" else "DETECTORS_DATA is not set"
    with pytest.raises(ValueError, match=message):
        instantiate(config.data, _convert_="all").setup("fit")


def test_caches_and_batches_are_counted_together(data, monkeypatch) -> None:
    """Before either is taken: here 14 canvases of 32 x 32, twice, and 4 x 2 x 2 on their way."""
    canvas, flags = 14 * 32 * 32 * 3, 14
    need = 2 * (canvas + flags) + canvas  # of 16 pictures on their way there are 14
    settings = {"cache": "ram", "num_workers": 2, "augment": {}}
    monkeypatch.setattr(shared_memory, "space", lambda: (10**6, need))
    data(**settings).setup("fit")
    monkeypatch.setattr(shared_memory, "space", lambda: (10**6, need - 1))
    told = "0.1 MB of .* for the train .* and .* for the val .* and 0.0 MB for .*num_workers=2"
    with pytest.raises(ValueError, match=told):
        data(**settings).setup("fit")
    data(**settings, test=data().readers["val"]).setup("test")  # has no cache
    monkeypatch.setattr(shared_memory, "space", lambda: (10**6, 0))
    data(augment={}).setup("fit")  # neither workers nor a cache

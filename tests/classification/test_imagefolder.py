from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from detectors.classification.crops import AreaCrop, CenterSquare
from detectors.classification.imagefolder import Finish, ImageFolder, LabelledFiles
from detectors.data.augment.transforms import HorizontalFlip
from detectors.data.dataset import without_objects
from tests.small_pictures import write_picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of three and two pictures."""
    for split in ("train", "val"):
        for name in ("cat/1.png", "cat/2.JPG", "cat/3.png", "dog/1.png", "dog/2.png"):
            write_picture(tmp_path / split / name)
    return tmp_path


def folder(root: Path, **settings: object) -> ImageFolder:
    given = {"num_classes": 2, "image_size": 8, "batch_size": 2, "num_workers": 0, **settings}
    return ImageFolder(str(root), **given)


def test_labels_follow_the_order_of_the_folders(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "train" / ".hidden").mkdir()
    (root / "train" / "cat" / "notes.txt").write_text("no picture")
    files = LabelledFiles(root / "train")
    assert "5 of 5 images used; 1 entries that are no pictures left out: " in caplog.text
    assert files.classes == ("cat", "dog")
    assert files.labels.tolist() == [0, 0, 0, 1, 1]
    assert files.image(0).shape == (20, 30, 3)


def test_a_batch_is_a_function_of_seed_and_epoch(root: Path) -> None:
    data = folder(root, augment={"crop": AreaCrop(), "flip": HorizontalFlip(0.5)})
    data.setup("fit")
    loader = data.train_dataloader()
    batches = {}
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        batch = next(iter(loader))
        assert batch.images.shape == (2, 3, 8, 8)
        assert batch.images.dtype == torch.uint8
        assert torch.equal(batches.setdefault(epoch, batch.images), batch.images)
    assert not torch.equal(batches[0], batches[1])


def test_validation_sees_every_picture_once_and_its_middle(root: Path) -> None:
    data = folder(root)
    data.setup("fit")
    batches = list(data.val_dataloader())
    assert torch.cat([batch.labels for batch in batches]).tolist() == [0, 0, 0, 1, 1]
    row = batches[0].images[0, 0, 4].float()  # dark left half, bright right half
    assert row[:3].max() < 60
    assert row[5:].min() > 200


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda root: root.rename(root.with_name("away")), "data.root .* does not exist"),
        (lambda root: (root / "val").rename(root / "test"), "folder .*val does not exist"),
        (lambda root: (root / "train" / "eel").mkdir(), "1 classes have no picture: eel"),
        (lambda root: (root / "val" / "dog").rename(root / "val" / "hog"), "has dog, hog"),
    ],
)
def test_folders_that_do_not_fit_are_refused(
    root: Path, spoil: Callable[[Path], object], told: str
) -> None:
    spoil(root)
    with pytest.raises(ValueError, match=told):
        folder(root).setup("fit")


def test_another_number_of_classes_is_told(root: Path) -> None:
    with pytest.raises(ValueError, match=r"has 2 classes.* set data\.num_classes=2"):
        folder(root, num_classes=3).setup("fit")


def test_a_damaged_picture_is_named(root: Path) -> None:
    (root / "val" / "dog" / "1.png").write_bytes(b"no picture")
    data = folder(root)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"dog.1\.png: damaged"):
        list(data.val_dataloader())


def test_the_next_picture_takes_the_place_of_a_damaged_one_with_its_label(root: Path) -> None:
    (root / "train" / "cat" / "3.png").write_bytes(b"no picture")
    data = folder(root, max_unreadable=0.2)
    data.setup("fit")
    loader = data.train_dataloader()
    image, label, lost = loader.dataset[0, 2]
    assert (label, lost) == (1, (2,))
    assert (image == loader.dataset[0, 3][0]).all()
    assert len(list(loader)) == 2
    data = folder(root)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"^1 of 5 training pictures .*: .*cat.3\.png: damaged"):
        data.train_dataloader().dataset[0, 2]
    with pytest.raises(ValueError, match=r"^1 of 5 train pictures cannot be read: .*cat.3\.png"):
        folder(root, read_all=True).setup("fit")


def test_a_finish_needs_epochs_before_it() -> None:
    assert Finish(448, 10, 0.001).start(170) == 160
    for epochs in (10, 3, -1, None):
        with pytest.raises(ValueError, match=r"finish\.epochs=10"):
            Finish(448, 10, 0.001).start(epochs)


def test_crops_have_the_shares_and_shapes_asked_for() -> None:
    sample = without_objects(np.zeros((200, 300, 3), np.uint8), 0)
    crop = AreaCrop(area=(0.1, 0.4), ratio=4 / 3)
    sizes = np.array(
        [crop(sample, np.random.default_rng(seed)).image.shape[:2] for seed in range(300)]
    )
    shares, ratios = sizes.prod(axis=1) / 60_000, sizes[:, 1] / sizes[:, 0]
    assert shares.min() == pytest.approx(0.1, abs=0.01)
    assert shares.max() == pytest.approx(0.4, abs=0.01)
    assert ratios.min() == pytest.approx(0.75, abs=0.02)
    assert ratios.max() == pytest.approx(4 / 3, abs=0.03)


def test_the_middle_square_of_a_high_picture() -> None:
    image = np.zeros((40, 20, 3), np.uint8)
    image[10:30] = 255
    sample = CenterSquare(10)(without_objects(image, 0))
    assert sample.image.shape == (10, 10, 3)
    assert sample.image.min() == 255

"""`data.batch_size=auto` is the largest power of two that there is memory for, found once."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from detectors.__main__ import main
from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.detector import Detector
from detectors.engine import batch_size
from detectors.engine.automatic import check_alone, with_value
from detectors.engine.batch_size import check_device, largest
from detectors.engine.trial_steps import full_batch, most_objects
from detectors.studies.keys import fingerprint, resolved, run_key

WORDS = ["model=yolov3_tiny", "size=small", "image_size=64", "device=cpu", "precision=32-true"]
WORDS += ["data=scenes_easy", "scenes.layout.side=64", "data.train.read.count=20"]
WORDS += ["data.num_workers=0", "trick=[ema]"]
RUN = ["data.val.count=3", "data.batch_size=auto", "~callback.pictures", "latency=false"]
RUN += ["trainer.limit_train_batches=1", "hydra.run.dir=run"]


@pytest.mark.parametrize(
    ("room", "most", "found", "tried"),
    [
        (5, 99, 4, [2, 4, 8]),
        (8, 99, 8, [2, 4, 8, 16]),
        (99, 12, 8, [2, 4, 8]),
        (1, 99, 1, [2, 1]),
        (9, 1, 1, [1]),
    ],
)
def test_sizes_are_doubled_until_one_does_not_fit(
    room: int, most: int, found: int, tried: list[int]
) -> None:
    asked: list[int] = []
    assert largest(lambda count: asked.append(count) or count <= room, most) == found
    assert asked == tried


def test_where_nothing_fits_the_remedy_is_told() -> None:
    with pytest.raises(ValueError, match=r"not even one picture fits.*lower image_size"):
        largest(lambda count: False, 99)


def test_a_processor_and_several_processes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"device=cpu.*say a number, such as data\.batch_size=8"):
        check_device("cpu")
    trainer = instantiate(compose(["trainer=ddp_cpu", f"run_dir={tmp_path}"]), "trainer")
    with pytest.raises(
        ValueError, match=r"data\.batch_size=auto: the run has 2 processes.*find it on one"
    ):
        check_alone(trainer, batch_size.KEY)


def test_the_number_takes_the_place_of_the_word() -> None:
    words = ["model=fcos", "data.batch_size=auto", "seed=1"]
    assert with_value(words, "data.batch_size", 4) == ["model=fcos", "seed=1", "data.batch_size=4"]


def test_a_full_batch_has_the_most_objects_on_the_whole_canvas() -> None:
    batch = full_batch(2, (64, 96), 8, 5, 3, torch.device("cpu"))
    assert batch.images.shape == (2, 3, 64, 96)
    assert batch.targets.valid.sum(dim=1).tolist() == [5, 5]
    low, high = batch.targets.boxes.split(2, dim=-1)
    assert (low >= 0).all()
    assert (high > low).all()
    assert (high <= torch.tensor([96, 64])).all()
    assert batch.frames.tolist() == [[0, 0, 96, 64]] * 2


def test_mixes_join_the_objects_of_pictures_up_to_their_limit() -> None:
    plain = instantiate(compose(WORDS), "data")
    alone = int(np.diff(plain.annotations("train").offsets).max())
    assert most_objects(plain) == alone
    mosaic = instantiate(compose([*WORDS[:-1], "trick=[mosaic]"]), "data")
    assert most_objects(mosaic) == 4 * alone
    mosaic.mix["mosaic"].most = 5
    assert most_objects(mosaic) == max(alone, 5)


@pytest.fixture
def room_for_four(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches of which the loss was asked; a processor that has no memory for more than four."""
    asked: list[int] = []
    whole = Detector.loss

    def loss(self: Detector, images: torch.Tensor, *given: Any) -> Any:
        asked.append(len(images))
        if len(images) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return whole(self, images, *given)

    monkeypatch.setattr(Detector, "loss", loss)
    monkeypatch.setattr(batch_size, "check_device", lambda device: None)
    return asked


def test_the_number_is_found_by_training_steps_and_kept(
    room_for_four: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def train(*words: str, epochs: int = 1) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        said = [*WORDS, *RUN, f"trainer.max_epochs={epochs}", *words]
        monkeypatch.setattr(sys, "argv", ["detectors", "train", *said])
        try:
            main()
        finally:
            GlobalHydra.instance().clear()
        return json.loads((tmp_path / "run" / "run.json").read_text())

    found = train()
    assert room_for_four == [2, 2, 4, 4, 8, 4]  # two steps of each trial, then the run's
    assert found["batch_size"] == 4
    assert "batch_size: 4" in (tmp_path / "run" / "config.yaml").read_text()
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "data.batch_size=auto: 4, with pictures of (64, 64)" in log
    assert "batches of 4 would take optimizer.lr=0.0001" in log
    named = compose(with_value([*WORDS, *RUN[:-1], "trainer.max_epochs=1"], batch_size.KEY, 4))
    assert named.optimizer.lr == 0.0004
    assert found["key"] == run_key(resolved(named), fingerprint(resolved(named)))
    room_for_four.clear()
    again = train("ckpt_path=last", epochs=2)
    assert room_for_four == [4]
    assert again["batch_size"] == 4

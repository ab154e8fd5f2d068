"""Each trainer computes where its name says, and no word makes it compute elsewhere."""

from pathlib import Path

import pytest
import torch

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.config.words import check_words
from detectors.engine.hardware import accelerator_of

ON = {"cpu": "cpu", "ddp_cpu": "cpu", "gpu": "gpu", "ddp": "gpu", "mps": "mps"}


@pytest.mark.parametrize(("trainer", "device"), ON.items())
def test_a_trainer_says_its_device_and_takes_no_other(trainer: str, device: str) -> None:
    words = [f"trainer={trainer}", f"device={device}"]
    assert compose(words).trainer.device == device
    check_words(compose(words), words)
    check_words(compose(words[:1]), words[:1])
    other = "gpu" if device == "cpu" else "cpu"
    words = [f"trainer={trainer}", f"device={other}"]
    with pytest.raises(
        ValueError, match=f"device={other}, but the trainer computes on .* {device}"
    ):
        check_words(compose(words), words)


def test_two_words_for_a_gpu_agree() -> None:
    words = ["trainer=ddp", "device=cuda"]
    check_words(compose(words), words)


def test_ddp_cpu_is_two_processes(tmp_path: Path) -> None:
    cfg = compose(["trainer=ddp_cpu", "precision=32-true", f"run_dir={tmp_path}"])
    trainer = instantiate(cfg, "trainer")
    assert trainer.num_devices == 2
    assert trainer.strategy._get_process_group_backend() == "gloo"


@pytest.mark.parametrize("device", ["gpu", "mps"])
def test_a_device_that_is_not_there_is_refused(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device={device}: torch sees no GPU"):
        accelerator_of(device)

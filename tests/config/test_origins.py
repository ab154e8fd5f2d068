"""Where each value of a config comes from."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from detectors.config.compose import compose
from detectors.config.origins import LATER, origins


def config(*words: str) -> dict[str, Any]:
    cfg = compose(list(words))
    cfg.run_dir = "runs/a"
    found = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(found, dict)
    return found


def test_files_words_and_links() -> None:
    words = ["model=fcos", "optimizer.lr=0.3", "trick=[mosaic]"]
    found = origins(words, "train", config(*words))
    assert found["optimizer.lr"] == "the word optimizer.lr=0.3"
    assert found["trainer.max_epochs"] == "trainer/default.yaml"
    assert found["seed"] == "train.yaml"
    assert found["num_classes"] == "train.yaml, as ${data.num_classes}"
    assert found["part.tower._target_"].startswith("tower/")
    assert "trick/mosaic.yaml" in found.values()
    assert "" not in found.values()


def test_the_later_file_and_the_word_win() -> None:
    words = ["model=fcos", "trainer=smoke"]
    found = origins(words, "train", config(*words))
    assert found["trainer.max_epochs"] == "trainer/smoke.yaml"
    assert found["trainer.check_val_every_n_epoch"] == "trainer/default.yaml"


def test_what_was_found_in_the_data_says_so() -> None:
    words = ["model=fcos"]
    changed = config(*words)
    changed["data"]["num_classes"] = 17
    found = origins(words, "train", changed)
    assert found["data.num_classes"] == LATER
    assert found["seed"] == "train.yaml"


def test_a_file_of_the_users_is_named_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "neck").mkdir()
    text = "# @package part.neck\ndefaults: [fpn_p5]\nchannels: 48\n"
    (tmp_path / "neck" / "mine.yaml").write_text(text)
    words = [f"hydra.searchpath=[file://{tmp_path}]", "model=fcos", "neck=mine"]
    found = origins(words, "train", config(*words))
    assert found["part.neck.channels"] == f"{tmp_path}/neck/mine.yaml"


def test_words_that_compose_nothing_any_more_are_refused() -> None:
    with pytest.raises(ValueError, match="nonesuch"):
        origins(["neck=nonesuch"], "train", config())

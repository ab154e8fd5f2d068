"""The command line, called in this process: torch is imported once."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from detectors.__main__ import main

TINY = [
    "size=small",
    "backbone=darknet_thin",
    "image_size=128",
    "part.neck.channels=32",
    "part.tower.depth=1",
    "device=cpu",
    "data=scenes_easy",
    "data.batch_size=2",
    "data.num_workers=0",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=2",
    "trainer.num_sanity_val_steps=0",
    "callback.pictures.count=2",
]


@pytest.fixture(scope="session")
def detectors() -> Callable[..., None]:
    """Calls `detectors WORDS` in a folder; a failure exits as it does for a user.

    Of two words for one key the later one is said, so that a test may change what `TINY` says.
    """

    def call(folder: Path, *words: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            last = {(w.partition("=")[0], "=" in w): w for w in words}
            patch.setattr(sys, "argv", ["detectors", *last.values()])
            patch.setattr(sys, "path", list(sys.path))
            try:
                main()
            finally:
                GlobalHydra.instance().clear()

    return call


@pytest.fixture(scope="session")
def trained(detectors: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a tiny training, in a folder `runs`."""
    here = tmp_path_factory.mktemp("trained")
    detectors(here, "train", "model=fcos", *TINY, "trick=[ema]", "hydra.run.dir=runs/first")
    return here / "runs" / "first"


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    return TINY

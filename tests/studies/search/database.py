"""An empty file of trials, made once for all tests, because Optuna takes seconds to make one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from detectors.studies.search.trials import Trials


@pytest.fixture(scope="session")
def quick_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    made, make = tmp_path_factory.mktemp("database") / "search.db", Trials._make

    def copied(trials: Trials, file: Path) -> None:
        if not made.exists():
            make(trials, made)
        shutil.copy(made, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trials, "_make", copied)
        yield

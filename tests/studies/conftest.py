"""A study of simulated runs, which the tests of analysis, tables, report and verify share."""

import shutil
from pathlib import Path

import pytest

from detectors.studies import measured, report
from detectors.studies.compare import compare
from tests.studies.simulated import write_run

Skills = dict[tuple[str, ...], float]
SKILLS: Skills = {(): 0.5, ("trick=[ciou]",): 0.53, ("trick=[mosaic]",): 0.75, ("neck=pan",): 0.5}
FEW = 25  # resamples, which suffice where only the way of a number matters


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four variants with three seeds; one has other epochs, and one run of another diverged."""
    folder = tmp_path_factory.mktemp("sweep")
    jobs = ((words, seed) for words in SKILLS for seed in (1, 2, 3))
    for job, (words, seed) in enumerate(jobs):
        facts = {"max_epochs": 36} if words == ("neck=pan",) else {}
        if words == ("trick=[ciou]",) and seed == 3:
            facts = {"state": "diverged", "reason": "the loss is not finite in step 12"}
        key = f"{job:016x}"
        given = ["model=fcos", *words]
        write_run(folder / str(job), given, seed, SKILLS[words], 16, key=key, **facts)
    return folder


@pytest.fixture(scope="session")
def written(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of the sweep, with its report."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "DRAWS", FEW)
        report.write(compare([sweep], folder, "Do tricks help?"), folder)
    return folder


@pytest.fixture(scope="session")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of two variants with two seeds, and its report."""
    folder = tmp_path_factory.mktemp("little")
    jobs = [(words, seed) for words in ((), ("trick=[mosaic]",)) for seed in (1, 2)]
    for job, (words, seed) in enumerate(jobs):
        place, key = folder / "sweep" / str(job), f"{job:016x}"
        write_run(place, ["model=fcos", *words], seed, SKILLS[words], 8, key=key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "DRAWS", FEW)
        report.write(compare([folder / "sweep"], folder / "study"), folder / "study")
    return folder / "study"


@pytest.fixture
def study(little: Path, tmp_path: Path, few_draws: None) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(little, tmp_path / "elsewhere"))


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "DRAWS", FEW)

"""A sweep of `detectors train -m` ends with the table of its runs, also where jobs have failed."""

import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import detectors.commands.train as command
from detectors.__main__ import main
from tests.studies.simulated import write_run


def train(cfg: DictConfig) -> float:
    """Leaves what a run would; one of them fails."""
    job = HydraConfig.get()
    if "act=silu" in job.overrides.task:
        raise ValueError("this job fails")
    folder = Path(job.runtime.output_dir)
    words = [word for word in job.overrides.task if not word.startswith("seed=")]
    skill = 0.8 if "act=mish" in words else 0.4
    write_run(folder / "run", words, cfg.seed, skill, images=8, key=f"{cfg.seed}{words}")
    return 0.0


@pytest.mark.usefixtures("few_draws")
def test_a_sweep_ends_with_the_table_of_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ["act=relu,mish,silu", "seed=1", f"hydra.sweep.dir={tmp_path}"]
    monkeypatch.setattr(command, "main", train)
    monkeypatch.setattr(sys, "argv", ["detectors", "train", "-m", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert ended.value.code == 1
    assert (
        f"The runs of this sweep, compared; `detectors study compare 'runs=[{tmp_path}]'`"
        in told.out
    )
    assert "| act=relu | 1 |" in " ".join(told.out.split())
    assert "this job fails" in told.err

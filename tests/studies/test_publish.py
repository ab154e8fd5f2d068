"""The report of a study goes to trackers as one artifact, offline."""

from pathlib import Path

import pytest

from detectors.studies.design import read_study
from detectors.studies.evidence import kept
from detectors.studies.publish import FILES, _settings, publish


def test_the_report_goes_where_the_runs_go(study: Path) -> None:
    plain = {**kept(study), "name": "mine"}
    assert _settings("wandb", read_study(plain), [])["offline"] is True
    base = [*plain["base"], "logger=[csv,wandb]", "logger.wandb.project=other"]
    assert _settings("wandb", read_study({**plain, "base": base}), [])["project"] == "other"


@pytest.mark.slow
def test_wandb_gets_all_files_as_one_artifact_offline(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    told = publish("wandb", read_study(kept(study)), study, tmp_path, [])
    assert "artifact compare-report" in told
    assert len(list((study / "wandb").glob("offline-run-*/*.wandb"))) == 1
    staged = [file.read_bytes() for file in (tmp_path / "staged").rglob("*") if file.is_file()]
    assert sorted(staged) == sorted((study / name).read_bytes() for name in FILES)


@pytest.mark.slow
def test_mlflow_gets_all_files_as_one_artifact(study: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    publish("mlflow", read_study(kept(study)), study, tmp_path, [])
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("detectors").experiment_id])
    assert run.data.tags["study"] == "compare"
    found = client.list_artifacts(run.info.run_id, "report")
    assert {Path(file.path).name for file in found} == {*FILES}

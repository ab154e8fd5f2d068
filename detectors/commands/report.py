"""Write the report of a run, or a page with several runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detectors import report
from detectors.config.origins import origins
from detectors.config.words import words_of_job
from detectors.data.sources.base import Source
from detectors.engine.restoring import restored_data
from detectors.report.reading import RunFolder, read_run

TOGETHER = "side_by_side.html"


def main(cfg: DictConfig) -> None:
    """Write it into the folder of the run; of several runs, here, or where `into` says."""
    folders = [cfg.run] if isinstance(cfg.run, str) else list(cfg.run)
    if not folders:
        raise ValueError("run=[]: name the folder of a run, or several: run=[A,B]")
    if len(folders) == 1:
        file = Path(cfg.into or Path(folders[0]) / report.FILE)
        _of_one(Path(folders[0]), file, list(cfg.trust))
    else:
        file = Path(cfg.into or TOGETHER)
        report.write_beside([Path(folder) for folder in folders], file)
    print(file)


def _of_one(folder: Path, file: Path, trust: Sequence[str]) -> None:
    run = read_run(folder)
    users = [word for word in words_of_job() if word.startswith("hydra.searchpath=")]

    def known() -> Mapping[str, str]:
        if not run.record:
            raise ValueError("the folder of an evaluation has its own words alone")
        return origins([*users, *run.words], "train", run.config)

    report.write(folder, lambda: _source(run, trust), known, file)


def _source(run: RunFolder, trust: Sequence[str]) -> Source:
    """The pictures of the split, made from the config of the run.

    Raises:
        ValueError: it does not say how.
    """
    if "_target_" not in (run.config.get("data") or {}):
        raise ValueError("the folder of an evaluation does not say how its pictures are made")
    classes = (run.record.get("data") or {}).get("classes") or []
    described: dict[str, Any] = {"config": dict(run.config), "classes": classes}
    data = restored_data(described, OmegaConf.create({"data": {}}), trust, split=run.split)
    return data.source(run.split)

"""Tune a detector: try words, stop early what is not worth it, keep what was tried."""

import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from detectors.config.paths import config_dirs
from detectors.config.words import words_of_job
from detectors.studies.design import Cell
from detectors.studies.execute import Job, Runner, training
from detectors.studies.executors import executor
from detectors.studies.executors.local import shares
from detectors.studies.search import report
from detectors.studies.search.loop import Searcher, alone
from detectors.studies.search.space import Search, read_search
from detectors.studies.search.trials import Trials
from detectors.studies.store import Store
from detectors.studies.tracking import named

FOLDER = Path("runs/searches")


def main(cfg: DictConfig) -> None:
    """Go on with the search until it has its trials, and report; exit code 1 if none is done."""
    search = _search(cfg)
    folder = Path(cfg.folder or FOLDER / search.name)
    folder.mkdir(parents=True, exist_ok=True)
    jobs, threads = shares(cfg.jobs, cfg.threads)
    node: Any = OmegaConf.to_container(cfg, resolve=False)
    engine = executor(cfg.executor, node["cluster"] or {}, jobs, threads)
    job, hours = _job(cfg, search, threads), search.budget["hours"]
    runner = Runner(Store(cfg.store), engine, job, hours, cfg.again)
    with alone(folder) as beat:
        searcher = Searcher(search, Trials(search, folder, threads), runner, _directories())
        test = searcher.has_test()
        searcher.work(beat)
        folders = [*config_dirs(_directories())]
        found = report.results(search, searcher.trials.all(), runner.store, test, folders)
        print(report.write(found, search, folder, folders))
    if runner.late:
        print("the hours of search.budget are over")
    sys.exit(0 if found["best"] else 1)


def _search(cfg: DictConfig) -> Search:
    name = HydraConfig.get().runtime.choices.get("search") or ""
    if not name:
        raise ValueError(
            "search has no value: add search=NAME, a file of conf/search or of --config-dir DIR"
        )
    node: Any = OmegaConf.to_container(cfg.search, resolve=False)
    return read_search(node, name)


def _directories() -> list[str]:
    return [word for word in words_of_job() if word.startswith("hydra.searchpath=")]


def _job(cfg: DictConfig, search: Search, threads: int) -> Any:
    command, store = training(_directories()), str(Path(cfg.store).absolute())

    def job(cell: Cell) -> Job:
        retries, environment = search.budget["retries"], named(search.name, cell)
        return Job(
            cell.key,
            cell.words,
            store,
            threads,
            retries,
            command=command,
            environment=environment,
        )

    return job

"""Compare variants over several seeds: plan, run what is missing, report, verify."""

import hashlib
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from detectors.config.paths import config_dirs, naming
from detectors.config.words import words_of_job
from detectors.studies import planning
from detectors.studies.cells import Planned, Planner
from detectors.studies.design import Cell, read_study
from detectors.studies.equal import equalised
from detectors.studies.evidence import accepted, gathered, keep, kept
from detectors.studies.execute import Executor, Job, Runner, training
from detectors.studies.executors import executor
from detectors.studies.executors.local import shares
from detectors.studies.store import Run, Store
from detectors.studies.tracking import named

FOLDER = Path("runs/studies")


def main(cfg: DictConfig) -> None:
    """Do with the study what `do` says."""
    if cfg.do == "compare":
        _compare(cfg)
    elif cfg.folder is not None and not _chosen():
        _of_folder(cfg)
    else:
        DO[cfg.do](Asked(cfg))


class Asked:
    """A study with its store, as the words of the command line describe them."""

    def __init__(self, cfg: DictConfig) -> None:
        name = _chosen()
        if not name:
            raise ValueError(
                "study has no value: add study=NAME, a file of conf/study or of --config-dir DIR "
                "(or folder=FOLDER, for report and verify of a study folder)"
            )
        self.cfg, self.node = cfg, _node(cfg, name)
        self.study = read_study(self.node)
        self.folder = Path(cfg.folder or FOLDER / self.study.name)
        self.store = Store(cfg.store, "code" in cfg.accept, self.study.code)
        search = _search()
        if cfg["import"] is not None:
            for line in self.store.adopt(cfg["import"]):
                print(line)
        plain = Planner(self.study, self.folder, search)
        self.study = equalised(self.study, plain, self.store, cfg.do in ("plan", "run"))
        self.planner = Planner(self.study, self.folder, search)

    def planned(self, seeds: Sequence[int] = (), tried: bool = False) -> Planned:
        """Runs with these seeds, or with all that the study has come to."""
        return self.planner.planned(seeds or self.seeds(), tried)

    def seeds(self) -> list[int]:
        """The seeds to start from, and those that were added since."""
        count = len(self.study.seeds.start)
        start, others = self.study.seeds.every[:count], self.study.seeds.every[count:]
        return [*start, *takewhile(self._begun, others)]

    def _begun(self, seed: int) -> bool:
        cells = self.planner.planned([seed]).cells
        return any(self.store.run(cell.key).state != "missing" for cell in cells)

    def keep(self, planned: Planned) -> None:
        """Keep in the study's folder all that a report needs of the store."""
        runs = {cell: self.store.run(cell.key) for cell in planned.cells}
        done = [run for run in runs.values() if run.state in ("done", "diverged")]
        files = {file for run in done for file in self.store.changed_since(run.record)}
        keep(self.folder, self.node, runs, planned.refused, sorted(files))


def _search() -> list[str]:
    """Words that name folders of configs of the user's."""
    return [word for word in words_of_job() if word.startswith("hydra.searchpath=")]


def _node(cfg: DictConfig, name: str) -> dict[str, Any]:
    """The study's keys in plain containers; its words keep their own `${...}`."""
    node: Any = OmegaConf.to_container(cfg.study, resolve=False)
    return {**node, "name": node["name"] or name}


def _chosen() -> str:
    return HydraConfig.get().runtime.choices.get("study") or ""


def plan(asked: Asked) -> None:
    """Print variants, refused ones, runs, costs and power."""
    planned = asked.planned(tried=True)
    jobs, _ = shares(asked.cfg.jobs, asked.cfg.threads)
    print("\n".join(planning.shown(asked.study, planned, asked.store, jobs)))


def status(asked: Asked) -> None:
    """Print a line for each run."""
    planned = asked.planned()
    for variant, reason in planned.refused.items():
        print(f"{variant}: refused: {reason}")
    for cell in planned.cells:
        print(_line(cell, asked.store.run(cell.key), asked.study.metric))


def _line(cell: Cell, run: Run, metric: str) -> str:
    record = run.record
    told = f"{cell.variant}, seed {cell.seed}: {run.state}"
    if run.state == "running" and record:
        told += f", epoch {record.get('epochs', 0)} of {record.get('max_epochs')}"
    if run.state == "done":
        value = record["metrics"].get(metric, -1)
        told += f", {metric} {100 * value:.1f}" if value >= 0 else f", no {metric}"
    return f"{told}{f' ({run.reason})' if run.reason else ''}  {cell.key}"


def run(asked: Asked) -> None:
    """Train what is missing, add seeds while the study asks for them; exit code 1 on a failure."""
    print("variants are composed, and new ones are tried once", flush=True)
    planned = asked.planned(tried=True)
    if told := planning.cannot_run(asked.study, planned):
        raise ValueError(f"study {asked.study.name}: {told}")
    for variant, reason in planned.refused.items():
        print(f"{variant} is refused: {reason}")
    threads = _threads(asked, planned)
    _say_stale(asked, planned)
    executor = _executor(asked, threads)
    runner = Runner(asked.store, executor, _job(asked, threads), _hours(asked), asked.cfg.again)
    seeds = asked.seeds()
    runner.work(planned.cells)
    while not runner.late and (wide := _too_wide(asked, seeds)):
        seeds.append(asked.study.seeds.every[len(seeds)])
        print(f"seed {seeds[-1]} is added: {wide}")
        runner.work(asked.planned(seeds).cells)
    planned = asked.planned(seeds)
    asked.keep(planned)
    sys.exit(_ended(asked, planned, runner))


def _say_stale(asked: Asked, planned: Planned) -> None:
    """Tell which finished runs are trained again, before they are."""
    stale = [run for cell in planned.cells if (run := asked.store.run(cell.key)).state == "stale"]
    if stale:
        print(
            f"{len(stale)} finished runs are stale ({stale[0].reason} changed) and are trained "
            "again; what they were stays in folders KEY.1. accept=[code] would count them as they "
            "are",
            flush=True,
        )


def _ended(asked: Asked, planned: Planned, runner: Runner) -> int:
    """Say how the study stands; its exit code."""
    states = [asked.store.run(cell.key).state for cell in planned.cells]
    bad = [state for state in states if state not in ("done", "diverged")]
    if runner.late:
        print("the hours of study.budget are over")
    print(runner.progress([cell.key for cell in planned.cells]))
    words = ["report", f"study={asked.study.name}", *naming([*config_dirs(_search())])]
    print(f"now: {shlex.join(['detectors', 'study', *words])}")
    return 1 if bad or planned.refused else 0


def _hours(asked: Asked) -> float | None:
    return asked.study.budget["hours"]


def _too_wide(asked: Asked, seeds: Sequence[int]) -> str:
    """Why a seed is to be added: which intervals are wider than the study asks; or nothing.

    Whatever the differences are: a rule that looked at their signs would find some where none are.
    """
    until, study = asked.study.seeds.until, asked.study
    if until is None or len(seeds) >= study.seeds.at_most:
        return ""
    planned = asked.planned(seeds)
    asked.keep(planned)
    results = _results(asked.folder)
    wide = planning.too_wide(study, results)
    halves = ", ".join(f"{name} ±{half:.2f}" for name, half in wide.items())
    return f"{halves} AP, wider than ±{until:g}" if wide else ""


def _threads(asked: Asked, planned: Planned) -> int:
    """Threads of each run.

    Raises:
        ValueError: runs of the study that are done had others, and would be another experiment.
    """
    jobs, threads = shares(asked.cfg.jobs, asked.cfg.threads)
    runs = [asked.store.run(cell.key) for cell in planned.cells]
    others = {run.record.get("threads", threads) for run in runs if run.state == "done"} - {threads}
    if others:
        raise ValueError(
            f"runs of this study have used {sorted(others)[0]} threads, and jobs={jobs} or "
            f"OMP_NUM_THREADS makes it {threads}, which changes results: add "
            f"threads={sorted(others)[0]}"
        )
    return threads


def _executor(asked: Asked, threads: int) -> Executor:
    node: Any = OmegaConf.to_container(asked.cfg, resolve=False)
    return executor(asked.cfg.executor, node["cluster"] or {}, asked.cfg.jobs, threads)


def _job(asked: Asked, threads: int) -> Callable[[Cell], Job]:
    command = training(_search())
    store, retries = str(asked.store.folder.absolute()), asked.study.budget["retries"]
    name, keep = asked.study.name, asked.study.keep
    return lambda cell: Job(
        cell.key,
        cell.words,
        store,
        threads,
        retries,
        command=command,
        environment=named(name, cell),
        keep=keep,
    )


def report(asked: Asked) -> None:
    """Gather the runs, compare them and write the report.

    Raises:
        ValueError: no run counts, and a report of none would take the place of an older one.
    """
    planned = asked.planned()
    runs = [asked.store.run(cell.key) for cell in planned.cells]
    if not any(run.state in ("done", "diverged") for run in runs):
        states = planning.counted(runs)
        stale = next((f" ({run.reason})" for run in runs if run.state == "stale"), "")
        remedy = "add accept=[code] to count stale runs, or " if stale else ""
        raise ValueError(
            f"study {asked.study.name}: there is nothing to report, of {len(runs)} runs {states}"
            f"{stale}: {remedy}train them first, with study run"
        )
    asked.keep(planned)
    _report(asked.folder)
    _publish(asked.cfg, asked.folder)


def verify(asked: Asked) -> None:
    """Compute every number of the report again."""
    _verify(asked.folder, asked.cfg)


def _of_folder(cfg: DictConfig) -> None:
    """Report or verify a study folder, wherever it was moved to."""
    if cfg.do not in ("report", "verify"):
        raise ValueError(f"do={cfg.do} needs study=NAME; folder=FOLDER alone is for report, verify")
    if cfg.do == "report":
        _report(Path(cfg.folder))
        _publish(cfg, Path(cfg.folder))
    else:
        _verify(Path(cfg.folder), cfg)


def _results(folder: Path) -> dict[str, Any]:
    from detectors.studies.analysis import analyse

    runs, failed = gathered(folder)
    return analyse(read_study(kept(folder)), runs, failed, accepted(folder))


def _report(folder: Path) -> None:
    from detectors.studies.report import write

    write(_results(folder), folder)
    print(f"{folder / 'report.html'}")


def _publish(cfg: DictConfig, folder: Path) -> None:
    """Log the report to the trackers that `to` names."""
    if not cfg.to:
        return
    from detectors.studies.publish import publish

    for tracker in cfg.to:
        print(publish(tracker, read_study(kept(folder)), folder, Path(cfg.store), _search()))


def _verify(folder: Path, cfg: DictConfig) -> None:
    kept(folder)
    from detectors.studies.verify import verify as differing

    if lines := differing(folder):
        sys.exit("\n".join(lines))
    print(f"{folder}: every number is computed again and the same")
    if cfg.retrain:
        _retrain(folder, cfg)


def _retrain(folder: Path, cfg: DictConfig) -> None:
    from detectors.studies.retrain import retrained

    seed = secrets.randbelow(10**6) if cfg.retrain_seed is None else cfg.retrain_seed
    if lines := retrained(folder, cfg.retrain, seed, cfg.accept, training(_search())):
        sys.exit("\n".join(lines))
    print("trained again, metrics and detections are the same to the bit")


def _compare(cfg: DictConfig) -> None:
    if not cfg.runs:
        raise ValueError("runs=[]: name the folders of finished runs, or of a sweep: runs=[A,B]")
    from detectors.studies.compare import compare

    places = [Path(run).resolve() for run in cfg.runs]
    digest = hashlib.sha256("\n".join(map(str, places)).encode()).hexdigest()
    folder = Path(cfg.folder or FOLDER / f"compare_{digest[:8]}")  # again the same for the same
    compare(places, folder, cfg.study.question or "")
    _report(folder)
    _publish(cfg, folder)


DO: Mapping[str, Callable[[Asked], None]] = {
    "plan": plan,
    "run": run,
    "status": status,
    "report": report,
    "verify": verify,
}

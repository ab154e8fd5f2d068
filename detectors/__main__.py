"""The command line: `detectors COMMAND [overrides]`, also `python -m detectors`."""

import ast
import atexit
import gc
import importlib
import os
import platform
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, takewhile
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import yaml

from detectors import graph_cache
from detectors.config import completion
from detectors.config.paths import CONF, PACKAGE, choices
from detectors.config.spelling import (
    did_you_mean,
    no_assignment,
    no_folder,
    said_twice,
    unknown_choice,
)
from detectors.failures import expected, keep, leave_nothing, record_end, told

FULL_ERRORS = "HYDRA_FULL_ERROR"  # a variable; 1 shows stack traces
VALUED = (  # flags of Hydra that take the argument behind them
    *("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"),
    *("--package", "-p", "--cfg", "-c"),
)
DOING = ("study",)  # commands of several things to do: `study plan` means `study do=plan`


def main() -> None:
    """Run the command that `sys.argv` names, or list the commands."""
    graph_cache.name_folder()
    known, given, rest = commands(), sys.argv[1:2], _words_first(sys.argv[2:])
    if given and given[0] in DOING:
        rest = _with_do(rest)
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview(known))
    elif given[0] in ("-V", "--version", "version"):
        print(versions())
    elif given[0] in completion.FLAGS:
        completion.complete(rest, known)
    elif given[0] in known and {"-h", "--help"} & set(rest):
        print(help_text(given[0], rest))
    elif given[0] in known:
        run(given[0], rest)
    else:
        near = did_you_mean(given[0], known)
        sys.exit(f"detectors: no command {given[0]!r}.{near}\n\n{overview(known)}")


def _imported(name: str) -> ModuleType:
    """A module whose imports nobody searches for garbage, neither meanwhile nor later.

    They make a million objects that stay. To look through them takes a tenth of the time of the
    imports, then a third of a second each time; and a worker that looks copies them all.
    """
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)  # else libraries tell at the end of what was not given back


def _with_do(arguments: list[str]) -> list[str]:
    """The arguments with `do=plan` for a bare word `plan`, the first one before the flags."""
    words = list(takewhile(lambda argument: not argument.startswith("-"), arguments))
    bare = [word for word in words if re.fullmatch(r"\w+", word)]
    done = [f"do={word}" if word in bare[:1] else word for word in words]
    return done + arguments[len(words) :]


def _words_first(arguments: list[str]) -> list[str]:
    """The words before the flags: Hydra takes no words on both sides of one."""
    words: list[str] = []
    flags: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in VALUED:
            flags += [argument, *islice(rest, 1)]
        else:
            (flags if argument.startswith("-") else words).append(argument)
    return words + flags


def commands() -> list[str]:
    """All of them: files of `commands/` with a config of their name."""
    named = {file.stem for file in (PACKAGE / "commands").glob("*.py")}
    return sorted(named & {file.stem for file in CONF.glob("*.yaml")})


def _first_line(command: str) -> str:
    """Of its docstring. The file is read, not imported, so that the list appears at once."""
    text = (PACKAGE / "commands" / f"{command}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]


def overview(known: list[str]) -> str:
    """The text that `detectors` alone prints."""
    width = max(map(len, known))
    lines = [f"  {name:<{width}}  {_first_line(name)}" for name in known]
    return "\n".join(
        [
            "usage: detectors COMMAND [key=value ...]",
            "",
            *lines,
            "",
            "`detectors COMMAND --help` explains one of them, `--version` tells versions.",
        ]
    )


def versions() -> str:
    """The line of `detectors --version`, from what is installed: torch is not imported."""
    from importlib.metadata import PackageNotFoundError, version

    told = []
    for package in ("lightning-detectors", "torch"):
        try:
            told.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            told.append(f"{package} not installed")
    return ", ".join([*told, f"Python {platform.python_version()}"])


def help_text(command: str, words: Sequence[str] = ()) -> str:
    """The text of `detectors COMMAND --help`; Hydra would take five times as long to print it.

    Args:
        command: one of `commands`.
        words: of the command line; `--config-dir` among them adds choices of the user's.
    """
    with (CONF / f"{command}.yaml").open(encoding="utf-8") as file:
        template = yaml.safe_load(file)["hydra"]["help"]["template"]
    lines = [f"{group}: {', '.join(names)}" for group, names in sorted(choices(words).items())]
    return template.replace("$APP_CONFIG_GROUPS", "\n".join(lines))


def run(command: str, arguments: list[str]) -> Any:
    """Compose the command's config and call its `main` with it, once for every job of a sweep.

    What fails is told in one line, unless the variable HYDRA_FULL_ERROR is 1.
    """
    import hydra

    from detectors.config import folders
    from detectors.config.loading import loading_fast

    asked = os.environ.get(FULL_ERRORS) == "1"
    failed: list[str] = []
    swept: list[Path] = []

    def job(cfg: Any) -> Any:
        """What Hydra calls with the config of each job."""
        sys.argv = [program, command, *_relaunch(arguments)]
        swept[:] = _sweep(command)
        try:
            cfg = _checked(command, cfg)
            with _full_errors(asked):  # in processes that it starts, too
                return _imported(f"detectors.commands.{command}").main(cfg)
        except Exception as error:
            keep(error)
            record_end(_folder(), error)
            if not asked:
                failed.append(_failure(error))
            raise
        except SystemExit as stop:
            record_end(_folder(), stop)
            raise

    checks = (no_folder, unknown_choice, no_assignment, said_twice)
    if refused := next(filter(None, (check(arguments) for check in checks)), ""):
        _exit(refused)
    folders.register()
    program = sys.argv[0]
    sys.path.append(os.getcwd())  # so that `_target_: my_module.MyNeck` finds a file beside
    sys.argv = [program, *arguments]
    try:
        with _full_errors(True), _ended_by_signals(), loading_fast():
            if {"--cfg", "-c"} & {*arguments}:
                sys.argv += importlib.import_module("detectors.config.compose").lifted(arguments)
            main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=command)
            value = main(job)()
    except Exception as error:
        _tell(swept)
        if asked:
            raise
        suggestions = importlib.import_module("detectors.config.suggestions")
        _exit("\n".join(failed) or suggestions.hint(command, arguments) or told(error))
    _tell(swept)
    return value


def _sweep(command: str) -> list[Path]:
    """The folder of the sweep that this job of `train` belongs to; none where there is none."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    job = HydraConfig.get()
    return [Path(job.sweep.dir)] if (command, job.mode) == ("train", RunMode.MULTIRUN) else []


def _tell(swept: Sequence[Path]) -> None:
    """Print what the runs of a sweep show, those that have failed among them."""
    for folder in swept:
        if table := importlib.import_module("detectors.studies.compare").sweep_told(folder):
            print(table)


def _checked(command: str, cfg: Any) -> Any:
    """The config of the words, which are refused here if they can be without torch."""
    from detectors.config.compose import compose, lifted
    from detectors.config.words import check_words, words_of_job

    words = words_of_job()
    if lifted(words):
        cfg = compose(words, command)
    check_words(cfg, words)
    return cfg


def _folder() -> Path:
    """That of the running job."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def _failure(error: Exception) -> str:
    """The line about a job that failed; of a sweep's, with its folder and words."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    job = HydraConfig.get()
    if job.mode == RunMode.RUN:
        if expected(error):
            leave_nothing(Path(job.runtime.output_dir))
        _exit(told(error))  # here, because Hydra would add a line
    return f"{job.runtime.output_dir} ({' '.join(job.overrides.task)}): {told(error)}"


def _relaunch(arguments: list[str]) -> list[str]:
    """Arguments that make another process repeat this job alone; Lightning starts ranks by them."""
    from hydra.core.hydra_config import HydraConfig

    flags = [a for a in arguments if ("=" not in a or a.startswith("-")) and a[0] not in "~+"]
    return [f for f in flags if f not in ("-m", "--multirun")] + list(
        HydraConfig.get().overrides.task
    )


@contextmanager
def _full_errors(wanted: bool) -> Iterator[None]:
    """Whether Hydra raises errors as they are; else it prints each in a way of its own."""
    before = os.environ.pop(FULL_ERRORS, None)
    if wanted:
        os.environ[FULL_ERRORS] = "1"
    try:
        yield
    finally:
        os.environ.pop(FULL_ERRORS, None)
        if before is not None:
            os.environ[FULL_ERRORS] = before


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and Ctrl+C end with 143 and 130, at once where nothing needs to be saved first."""

    def end(number: int, frame: Any) -> NoReturn:
        sys.exit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGINT) if main else ()
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()

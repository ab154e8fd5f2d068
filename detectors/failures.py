"""Tells what went wrong in one line, and keeps the rest in the log of the run."""

import contextlib
import json
import logging
import os
import platform
import re
import shutil
import signal
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from detectors.config.paths import PACKAGE
from detectors.files import whole_file

_EXPECTED = (ValueError, OSError, FloatingPointError)
_REFUSING = ("hydra.", "omegaconf.", "yaml.", "lightning.")  # whose errors are sentences
_FOR_PROGRAMMERS = re.compile(r"\s*(full_key:|object_type=|reference_type=|See https?:)")
SIGNALLED = tuple(128 + number for number in (signal.SIGTERM, signal.SIGINT))  # exit statuses
LINES = 20  # of the log, in `run.json`
_PART = re.compile(r"Interpolation key '(part\.\w+)' not found")


def told(error: Exception) -> str:
    """An error that a user can mend in its own words, any other with its place in the code."""
    if expected(error):
        return _with_remedy(_line(error))
    files = [handler.baseFilename for handler in _log_files()]
    where = f"is in {files[-1]}" if files else "is shown with HYDRA_FULL_ERROR=1"
    name = type(error).__name__
    return f"{_place(error)}: unexpected {name}: {_line(error)} (the traceback {where})"


def keep(error: Exception) -> None:
    """Write it into the log file of the running job, with the traceback where that may help."""
    trace = None if expected(error) else (type(error), error, error.__traceback__)
    record = logging.LogRecord("detectors", logging.ERROR, __file__, 0, told(error), None, trace)
    for handler in _log_files():
        handler.handle(record)


def record_end(folder: Path, error: Exception | SystemExit) -> None:
    """Say in the `run.json` of the folder, which this process keeps, how the run has ended.

    It is "stopped" where a signal ended it, so that it can be resumed, "diverged" where numbers
    were not finite, else "failed".
    """
    file = folder / "run.json"
    with contextlib.suppress(OSError, ValueError):  # none, or a disk that is full
        content = json.loads(file.read_text(encoding="utf-8"))
        mine = content["state"], content["host"], content["pid"]
        if mine == ("running", platform.node(), os.getpid()):
            ended = datetime.now(UTC).isoformat(timespec="seconds")
            content |= {**_end(error), "log": _last_lines(folder / "log.txt"), "ended": ended}
            with whole_file(file) as lines:
                lines.write(json.dumps(content, indent=2) + "\n")


def _end(error: Exception | SystemExit) -> dict[str, Any]:
    """State, class of the error, reason and exit code."""
    if isinstance(error, SystemExit):
        state = "stopped" if error.code in SIGNALLED else "failed"
        reason = getattr(error, "told", f"ended by exit status {error.code}")
        return {"state": state, "error": None, "reason": reason, "exit_code": error.code}
    state = "diverged" if isinstance(error, FloatingPointError) else "failed"
    name = type(error).__name__
    return {"state": state, "error": name, "reason": told(error), "exit_code": 1}


def _last_lines(log: Path) -> list[str] | None:
    if not log.is_file():
        return None
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:]


def leave_nothing(folder: Path) -> None:
    """Remove the folder of a job that was refused before it wrote anything of its own there."""
    if {file.name for file in folder.iterdir()} <= {".hydra", "log.txt"}:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # other runs are in it
            Path("runs").rmdir()


def expected(error: Exception) -> bool:
    """Whether its message is written for users."""
    module = f"{type(error).__module__}."
    return isinstance(error, _EXPECTED) or module.startswith(_REFUSING)


def _log_files() -> list[logging.FileHandler]:
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if isinstance(handler, logging.FileHandler)]


def _line(error: Exception) -> str:
    """The message without line breaks, and without what Hydra adds for programmers."""
    message = str(error) or str(error.__cause__ or "no reason is given")
    lines = [line.strip() for line in message.splitlines() if not _FOR_PROGRAMMERS.match(line)]
    return " ".join(filter(None, lines))


def _with_remedy(line: str) -> str:
    """The line, with what to do where a value or a part is missing."""
    _, missing, key = line.rpartition("Missing mandatory value: ")
    if missing:
        return f"{key} has no value: add {key}=..."
    slot = _PART.search(line)
    remedy = f"; a file for it begins with the line `# @package {slot[1]}`" if slot else ""
    return f"{line}{remedy}"


def _place(error: Exception) -> str:
    """File and line of the last step in this package or in a file of the user's."""
    steps = [(Path(s.filename), s.lineno) for s in traceback.extract_tb(error.__traceback__)]
    ours = [step for step in steps if _ours(step[0])]
    file, line = (ours or steps)[-1]
    roots = [root for root in (PACKAGE.parent, Path.cwd()) if file.is_relative_to(root)]
    return f"{file.relative_to(roots[0]) if roots else file}:{line}"


def _ours(file: Path) -> bool:
    beside = file.is_relative_to(Path.cwd()) and "-packages" not in str(file)
    return beside or file.is_relative_to(PACKAGE)

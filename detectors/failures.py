"""Tells what went wrong in one line, and keeps the rest in the log of the run."""

import contextlib
import logging
import re
import shutil
import traceback
from pathlib import Path

from detectors.config.paths import PACKAGE

_EXPECTED = (ValueError, OSError, FloatingPointError)
_REFUSING = ("hydra.", "omegaconf.", "yaml.", "lightning.")  # whose errors are sentences
_FOR_PROGRAMMERS = re.compile(r"\s*(full_key:|object_type=|reference_type=|See https?:)")
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

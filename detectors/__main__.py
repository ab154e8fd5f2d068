"""The command line: `detectors COMMAND [overrides]`, also `python -m detectors`."""

import ast
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from detectors.config.paths import CONF, PACKAGE, choices
from detectors.config.spelling import did_you_mean, unknown_choice


def main() -> None:
    """Run the command that `sys.argv` names, or list the commands."""
    known, given = commands(), sys.argv[1:2]
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview(known))
    elif given[0] in known and {"-h", "--help"} & set(sys.argv[2:]):
        print(help_text(given[0], sys.argv[2:]))
    elif given[0] in known:
        run(given[0], sys.argv[2:])
    else:
        near = did_you_mean(given[0], known)
        sys.exit(f"detectors: no command {given[0]!r}.{near}\n\n{overview(known)}")


def commands() -> dict[str, str]:
    """First docstring line of every command: a file of `commands/` with a config of its name.

    Files are read, not imported, so that the list appears at once.
    """
    files = sorted((PACKAGE / "commands").glob("*.py"))
    return {f.stem: _first_line(f) for f in files if (CONF / f"{f.stem}.yaml").is_file()}


def _first_line(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0]


def overview(known: dict[str, str]) -> str:
    """The text that `detectors` alone prints."""
    width = max(map(len, known))
    lines = [f"  {name:<{width}}  {line}" for name, line in known.items()]
    return "\n".join(
        [
            "usage: detectors COMMAND [key=value ...]",
            "",
            *lines,
            "",
            "`detectors COMMAND --help` explains one of them.",
        ]
    )


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
    """Compose the command's config and call its `main` with it, once for every job of a sweep."""
    import hydra

    def job(cfg: Any) -> Any:
        sys.argv = [program, command, *_relaunch(arguments)]
        return _call(command, cfg)

    if told := unknown_choice(arguments):
        sys.exit(told)
    program = sys.argv[0]
    sys.path.append(os.getcwd())  # so that `_target_: my_module.MyNeck` finds a file beside
    sys.argv = [program, *arguments]
    try:
        return hydra.main(version_base="1.3", config_path=str(CONF), config_name=command)(job)()
    except SystemExit as stop:  # Hydra has printed what went wrong
        if stop.code not in (0, None):
            suggestions = importlib.import_module("detectors.config.suggestions")
            sys.exit(suggestions.hint(command, arguments) or stop.code)
        raise


def _relaunch(arguments: list[str]) -> list[str]:
    """Arguments that make another process repeat this job alone; Lightning starts ranks by them."""
    from hydra.core.hydra_config import HydraConfig

    flags = [a for a in arguments if ("=" not in a or a.startswith("-")) and a[0] not in "~+"]
    return [f for f in flags if f not in ("-m", "--multirun")] + list(
        HydraConfig.get().overrides.task
    )


def _call(command: str, cfg: Any) -> Any:
    """`main(cfg)` of the command; what the user can mend is told without a stack trace."""
    from hydra.errors import CompactHydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return importlib.import_module(f"detectors.commands.{command}").main(cfg)
    except OmegaConfBaseException as error:  # Hydra would print a cause of this kind once more
        raise CompactHydraException(_first(error)).with_traceback(error.__traceback__) from None
    except (ValueError, OSError, FloatingPointError) as error:
        raise CompactHydraException(str(error)) from error


def _first(error: Exception) -> str:
    """Its first line, with the remedy where a value or a part is missing."""
    line = str(error).split("\n")[0]
    key = line.rpartition("Missing mandatory value: ")[2]
    if key != line:
        return f"{key} has no value: add {key}=..."
    slot = re.search(r"Interpolation key '(part\.\w+)' not found", line)
    remedy = f"; a file for it begins with the line `# @package {slot[1]}`" if slot else ""
    return f"{line}{remedy}"


if __name__ == "__main__":
    main()

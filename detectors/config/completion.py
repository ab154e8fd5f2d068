"""Answers a shell that asks how a command line goes on, as Hydra does for a single command."""

import os
import sys
from collections.abc import Collection, Sequence

from detectors.config.paths import CONF

FLAGS = ("-sc", "--shell-completion")


def complete(arguments: Sequence[str], commands: Collection[str]) -> None:
    """Print the script that a shell runs for completion, or what may follow COMP_LINE.

    Args:
        arguments: behind the flag: `install=bash`, `uninstall=bash` or `query=bash`; or zsh, fish.
        commands: names of what the first word may be.
    """
    program, _, rest = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
    command, behind, words = rest.lstrip().partition(" ")
    asked = any(argument.startswith("query=") for argument in arguments)
    if not asked:
        _hydra("train", arguments)
    elif not behind:
        print("\n".join(name for name in commands if name.startswith(command)))
    elif command in commands:
        os.environ["COMP_LINE"] = f"{program} {words}"
        _hydra(command, arguments)


def _hydra(command: str, arguments: Sequence[str]) -> None:
    import hydra

    from detectors.config import folders
    from detectors.config.loading import loading_fast

    folders.register()
    sys.argv = [sys.argv[0], "-sc", *arguments]
    with loading_fast():
        main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=command)
        main(lambda cfg: None)()

"""Where torch keeps compiled graphs, so that later runs do not compile them again."""

import os
from pathlib import Path

FOLDER = "TORCHINDUCTOR_CACHE_DIR"  # torch's variable, which it reads, and sets, when imported


def name_folder() -> None:
    """Name a folder of ours that outlives a restart, where the variable names none."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not base.startswith("~"):  # there is a home
        os.environ.setdefault(FOLDER, str(Path(base) / "lightning-detectors" / "inductor"))


def told() -> str:
    """A sentence about the folder."""
    named = os.environ.get(FOLDER, "a folder of torch's")
    return f"compiled graphs are kept in {named}; {FOLDER} names another folder"

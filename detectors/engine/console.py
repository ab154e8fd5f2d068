"""Gives commands a console to print on."""

import sys

from rich.console import Console


def console() -> Console:
    """Standard output; 120 columns where no terminal says how wide it is."""
    return Console(width=None if sys.stdout.isatty() else 120)

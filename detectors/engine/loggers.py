"""Refuses loggers that would stop a run once it has begun."""

import netrc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

from lightning.pytorch.loggers import Logger, WandbLogger

_KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


def check_loggers(loggers: Mapping[str, Logger]) -> None:
    """Refuse to log to Weights & Biases without a key where nobody can be asked for one.

    Raises:
        ValueError: names the logger, the places of a key and the way without one.
    """
    for name, logger in loggers.items():
        if isinstance(logger, WandbLogger) and _online(logger) and not _has_key():
            raise ValueError(
                f"logger.{name}.offline=false: Weights & Biases needs a key, and there is none in "
                f"the variable WANDB_API_KEY or in {_netrc()}: set the variable, run `wandb "
                f"login`, or leave logger.{name}.offline=true and upload later with `wandb sync`"
            )


def _online(logger: WandbLogger) -> bool:
    return not logger._offline and os.environ.get("WANDB_MODE", "online") == "online"


def _has_key() -> bool:
    """Whether there is a key, or a terminal in which wandb asks for one."""
    return any(os.environ.get(name) for name in _KEYS) or _in_netrc() or sys.stdin.isatty()


def _in_netrc() -> bool:
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(_netrc()).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _netrc() -> Path:
    return Path(os.environ.get("NETRC", "~/.netrc")).expanduser()

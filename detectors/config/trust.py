"""Refuses code that a checkpoint's config names but the user does not trust."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import get_object

OUTSIDE = ("detectors.commands", "detectors.engine", "detectors.config")  # they do, not describe
TRUSTED = ("detectors", "torch.nn", "torch.optim", "albumentations")


def check_trusted(node: Any, trusted: Sequence[str]) -> None:
    """Refuse a config from a file that names code outside of the packages trusted.

    Only classes, and functions of this package, may be named: `torch.nn.x.torch.load` is neither.

    Raises:
        ValueError: a `_target_` lies elsewhere.
    """
    if isinstance(node, Mapping) and "_target_" in node:
        _check_trusted_target(str(node["_target_"]), (*TRUSTED, *trusted))
    if isinstance(node, (Mapping, list)):
        for child in node.values() if isinstance(node, Mapping) else node:
            check_trusted(child, trusted)


def _check_trusted_target(target: str, trusted: Sequence[str]) -> None:
    if _inside(target, trusted) and not _inside(target, OUTSIDE):
        found = _found(target)
        ours = _inside(getattr(found, "__module__", ""), trusted)
        if ours and (inspect.isclass(found) or not target.startswith("torch")):
            return
    raise ValueError(
        f"the checkpoint asks for {target!r}, which is not code of {', '.join(trusted)}. "
        f"If you trust it, add trust=[{target.split('.')[0]}]"
    )


def _found(target: str) -> Any:
    try:
        return get_object(target)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"the checkpoint asks for {target!r}, which is not there: it was written by another "
            "version of this package"
        ) from error


def _inside(dotted: str, packages: Sequence[str]) -> bool:
    return any(f"{dotted}.".startswith(f"{package}.") for package in packages)

"""Refuses constructors that a config from a file names but the user does not trust."""

import inspect
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from hydra.utils import get_object
from torch import nn

from detectors.config.paths import CONF

# Parts of a run that write files, start programs or read configs: no file needs them.
ACTING = (
    "lightning",
    "detectors.callbacks",
    "detectors.commands",
    "detectors.config",
    "detectors.engine",
    "detectors.module",
    "detectors.weights",
)
READING = ("detectors.data", "detectors.classification")  # a model needs none of them, but for
PROPOSING = tuple(  # what looks at a picture that it is given, and reads no file
    f"detectors.data.proposals.{name}" for name in ("dense", "selective_search")
)
LAYERS = ("detectors", "torch.nn", "timm")  # whose modules may be named though conf/ does not
NEVER = {*sys.stdlib_module_names, "hydra", "omegaconf", "detectors"}  # no word opens them
FILES = ("weights", "pretrained", "checkpoint_path")  # by which parts of ours name files
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def check_trusted(
    node: Any, trusted: Sequence[str], reading: bool = False, named: Collection[str] = ()
) -> None:
    """Refuse a config from a file that names other constructors than the trusted ones.

    Trusted are the classes and functions that `conf/` names, except those that do more than
    describe; subclasses of `nn.Module` that detectors, torch.nn or timm define; and what the
    packages in `trusted` define.

    Args:
        node: plain containers without links or anything else to compute, as `links.followed`
            gives them; all nodes in it are looked at, whoever makes them and when.
        trusted: packages that the user trusts by word.
        reading: the node describes data, so readers of files are trusted.
        named: constructors that the user's own words name.

    Raises:
        ValueError: names the constructor and says what to do.
    """
    if isinstance(node, Mapping) and "_target_" in node:
        _check_node(node, trusted, reading, named)
    if isinstance(node, Mapping | list | tuple):
        for child in node.values() if isinstance(node, Mapping) else node:
            check_trusted(child, trusted, reading, named)


def _check_node(
    node: Mapping[str, Any], trusted: Sequence[str], reading: bool, named: Collection[str]
) -> None:
    target = node["_target_"]
    if not isinstance(target, str) or not _NAME.fullmatch(target):
        raise ValueError(f"the checkpoint asks for {target!r}, which is no name of a constructor")
    if "_args_" in node:
        raise ValueError(f"the checkpoint gives {target} arguments without names: it may not")
    files = [key for key in FILES if isinstance(node.get(key), str) or node.get(key) is True]
    if files and _inside(target, ("detectors",)):
        raise ValueError(f"the checkpoint asks {target} to read {node[files[0]]!r}: it may not")
    if target not in named and not _trusted(target, trusted, reading):
        raise ValueError(_told(target))


def _trusted(target: str, trusted: Sequence[str], reading: bool) -> bool:
    if _inside(target, READING) and not _inside(target, PROPOSING) and not reading:
        return False
    if target in constructors():
        return True
    opened = [word for word in trusted if word.partition(".")[0] not in NEVER]
    if not _inside(target, (*LAYERS, *opened)):  # nothing else is even imported
        return False
    found = _found(target)
    home = str(getattr(found, "__module__", ""))
    if inspect.isclass(found) and issubclass(found, nn.Module) and not _inside(home, ACTING):
        return _inside(home, (*LAYERS, *opened))
    plain = inspect.isclass(found) or inspect.isfunction(found)
    return plain and "." not in found.__qualname__ and _inside(home, opened)


@cache
def constructors() -> frozenset[str]:
    """All that the files of `conf/` name and that only describes."""
    pattern = re.compile(r"_target_:\s*([\w.]+)")
    files = CONF.rglob("*.yaml")
    named = {name for file in files for name in pattern.findall(file.read_text(encoding="utf-8"))}
    return frozenset(name for name in named if not _inside(name, ACTING))


def _found(target: str) -> Any:
    try:
        return get_object(target)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"the checkpoint asks for {target!r}, which is not there: it was written by another "
            "version of this package, or with one that is not installed"
        ) from error


def _told(target: str) -> str:
    package = target.partition(".")[0]
    what = f"the checkpoint asks for {target!r}, which is not among the parts that one may name"
    if package in NEVER or package == "torch":
        return f"{what}: the file is not to be trusted, or of another version of this package"
    return f"{what}. If you trust all code of {package}, add trust=[{package}]"


def _inside(dotted: str, packages: Sequence[str]) -> bool:
    return any(f"{dotted}.".startswith(f"{package}.") for package in packages)

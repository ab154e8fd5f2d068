"""From overrides to a composed config, and from a config to finished parts."""

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detectors.__main__ import CONF
from detectors.backbones.weights import filled

TRUSTED = ("detectors", "torch.nn", "torch.optim", "albumentations")
_FULL_KEY = re.compile(r"^full_key: (\S+)$", re.MULTILINE)


def compose(overrides: Sequence[str], name: str = "train") -> DictConfig:
    """The config `name` under these overrides; a running Hydra job is left as it was.

    Raises:
        ValueError: Hydra refuses an override.
    """
    try:
        with _own_hydra():
            return hydra.compose(name, overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(str(error)) from error


def chosen(group: str, overrides: Sequence[str], name: str = "train") -> list[str]:
    """Choices of a group of which several may be chosen, in their order.

    What a choice of the group chooses in its turn is part of it, and not named.

    Raises:
        ValueError: Hydra refuses an override.
    """
    try:
        with _own_hydra() as loader:
            found = loader.compute_defaults_list(name, list(overrides), RunMode.RUN).defaults
    except HydraException as error:
        raise ValueError(str(error)) from error
    named = [default for default in found if _group(default.config_path) == group]
    return [Path(d.config_path or "").name for d in named if _group(d.parent) != group]


def _group(file: str | None) -> str:
    """The folder that a config stands in; "" for a primary one."""
    return Path(file or "").parent.name


@contextmanager
def _own_hydra() -> Iterator[ConfigLoader]:
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra = running


def instantiate(cfg: DictConfig, key: str, **arguments: object) -> Any:
    """The object that the node `key` describes, all of its keys checked first.

    Raises:
        ValueError: a part cannot be made; the message names its place in the config.
    """
    node = OmegaConf.select(cfg, key)
    plain: Any = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    if "weights" in _backbone(plain):
        plain["backbone"] = _filled(plain["backbone"], key)
    check_keys({**plain, **arguments} if arguments else plain, key)
    try:
        return hydra.utils.instantiate(plain, _convert_="all", **arguments)
    except HydraException as error:
        raise ValueError(_told(key, error)) from error


def _backbone(node: Any) -> dict[str, Any]:
    """The backbone of a model's node; empty where there is none."""
    child = node.get("backbone") if isinstance(node, Mapping) else None
    return child if isinstance(child, dict) and "_target_" in child else {}


def _filled(node: dict[str, Any], path: str) -> dict[str, Any]:
    """The node of a backbone, its key `weights` taking effect whatever class it is."""
    rest = {key: value for key, value in node.items() if key != "weights"}
    if node["weights"] is None:
        return node if "weights" in _parameters(node["_target_"], path) else rest
    target = f"{filled.__module__}.{filled.__name__}"
    backbone = {**rest, "_partial_": True}
    return {"_target_": target, "backbone": backbone, "weights": node["weights"]}


def _told(key: str, error: HydraException) -> str:
    """What went wrong, and where: Hydra knows the place below `key`."""
    below = _FULL_KEY.findall(str(error))
    place = ".".join([key, *below[:1]])
    cause = error.__cause__
    if isinstance(cause, ValueError):
        return f"{place}: {cause}"
    return f"{place}: {error if cause is None else repr(cause)}"


def check_keys(node: Any, path: str) -> None:
    """Refuse a key that the constructor under it does not know, and one that it lacks.

    Partials are looked at too, though what they lack may come later.

    Raises:
        ValueError: names the path, and the likely spelling and what there is, or what is missing.
    """
    children = node.items() if isinstance(node, Mapping) else enumerate(node)
    for name, child in children:
        if isinstance(child, (Mapping, list)):
            check_keys(child, f"{path}.{name}")
    if isinstance(node, Mapping) and "_target_" in node:
        _check_target(node, path)


def _check_target(node: Mapping[str, Any], path: str) -> None:
    known = _parameters(node["_target_"], path)
    unknown = [k for k in node if k not in known and not k.startswith("_")] if known else []
    for key in unknown:
        close = difflib.get_close_matches(key, known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"{path}.{key}: {node['_target_']} has no parameter {key!r}.{hint} "
            f"It takes: {', '.join(known)}"
        )
    missing = [k for k in _required(node["_target_"]) if k not in node] if known else []
    if missing and not node.get("_partial_") and "_args_" not in node:
        raise ValueError(
            f"{path}: {node['_target_']} needs {', '.join(map(repr, missing))}, which nothing here "
            f"says: set {path}.{missing[0]}, or choose another part"
        )


def _required(target: str) -> list[str]:
    """Names of parameters without a default."""
    parameters = inspect.signature(get_object(target)).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]


def _parameters(target: str, path: str) -> list[str]:
    """Names that the target takes; empty where it takes any."""
    try:
        signature = inspect.signature(get_object(target))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path}._target_: cannot import {target!r}: {error}") from error
    except ValueError:  # a constructor written in C
        return []
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    anything = inspect.Parameter.VAR_KEYWORD in kinds
    return [] if anything else [name for name in signature.parameters if name != "self"]


def check_data(cfg: DictConfig, other: type, nature: str) -> None:
    """Refuse data of another command.

    Args:
        other: the class of those data.
        nature: what they have and where they belong.

    Raises:
        ValueError: the config's data are of that class.
    """
    if cfg.data.get("_target_") == f"{other.__module__}.{other.__name__}":
        raise ValueError(f"data={HydraConfig.get().runtime.choices['data']}: {nature}")


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
    if _inside(target, trusted) and not _inside(target, ("detectors.commands",)):
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

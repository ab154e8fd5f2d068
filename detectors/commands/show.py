"""Show what an override line composes: parts, their files, parameters, FLOPs, feature levels."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from detectors.detector import Detector
from detectors.engine.build import configured_job, sketch
from detectors.engine.console import console
from detectors.engine.operations import operations
from detectors.fitted import Fitted
from detectors.fitted.detector import FittedDetector

LONGEST = 200  # characters of a value that are shown


def main(cfg: DictConfig) -> None:
    """Print the tree of parts and what they cost at `image_size`."""
    cfg = configured_job(cfg)
    detector: Any = sketch(cfg).eval()
    node = OmegaConf.to_container(cfg.model, resolve=True)
    tree = Tree(f"[bold]{cfg.model._target_}[/]")
    grow(tree, node)
    if isinstance(detector, FittedDetector):
        console().print(tree, stages(detector.fitted))
    else:
        console().print(tree, costs(detector, cfg.image_size), levels(detector))


def grow(tree: Tree, node: Any) -> None:
    """Hang the children of a config node into the tree: parts as branches, values as leaves."""
    for name, child in _children(node):
        branch = tree.add(_label(name, child))
        if isinstance(child, Mapping) or _holds_nodes(child):
            grow(branch, child)


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
    return ((str(name), child) for name, child in pairs if not str(name).startswith("_"))


def _holds_nodes(child: Any) -> bool:
    return isinstance(child, list) and any(isinstance(item, Mapping) for item in child)


def _label(name: str, child: Any) -> str:
    if isinstance(child, Mapping):
        target = child.get("_target_")
        place = f" [cyan]{target}[/] [dim]{_file(target)}[/]" if target else ""
        return f"[bold]{escape(name)}[/]{place}"
    if isinstance(child, str) and len(child) > LONGEST:
        child = f"{child[:LONGEST]}..."
    return escape(name if _holds_nodes(child) else f"{name}: {child}")


def _file(target: str) -> str:
    """Where the class lives, relative to here if it can be."""
    try:
        file = Path(inspect.getsourcefile(get_object(target)) or "")
    except TypeError:  # written in C
        return ""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def costs(detector: Detector, image_size: Any) -> Table:
    """Parameters of each part, and its operations for one image."""
    height, width = [image_size] * 2 if isinstance(image_size, int) else image_size
    flops = operations(detector, height, width)
    table = Table("part", "parameters", f"GFLOPs at {height} x {width}")
    for name, part in (*detector.named_children(), ("all", detector)):
        parameters = sum(parameter.numel() for parameter in part.parameters())
        table.add_row(name, f"{parameters:,}", f"{flops[name] / 1e9:.2f}")
    return table


def stages(fitted: Fitted) -> Table:
    """What a model says of itself, and the stages in which it is fitted."""
    table = Table("of the model", "")
    for name, value in fitted.described().items():
        table.add_row(name, str(value))
    table.add_row("stages", ", ".join(fitted.stages))
    return table


def levels(detector: Detector) -> Table:
    """Channels and stride of the feature levels that the backbone and the neck give."""
    table = Table("levels of", "channels (stride), finest first")
    for name in ("backbone", "neck"):
        specs = getattr(detector, name).specs
        table.add_row(name, "  ".join(f"{spec.channels} ({spec.stride})" for spec in specs))
    return table

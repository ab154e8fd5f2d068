"""Lets configs refer to what a cfg file of darknet says: `${cfg_text:FILE}` and the like.

The text is put into the config, so that a run is named by it and its checkpoints do without the
file.
"""

import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from detectors.darknet.plan import planned
from detectors.darknet.sections import compact, parsed, unused_keys

_log = logging.getLogger(__name__)

RESIZES = ("Stretch", "Letterbox")


def register() -> None:
    """Make the resolvers known."""
    for resolve in (cfg_text, cfg_size, cfg_classes, cfg_resize):
        OmegaConf.register_new_resolver(resolve.__name__, resolve, replace=True)


def check_cfg(cfg: DictConfig) -> None:
    """Refuse a cfg file that cannot be read, where the config names one.

    Raises:
        ValueError: names the file, its line, what stands there and what is supported.
    """
    if "cfg" in cfg.get("part", {}):
        planned(cfg_text(cfg.part.cfg))


def tell_unused(cfg: DictConfig) -> None:
    """Log the keys that a cfg file says and that are darknet's own business."""
    if "cfg" in cfg.get("part", {}):
        found = unused_keys(parsed(cfg.part.network))
        keys = "; ".join(f"[{name}] {', '.join(names)}" for name, names in found.items())
        if keys:
            _log.info("%s: not used, settings of the run count instead: %s", cfg.part.cfg, keys)


def cfg_text(file: str | None) -> str:
    """What a file says, on one line.

    Raises:
        ValueError: there is no such file, or it describes nothing that is here.
    """
    if file is None:
        raise ValueError("model=darknet builds what a cfg file describes: say part.cfg=FILE")
    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(f"part.cfg={file}: no such file (looked in {Path.cwd()})")
    text = compact(path.read_text(encoding="utf-8-sig", errors="replace"))
    try:
        planned(text)
    except ValueError as error:
        raise ValueError(f"part.cfg={file}: {error}") from None
    return text


def cfg_size(network: str) -> int | list[int]:
    """The side of the images, or [height, width], of the text of a file."""
    net = planned(network).net
    same = net["height"] == net["width"]
    return net["height"] if same else [net["height"], net["width"]]


def cfg_classes(network: str) -> int:
    """The number of classes that the heads know."""
    return planned(network).branches[0].section["classes"]


def cfg_resize(network: str | None) -> str:
    """The class that brings pictures onto the canvas.

    Raises:
        ValueError: there is no text.
    """
    if network is None:
        raise ValueError("resize=cfg is for model=darknet: choose resize=stretch or letterbox")
    return f"detectors.data.augment.transforms.{RESIZES[int(planned(network).net['letter_box'])]}"

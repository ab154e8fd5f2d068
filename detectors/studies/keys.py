"""Names a run by all that can change its numbers: its config, its data and its code.

Two runs with one key and the same code are the same run. Words that change only what is shown or
where it is written keep the key.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detectors.config.links import targets
from detectors.config.paths import PACKAGE
from detectors.config.references import leaves
from detectors.files import PICTURES, whole_file

SHOWN = ("progress", "pictures", "table")  # callbacks that only show a run
OF_TRAINER = (
    *("default_root_dir", "loggers", "log_every_n_steps", "num_sanity_val_steps"),
    *("checkpoint_minutes", "enable_progress_bar", "profiler"),
)
# Keys, with all below them, that change no number of a run, nor which weights are measured.
COSMETIC = (
    *("run_dir", "hydra", "logger", "ckpt_path", "latency", "report", "fingerprint"),
    *("data.num_workers", "data.cache"),
    "part.cfg",  # part.network is what the file says
    *(f"trainer.{name}" for name in OF_TRAINER),
    *(f"{place}.{name}" for place in ("callback", "trainer.callbacks") for name in SHOWN),
)
RUN_DIR = "RUN_DIR"  # stands in a key for the folder of the run

# The last names of keys by which readers name files and folders, and of those by which parts do.
OF_DATA = ("root", "json_file", "images", "proposals")
OF_WEIGHTS = ("weights", "pretrained", "checkpoint_path")
CACHE = ".fingerprint.json"  # beside the data; hidden files are no data
WORTH = 1_000_000  # bytes: what is hashed sooner than that is not cached

# Modules of installed libraries, of which a run records the version.
LIBRARIES = ("albumentations", "lightning", "numpy", "timm", "torch", "torchmetrics", "torchvision")


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Plain containers of a composed config, as `run_key` takes them; the run needs no folder."""
    placed = cfg.copy()
    placed.run_dir = RUN_DIR
    return OmegaConf.to_container(placed, resolve=True)  # type: ignore[return-value]


def run_key(config: Mapping[str, Any], data: str) -> str:
    """16 hex digits that two runs share exactly if config and data are the same.

    They begin the SHA-256 of canonical JSON without the `COSMETIC` keys. The folder of the run may
    stand in any value.

    Args:
        config: plain containers without links, before anchors are looked for in the data.
        data: their `fingerprint`.
    """
    folder = str(config.get("run_dir") or RUN_DIR)
    return _digest({"config": _kept(config, folder), "data": data})


def check_result(config: Mapping[str, Any]) -> None:
    """Refuse a config whose runs are no results that a study may count.

    Args:
        config: plain containers without links.

    Raises:
        ValueError: it only debugs, or what it means depends on the machine; names the remedy.
    """
    if config.get("debug"):
        raise ValueError(f"debug={config['debug']}: such a run is no result; leave the word out")
    batch_size = (config.get("data") or {}).get("batch_size")
    for word, value in (("data.batch_size", batch_size), ("compile", config.get("compile"))):
        if value == "auto":
            raise ValueError(
                f"{word}=auto is something else on another machine: let the runs of a study name it"
            )


def _kept(node: Any, folder: str, path: str = "") -> Any:
    """The node without cosmetic keys, and without the name of the folder."""
    if isinstance(node, Mapping):
        places = {str(name): f"{path}.{name}".lstrip(".") for name in node}
        children = zip(places.items(), node.values(), strict=True)
        return {
            name: _kept(child, folder, place)
            for (name, place), child in children
            if place not in COSMETIC
        }
    if isinstance(node, list | tuple):
        return [_kept(child, folder, path) for child in node]
    if isinstance(node, str) and f"{node}/".startswith(f"{folder}/"):
        return RUN_DIR + node[len(folder) :]
    return node


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(config: Mapping[str, Any]) -> str:
    """16 hex digits of the files that a config names: those of its data, and initial weights.

    Of a folder counts every file in it, by its name. Pictures count by size and time of writing,
    all other files by their content; with `fingerprint: full` in the config pictures do so too.
    What generated scenes show is decided by the config alone. Pictures out of the named folders,
    as `data.trust_paths` allows them, are not seen.

    What has been hashed is kept in `.fingerprint.json` beside the data, if that can be written.
    """
    full = config.get("fingerprint") == "full"
    named = sorted({(text, path) for text, path in _named(config)})
    return _digest([[text, _manifest(path, full)] for text, path in named])


def split_hash(config: Mapping[str, Any], split: str) -> str | None:
    """16 hex digits of what a split holds: its settings, as of generated scenes, and its files.

    None where the config has no such split.
    """
    node = (config.get("data") or {}).get(split)
    if node is None:
        return None
    alone = {"data": {split: node}, "fingerprint": config.get("fingerprint")}
    return _digest({"settings": node, "files": fingerprint(alone)})


def _named(config: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """What the config calls a file or folder of its data or of weights, and where that is."""
    for key, value in leaves(dict(config)):
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and _names_files(key, text):
                places = (text, text.partition(":")[2])  # weights=FILE or weights=KIND:FILE
                paths = [Path(os.path.expanduser(os.path.expandvars(p))) for p in places if p]
                yield from ((text, path) for path in paths if path.exists())


def _names_files(key: str, text: str) -> bool:
    last = key.rpartition(".")[2]
    of_data = key.startswith("data.") and (last in OF_DATA or "/" in text)
    return of_data or last in OF_WEIGHTS


def _manifest(path: Path, full: bool) -> list[list[Any]]:
    """Name, size, and content or time of writing of each file, by name.

    A content is read only where size or time are not those of the cache.
    """
    folder, names = (path, sorted(_files(path))) if path.is_dir() else (path.parent, [path.name])
    cache, hashed, found = _cached(folder), dict[str, list[Any]](), []
    for name in names:
        status = (folder / name).stat()
        size, time = status.st_size, status.st_mtime_ns
        if name.lower().endswith(PICTURES) and not full:
            found.append([name, size, time])
            continue
        if cache.get(name, [])[:2] != [size, time]:
            cache[name] = hashed[name] = [size, time, _content(folder / name)]
        found.append([name, size, cache[name][2]])
    if sum(size for size, *_ in hashed.values()) >= WORTH:
        _keep(folder / CACHE, cache)
    return found


def _files(folder: Path) -> Iterator[str]:
    """Names of the files in a folder and below it, links followed; without hidden ones."""
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else [name for name in folders if name[0] != "."]
        place = Path(here).relative_to(folder)
        if real not in seen:
            yield from ((place / name).as_posix() for name in names if name[0] != ".")
        seen.add(real)


def _content(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _cached(folder: Path) -> dict[str, list[Any]]:
    with contextlib.suppress(OSError, ValueError):  # none, or cut short by who writes at once
        found = json.loads((folder / CACHE).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _keep(file: Path, content: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError), whole_file(file) as lines:
        json.dump(content, lines)


def packages_of(config: Mapping[str, Any]) -> set[str]:
    """Packages whose code a run's numbers come from: this one, and those of the user's parts."""
    named = {target.partition(".")[0] for target in targets(dict(config))}
    return {"detectors", *named} - {*LIBRARIES, *sys.stdlib_module_names}


def code_hashes(packages: Collection[str]) -> dict[str, str]:
    """SHA-256 of every file of these packages that is imported, by "detectors/losses/box.py"."""
    loaded = [(name, module) for name, module in sys.modules.items() if module is not None]
    files = {
        _name(name, Path(file)): Path(file)
        for name, module in loaded
        if name.partition(".")[0] in packages and (file := getattr(module, "__file__", None))
    }
    return {
        name: _content(file)
        for name, file in sorted(files.items())
        if file.suffix == ".py" and file.is_file()
    }


def _name(module: str, file: Path) -> str:
    place = module.replace(".", "/")
    return f"{place}/__init__.py" if file.stem == "__init__" else f"{place}.py"


def changed(code: Mapping[str, str]) -> list[str]:
    """Files that are not what they were, or gone; nothing is imported."""
    roots = [PACKAGE.parent, *map(Path, sys.path)]
    return [name for name, old in code.items() if _today(name, roots) != old]


def _today(name: str, roots: list[Path]) -> str | None:
    file = next((root / name for root in roots if (root / name).is_file()), None)
    return None if file is None else _content(file)

"""Gives every run of a study its words and its key, and says which variants cannot be run.

Composing a config takes half a second, so what was composed is kept in the study's folder until a
file that it depends on is written anew.
"""

import contextlib
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from omegaconf import DictConfig

from detectors.config.compose import compose
from detectors.config.fitted import meaningless
from detectors.config.paths import CONF, PACKAGE, config_dirs, written
from detectors.config.references import leaves
from detectors.config.suggestions import composed
from detectors.files import whole_file
from detectors.studies.design import Cell, Study, Variant
from detectors.studies.keys import OF_WEIGHTS, check_result, fingerprint, resolved, run_key
from detectors.studies.processes import dying_with_parent

COMPOSED = "composed.json"  # configs and keys by words
TRIED = "tried.json"  # what trying to make the parts of a variant has found, by words
IDLE = "idle.json"  # words of the base that mean nothing for a variant, by all of its words
OF_CONFIG = ("config", "studies")  # packages that decide what words compose

_log = logging.getLogger(__name__)


class Planned(NamedTuple):
    """The runs of a study, and the variants that have none."""

    cells: tuple[Cell, ...]  # seed by seed, so that the study is balanced whenever it stops
    refused: Mapping[str, str]  # reason by variant
    idle: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # words left out, likewise


class Planner:
    """Composes the runs of one study."""

    def __init__(self, study: Study, folder: Path, search: Sequence[str] = ()) -> None:
        """Read what was composed before.

        Args:
            folder: of the study.
            search: words that name folders of configs of the user's.
        """
        self.study, self.folder, self.search = study, folder, tuple(search)
        self._roots = [CONF, *map(Path, config_dirs(search))]
        self._known = _read(folder / COMPOSED, self._stamp(OF_CONFIG))
        self._tried = _read(folder / TRIED, None)
        self._idle = _read(folder / IDLE, self._stamp(OF_CONFIG))
        self._fingerprints: dict[str, str] = {}

    def planned(self, seeds: Sequence[int], tried: bool = False) -> Planned:
        """All runs with these seeds.

        Args:
            tried: try in a process of its own what needs the parts, where that is not known yet.
        """
        refused: dict[str, str] = {}
        self._find_idle()
        keys: dict[str, dict[int, str]] = {}
        for variant in self.study.variants:
            try:
                keys[variant.name] = self._keys(variant, seeds)
            except ValueError as error:
                refused[variant.name] = " ".join(str(error).split())
        if tried:
            self._try([v for v in self.study.variants if v.name in keys])
        for name, baseline in self.study.compared.items():
            if name in keys and keys[name] == keys.get(baseline):
                refused[name] = f"trains the same as {baseline}: its words change nothing"
        for variant in self.study.variants:
            if reason := self._tried.get(self._place(variant), {}).get("refused"):
                refused.setdefault(variant.name, reason)
        self._keep()
        cells = [
            Cell(variant.name, seed, self._said(variant, seed), keys[variant.name][seed])
            for seed in seeds
            for variant in self.study.variants
            if variant.name not in refused
        ]
        idle = {v.name: self._idle_of(v) for v in self.study.variants if self._idle_of(v)}
        return Planned(tuple(cells), refused, idle)

    def costs(self, variant: Variant) -> Mapping[str, Any]:
        """Parameters and operations of a variant that was tried; empty where it was not."""
        return self._tried.get(self._place(variant), {})

    def epochs(self, variant: Variant) -> int:
        """How long a variant that was composed trains."""
        return int(self._known[self._place(variant)]["config"]["trainer"]["max_epochs"])

    def _place(self, variant: Variant) -> str:
        return json.dumps(self._words(variant))

    def _words(self, variant: Variant) -> list[str]:
        """Words of its first run, with which all others are composed but for the seed."""
        return [*self.search, *self._said(variant, self.study.seeds.start[0])]

    def _said(self, variant: Variant, seed: int) -> tuple[str, ...]:
        """Words of a run, without those of the base that mean nothing for its fitted model."""
        idle = self._idle_of(variant)
        return tuple(word for word in self.study.words(variant, seed) if word not in idle)

    def _idle_of(self, variant: Variant) -> tuple[str, ...]:
        return tuple(self._idle.get(self._whole_place(variant), ()))

    def _whole_place(self, variant: Variant) -> str:
        return json.dumps([*self.search, *self.study.words(variant, self.study.seeds.start[0])])

    def _find_idle(self) -> None:
        """Find which common words mean nothing for a variant whose model is fitted.

        Such as trainer.max_epochs=10 in the base, which is for the variants that have epochs, or
        the state that the study selects. A word that the variant itself says is refused.
        """
        for variant in self.study.variants:
            place = self._whole_place(variant)
            if place in self._idle or place in self._known:
                continue
            words = json.loads(place)
            try:
                found = meaningless(compose(words), words)
            except ValueError:  # it is refused where it is planned
                found = {}
            common = [word for word in found if word not in variant.words]
            self._idle[place] = common
            if common:
                _log.info(
                    "%s is without %s: %s",
                    variant.name,
                    " ".join(common),
                    next(iter(found.values())),
                )

    def _keys(self, variant: Variant, seeds: Sequence[int]) -> dict[int, str]:
        """Key by seed.

        Raises:
            ValueError: a word is refused, or such runs are no results; the message names the word
                and the reason.
        """
        known = self._known.setdefault(self._place(variant), {"keys": {}})
        data = self._data(known["config"]) if "config" in known else None
        if data is None or data != known["data"] or not {str(s) for s in seeds} <= {*known["keys"]}:
            cfg = composed(self._words(variant))
            config = resolved(cfg)
            check_result(config)
            known["config"] = config
            known["data"] = self._data(known["config"])
            every = {*seeds, *self.study.seeds.every}
            known["keys"] = {str(s): self._key(cfg, variant, s, known["data"]) for s in every}
        return {seed: known["keys"][str(seed)] for seed in seeds}

    def _key(self, cfg: DictConfig, variant: Variant, seed: int, data: str) -> str:
        cfg.seed = int(self._said(variant, seed)[-1].removeprefix("seed="))
        return run_key(resolved(cfg), data)

    def _data(self, config: Mapping[str, Any]) -> str:
        """The fingerprint of a config's files; those of most variants are the same."""
        named = [
            pair
            for pair in leaves(dict(config))
            if pair[0].startswith("data.") or _of_files(pair[0])
        ]
        place = json.dumps(named, default=str)
        if place not in self._fingerprints:
            self._fingerprints[place] = fingerprint(config)
        return self._fingerprints[place]

    def _try(self, variants: Sequence[Variant]) -> None:
        """Ask for the refusals of all variants that were not tried with the code of today."""
        stamp = self._stamp(("",))
        places = {self._place(variant) for variant in variants}
        new = [p for p in places if self._tried.get(p, {}).get("stamp") != stamp]
        if not new:
            return
        asked = json.dumps([json.loads(place) for place in new])
        command = [sys.executable, "-m", "detectors.engine.trial"]
        done = subprocess.run(
            command,
            input=asked,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=dying_with_parent(),
        )
        if done.returncode:
            told = done.stderr.strip()[-500:] or f"the process ended by {done.returncode}"
            raise ValueError(f"the variants could not be tried: {told}")
        found = json.loads(done.stdout.splitlines()[-1])
        for place, costs in zip(new, found, strict=True):
            self._tried[place] = {"stamp": stamp, **costs}

    def _stamp(self, packages: Sequence[str]) -> str:
        """A digest of when files were written: configs, and the code of some packages of ours."""
        roots = [PACKAGE / name for name in packages]
        code = sorted(file for root in roots for file in root.rglob("*.py"))
        times = [[str(file), file.stat().st_mtime_ns] for file in code]
        configs = [sorted(written(root)) for root in self._roots]
        stamp = [times, configs, os.environ.get("DETECTORS_DATA")]
        return hashlib.sha256(json.dumps(stamp).encode()).hexdigest()

    def _keep(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        known = {"stamp": self._stamp(OF_CONFIG), "known": self._known}
        _write(self.folder / COMPOSED, {**known, "known": _whole(self._known)})
        _write(self.folder / TRIED, {"stamp": None, "known": self._tried})
        found = {place: words for place, words in self._idle.items() if words}
        _write(self.folder / IDLE, {"stamp": known["stamp"], "known": found})


def _of_files(place: str) -> bool:
    return place.rpartition(".")[2] in (*OF_WEIGHTS, "fingerprint")


def _whole(known: Mapping[str, Any]) -> dict[str, Any]:
    """What was composed without a refusal."""
    return {place: one for place, one in known.items() if one["keys"]}


def _read(file: Path, stamp: str | None) -> dict[str, Any]:
    """What a file knows; nothing where that was with other files of configs or code."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        return found["known"] if found["stamp"] == stamp else {}
    return {}


def _write(file: Path, content: Any) -> None:
    text = json.dumps(content)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        with whole_file(file) as lines:
            lines.write(text)

"""Reads what a search tries: its base, the words that it varies, and how long it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import yaml

from detectors.config.paths import CONF, key
from detectors.config.values import check_value
from detectors.ranges import Count, Whole
from detectors.studies.design import BUDGET, check_keys, check_metric, joined

Value = str | int | float
OWN = ("seed", "select", "split", "ckpt_path", "run_dir")  # words that the search itself says
KINDS: dict[str, Any] = {
    "name": str | None,
    "base": list[str],
    "space": Mapping[str, Mapping | list],
    "trials": Count,
    "metric": str,
    "select": Literal["last", "best"],
    "seed": Whole,
    "sampler": Literal["tpe", "random"],
    "sampler_seed": Whole,
    "startup": Count,
    "prune": Mapping | None,
    "budget": Mapping,
}
PRUNE: dict[str, Any] = {"first": Count, "keep": Count}
RANGE: dict[str, Any] = {
    "low": int | float,
    "high": int | float,
    "log": bool,
    "step": int | float | None,
}


class Range(NamedTuple):
    """Numbers from `low` to `high`, both included; whole ones where all three are."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(isinstance(end, int) for end in (self.low, self.high, self.step or 1))


Options = Range | tuple[str, ...]  # the second as words of the command line say them


@dataclass(frozen=True)
class Search:
    """What a file of `conf/search` says; `conf/search.yaml` explains each key."""

    name: str
    base: tuple[str, ...]
    space: Mapping[str, Options]
    trials: int
    metric: str
    select: str
    seed: int
    sampler: str
    sampler_seed: int
    startup: int
    prune: Mapping[str, int] | None
    budget: Mapping[str, Any]

    def words(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """All words of one run of `detectors train`, as those of a study would be."""
        return (*self.chosen(values), f"select={self.select}", f"seed={self.seed}")

    def chosen(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """Those of the base, with what is varied."""
        return tuple(joined([*self.base, *(f"{name}={value}" for name, value in values.items())]))

    def first(self) -> dict[str, Value]:
        """The lowest or first value of all that is varied."""
        return {
            name: options.low if isinstance(options, Range) else options[0]
            for name, options in self.space.items()
        }

    def identity(self) -> dict[str, Any]:
        """What may not change while a search goes on."""
        kept = ("base", "space", "metric", "select", "seed", "sampler", "sampler_seed", "startup")
        plain = {name: getattr(self, name) for name in kept}
        return {**plain, "prune": dict(self.prune) if self.prune else None}


def read_search(cfg: Mapping[str, Any], name: str = "") -> Search:
    """The search that a file of `conf/search` describes.

    Args:
        cfg: plain containers; what it lacks is as in `conf/search.yaml`.
        name: of the search, where the file gives none.

    Raises:
        ValueError: a key is unknown or its value makes no sense; names it, what was expected and
            the remedy.
    """
    _check_map(cfg, KINDS, "search", defaults())
    node = {**defaults(), **cfg}
    node["name"] = node["name"] or name or "search"
    for part, kinds in (("budget", BUDGET), ("prune", PRUNE)):
        if node[part] is not None:
            node[part] = {**defaults()[part], **node[part]}
            _check_map(node[part], kinds, f"search.{part}", node[part])
    _check_sense(node)
    space = {str(place): _options(str(place), given) for place, given in node["space"].items()}
    _check_words([*node["base"], *(f"{place}=0" for place in space)], space)
    return Search(**{**node, "base": tuple(node["base"]), "space": space})


def defaults() -> dict[str, Any]:
    """The keys of a search and what they are unless a file says otherwise."""
    return yaml.safe_load((CONF / "search.yaml").read_text(encoding="utf-8"))["search"]


def _check_map(
    cfg: Mapping[str, Any], kinds: Mapping[str, Any], place: str, without: Mapping[str, Any]
) -> None:
    """Refuse unknown keys and values of a wrong kind."""
    check_keys(cfg, kinds, place)
    for name, value in {**without, **cfg}.items():
        check_value(f"{place}.{name}", value, kinds[name])


def _check_sense(node: Mapping[str, Any]) -> None:
    prune = node["prune"]
    check_metric(node["metric"], "search.metric")
    if prune is not None and prune["keep"] < 2:
        raise ValueError(
            "search.prune.keep: found 1, expected 2 or more: one of so many goes on (prune: null "
            "lets all go on)"
        )
    if not node["space"]:
        raise ValueError(
            "search.space: found nothing, expected what is varied, such as "
            "{optimizer.lr: {low: 0.0001, high: 0.01, log: true}, box_loss: [l1, giou]}"
        )


def _check_words(words: list[str], space: Mapping[str, Options]) -> None:
    """Refuse words that the search itself says, and keys that the base sets as well."""
    for word in words:
        if key(word) in OWN or word.startswith(("hydra.", "-")):
            remedy = f"say {key(word)}: in the search" if key(word) in ("seed", "select") else ""
            more = remedy or "a search measures on the validation pictures: leave it out"
            raise ValueError(f"search: found {word}, which the search itself decides: {more}")
    for word in words[: -len(space)]:
        if key(word) in space and key(word) not in ("trick", "callback", "metric"):
            raise ValueError(f"search: {word} of the base is varied by the space: leave one")


def _options(place: str, given: Any) -> Options:
    """A range of numbers, or choices as words of the command line say them."""
    if isinstance(given, list):
        chosen = tuple(map(_written, given))
        if len({*chosen}) < max(2, len(chosen)):
            raise ValueError(
                f"search.space.{place}: found {given}, expected two or more that differ"
            )
        return chosen
    lacking = {"log": False, "step": None}
    _check_map(given, RANGE, f"search.space.{place}", lacking)
    if not {"low", "high"} <= given.keys() or given["low"] >= given["high"]:
        raise ValueError(
            f"search.space.{place}: found {dict(given)}, expected low and a higher high"
        )
    found = Range(given["low"], given["high"], given.get("log", False), given.get("step"))
    if found.log and (found.low <= 0 or found.step is not None):
        raise ValueError(
            f"search.space.{place}: found {dict(given)}: log: true needs low above 0 and no step"
        )
    return found


def _written(choice: Any) -> str:
    if isinstance(choice, bool | None):
        return "null" if choice is None else str(choice).lower()
    if isinstance(choice, list):
        return f"[{','.join(map(_written, choice))}]"
    return str(choice)

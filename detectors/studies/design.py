"""Reads what a study compares: its variants, its seeds and what is claimed of them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import yaml

from detectors.config.paths import CONF, key
from detectors.config.spelling import did_you_mean
from detectors.config.values import check_value
from detectors.ranges import Count, Positive, Whole

METRICS = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
FAIR = (
    *("data", "epochs", "images", "image_size", "precision"),
    *("device", "threads", "versions", "split", "evaluation"),
)
JOINED = ("trick", "callback", "logger", "metric")  # groups of which several may be chosen
MOST = 256  # variants; more are a slip

Words = str | list[str]
_Agreed = list[Literal[FAIR]]  # type: ignore[valid-type]
KINDS: dict[str, Any] = {
    "name": str | None,
    "question": str | None,
    "base": list[str],
    "switches": Mapping[str, Words],
    "factors": Mapping[str, list[str | int | float | bool]],
    "variants": Mapping[str, Words],
    "pairs": Mapping[str, Mapping],
    "design": Literal["add_one", "leave_one", "fraction", "full", "list", "pairs"] | None,
    "fraction": Count | None,
    "seeds": Count | list[Whole] | Mapping,
    "metric": str,
    "select": Literal["last", "best"],
    "split": Literal["val", "test"],
    "claim": Literal["new_pictures", "these_pictures"],
    "equal_within": Positive | None,
    "fair": _Agreed,
    "free": _Agreed,
    "equal": Literal["images", "operations", "seconds"] | None,
    "variance": Literal["paired", "pooled"],
    "adjust": Literal["holm", "dunnett"],
    "code": str | None,
    "keep": list[Literal["last", "best"]] | None,
    "budget": Mapping,
}
PAIR: dict[str, Any] = {
    "both": Words,
    "change": Words,
    "expect": Literal["better", "worse"] | None,
}
SEEDS: dict[str, Any] = {
    "start": Count | list[Whole],
    "until": Positive | None,
    "at_most": Count | None,
}
BUDGET: dict[str, Any] = {"hours": Positive | None, "jobs": Count | None, "retries": Whole}


class Variant(NamedTuple):
    """One of the things that are compared."""

    name: str
    words: tuple[str, ...]  # beside the base
    levels: Mapping[str, str]  # "on" or "off" by switch, the level by factor
    against: str | None = None  # what it is compared with; None: it is a baseline itself
    expect: str | None = None  # better or worse, where that was said beforehand


class Seeds(NamedTuple):
    """How often each variant is run."""

    start: tuple[int, ...]
    until: float | None  # half width of the interval in AP points at which no seed is added
    at_most: int

    @property
    def every(self) -> tuple[int, ...]:
        """Those to start from, and those that may be added."""
        following = range(max(self.start) + 1, max(self.start) + 1 + self.at_most)
        return (*self.start, *following)[: self.at_most]


class Cell(NamedTuple):
    """One run of a study."""

    variant: str
    seed: int  # of the study; a word seed=+10 of the variant adds ten for the run
    words: tuple[str, ...]  # all of `detectors train`, the seed among them
    key: str


@dataclass(frozen=True)
class Study:
    """What a file of `conf/study` says; `conf/study.yaml` explains each key."""

    name: str
    question: str | None
    base: tuple[str, ...]
    variants: tuple[Variant, ...]  # the first is the baseline of all others, or of some in pairs
    design: str
    seeds: Seeds
    metric: str
    select: str
    split: str
    claim: str
    equal_within: float | None
    fair: tuple[str, ...]
    free: tuple[str, ...]
    equal: str | None
    budget: Mapping[str, Any]
    variance: str
    adjust: str
    aliases: tuple[str, ...]  # effects that a fraction cannot tell apart, a line a group
    code: str | None
    keep: tuple[str, ...] | None = None  # checkpoints that stay when a run is done; None: all

    @property
    def baseline(self) -> Variant:
        """The first, of all others but in pairs."""
        return self.variants[0]

    @property
    def compared(self) -> dict[str, str]:
        """The baseline of each variant that is none, by name."""
        return {v.name: v.against for v in self.variants if v.against is not None}

    def words(self, variant: Variant, seed: int) -> tuple[str, ...]:
        """All words of one run of `detectors train`."""
        given = joined([*self.base, *variant.words])
        own = next((word for word in given if key(word) == "seed"), "seed=+0")
        rest = [word for word in given if key(word) != "seed"]
        measured = [] if self.split == "val" else [f"split={self.split}"]
        shift = int(own.partition("=+")[2])
        return (*rest, f"select={self.select}", *measured, f"seed={seed + shift}")


def read_study(cfg: Mapping[str, Any], name: str = "") -> Study:
    """The study that a file of `conf/study` describes.

    Args:
        cfg: plain containers; what it lacks is as in `conf/study.yaml`.
        name: of the study, where the file gives none.

    Raises:
        ValueError: a key is unknown or its value makes no sense; names it, what was expected and
            the remedy.
    """
    check_keys(cfg, KINDS, "study")
    node = {**defaults(), **cfg}
    for place, kind in KINDS.items():
        check_value(f"study.{place}", node[place], kind)
    node["name"] = node["name"] or name or "study"
    node["seeds"] = _seeds(node["seeds"])
    check_keys(node["budget"], BUDGET, "study.budget")
    node["budget"] = {**defaults()["budget"], **node["budget"]}
    for place, kind in BUDGET.items():
        check_value(f"study.budget.{place}", node["budget"][place], kind)
    node["variants"], node["design"], node["aliases"] = _variants(node)
    _check_sense(node)
    unused = ("switches", "factors", "pairs", "fraction")
    kept: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in node.items() if k not in unused
    }
    return Study(**kept)


def defaults() -> dict[str, Any]:
    """The keys of a study and what they are unless a file says otherwise."""
    return yaml.safe_load((CONF / "study.yaml").read_text(encoding="utf-8"))["study"]


def check_metric(metric: str, place: str) -> None:
    """Refuse what is no metric of a run, by the place that names it."""
    if metric not in METRICS and not metric.startswith("AP/"):
        near = did_you_mean(metric, METRICS)
        known = ", ".join(METRICS)
        raise ValueError(f"{place}: found {metric!r}.{near} Known: {known}, AP/CLASS")


def check_keys(node: Mapping[str, Any], known: Mapping[str, Any], place: str) -> None:
    """Refuse keys that a place does not know, with what was probably meant."""
    for name in node:
        if name not in known:
            near = did_you_mean(str(name), list(known))
            raise ValueError(f"{place} has no key {name!r}.{near} Known: {', '.join(known)}")


def _seeds(node: Any) -> Seeds:
    """Seeds of a number, of a list, or of `start`, `until` and `at_most`."""
    if not isinstance(node, Mapping):
        node = {"start": node}
    check_keys(node, SEEDS, "study.seeds")
    node = {"start": 5, "until": None, "at_most": None, **node}
    for place, kind in SEEDS.items():
        check_value(f"study.seeds.{place}", node[place], kind)
    start = node["start"] if isinstance(node["start"], list) else range(1, node["start"] + 1)
    seeds = Seeds(tuple(start), node["until"], node["at_most"] or max(len(start), 12))
    if seeds.until is None:
        seeds = seeds._replace(at_most=len(start))
    if not start or len(set(start)) < len(start):
        raise ValueError(f"study.seeds: found {list(start)}, expected seeds that differ, 1 or more")
    if seeds.until is not None and len(start) < 5:
        raise ValueError(
            f"study.seeds: until needs 5 seeds to start from, found {len(start)}: from 3 on a 95 % "
            "interval holds the truth in 90 % of studies only; say start: 5, or leave out until"
        )
    if seeds.at_most < len(start):
        raise ValueError(
            f"study.seeds: at_most is {seeds.at_most}, but it starts with {len(start)} seeds: "
            "raise at_most"
        )
    return seeds


def _check_sense(node: Mapping[str, Any]) -> None:
    """Refuse what fits each by itself and not together.

    Raises:
        ValueError: names what was found and the remedy.
    """
    check_metric(node["metric"], "study.metric")
    if node["select"] == "best" and node["split"] == "val":
        raise ValueError(
            "study.select: best takes the epoch that is luckiest on the pictures that measure it, "
            "which adds 1.2 to 1.5 standard deviations of luck: use select: last, or split: test"
        )
    baselines = [variant for variant in node["variants"] if variant.against is None]
    if node["variance"] == "pooled" and len(baselines) > 1:
        raise ValueError(
            "study.variance: pooled is for variants with one baseline, and these pairs have "
            f"{len(baselines)}: leave it out"
        )
    if node["adjust"] == "dunnett" and node["variance"] == "paired":
        raise ValueError(
            "study.adjust: dunnett needs one variance for all variants: say variance: pooled too, "
            "or adjust: holm"
        )
    if node["code"] is not None and not node["code"].isalnum():
        raise ValueError(f"study.code: found {node['code']!r}, expected the name of a git commit")


def _variants(node: Mapping[str, Any]) -> tuple[tuple[Variant, ...], str, list[str]]:
    """Variants, baseline first; the design; its aliases."""
    factors: dict[str, Any] = _factors(node)
    told: list[str] = []
    design = _design(node, factors)
    if design == "pairs":
        made = _pairs(node["pairs"])
    elif design == "list":
        made = [Variant(str(name), _words(words), {}) for name, words in node["variants"].items()]
    else:
        rows, told = _rows(design, factors, node["fraction"])
        made = [_variant(row, factors, design) for row in rows]
    if design != "pairs":
        made[1:] = [variant._replace(against=made[0].name) for variant in made[1:]]
    _check_variants(made, node["base"])
    return tuple(made), design, told


def _design(node: Mapping[str, Any], factors: Mapping[str, Any]) -> str:
    """That of the file, or the one that goes with what it lists.

    Raises:
        ValueError: the file lists nothing or things of two kinds, or what its design is not for.
    """
    listed = {
        "variants": node["variants"],
        "pairs": node["pairs"],
        "switches and factors": factors,
    }
    given = [name for name, found in listed.items() if found]
    if len(given) != 1:
        raise ValueError(
            f"study: found {' and '.join(given) or 'nothing to compare'}, expected one of: "
            "variants; pairs; switches and factors"
        )
    usual = {"variants": "list", "pairs": "pairs"}.get(given[0], "add_one")
    design = node["design"] or usual
    if design != usual and (usual != "add_one" or design in ("list", "pairs")):
        raise ValueError(
            f"study.design: found {design} with {given[0]}: list is for variants, pairs for pairs, "
            "the others are for switches and factors"
        )
    return design


def _pairs(node: Mapping[str, Any]) -> list[Variant]:
    """Of each pair its two variants; pairs that have all words of both in common share the first.

    Raises:
        ValueError: a pair has an unknown key or no change; names it.
    """
    found: dict[str, Variant] = {}
    for name, pair in node.items():
        place = f"study.pairs.{name}"
        check_keys(pair, PAIR, place)
        one = {"both": [], "change": [], "expect": None, **pair}
        for word, kind in PAIR.items():
            check_value(f"{place}.{word}", one[word], kind)
        both, change = _words(one["both"]), _words(one["change"])
        if not change:
            raise ValueError(f"{place}: it has no change: add the words of the second variant")
        plain = " ".join(both) or "plain"
        first = Variant(plain, both, {})
        if found.setdefault(plain, first) != first:
            raise ValueError(f"{place}: another pair is called {plain}, as its first variant is")
        second = Variant(str(name), (*both, *change), {}, plain, one["expect"])
        if str(name) in found:
            raise ValueError(f"{place}: another variant has this name: give it another")
        found[str(name)] = second
    return list(found.values())


Factors = Mapping[str, Mapping[str, tuple[str, ...]]]  # words by level by name, the first plain


def _factors(node: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Switches and factors alike: words of every level."""
    found = {str(n): {"off": (), "on": _words(words)} for n, words in node["switches"].items()}
    for name, levels in node["factors"].items():
        if name in found or len(set(map(str, levels))) < max(2, len(levels)):
            raise ValueError(
                f"study.factors.{name}: found {levels}, expected two or more levels that differ, "
                "under a name that is no switch"
            )
        found[name] = {str(level): (f"{name}={_written(level)}",) for level in levels}
    return found


def _written(level: Any) -> str:
    """As a word of the command line says it."""
    return str(level).lower() if isinstance(level, bool) else str(level)


def _words(words: Words) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)


def _rows(
    design: str, factors: Factors, runs: int | None
) -> tuple[list[dict[str, str]], list[str]]:
    """The level of every factor, row by row, and what cannot be told apart."""
    plain = {name: next(iter(levels)) for name, levels in factors.items()}
    others = [(name, level) for name in factors for level in list(factors[name])[1:]]
    if design == "add_one":
        return [plain, *({**plain, name: level} for name, level in others)], []
    if design == "full":
        _check_count(len(list(itertools.islice(itertools.product(*factors.values()), MOST + 1))))
        rows = itertools.product(*factors.values())
        return [dict(zip(factors, row, strict=True)) for row in rows], []
    if many := [name for name, levels in factors.items() if len(levels) > 2]:
        raise ValueError(
            f"study.design: {design} is for switches and factors of two levels, and {many[0]} has "
            "more: use add_one or full"
        )
    last = {name: list(levels)[-1] for name, levels in factors.items()}
    if design == "leave_one":
        return [last, *({**last, name: plain[name]} for name in factors)], []
    from detectors.studies.fractions import aliases, fraction  # scipy is needed nowhere else

    chosen, names = fraction(len(factors), runs), list(factors)
    rows_of = [
        {n: (last if on else plain)[n] for n, on in zip(names, row, strict=True)} for row in chosen
    ]
    return rows_of, aliases(chosen, names)


def _variant(row: Mapping[str, str], factors: Factors, design: str) -> Variant:
    """Named by what it is beside the baseline."""
    place = -1 if design == "leave_one" else 0
    first = {name: list(levels)[place] for name, levels in factors.items()}
    differing = [name for name in row if row[name] != first[name]]
    if design == "leave_one":
        name = "without_" + "_".join(differing) if differing else "all"
    else:
        names = [named(factor, row[factor]) for factor in differing]
        name = "+".join(names) or "plain"
    _check_apart({factor: factors[factor][level] for factor, level in row.items()})
    words = tuple(word for factor in row for word in factors[factor][row[factor]])
    return Variant(name, words, dict(row))


def _check_apart(words: Mapping[str, Sequence[str]]) -> None:
    """Refuse two factors that set the same key, of which one would be lost."""
    said: dict[str, str] = {}
    for factor, own in words.items():
        for place in {key(word) for word in own} - {*JOINED}:
            if place in said:
                raise ValueError(
                    f"study: {said[place]} and {factor} both set {place}, and in one variant "
                    "only one can: make them levels of one factor, or use design: add_one"
                )
            said[place] = factor


def named(factor: str, level: str) -> str:
    """A level as variants and effects are named by it."""
    return factor if level == "on" else f"{factor}={level}"


def _check_count(count: int) -> None:
    if count > MOST:
        raise ValueError(
            f"study.design: full makes more than {MOST} variants: use design: fraction or add_one"
        )


def _check_variants(variants: Sequence[Variant], base: Sequence[str]) -> None:
    """Refuse names and words that could not be told apart.

    Raises:
        ValueError: names them and the remedy.
    """
    if len(variants) < 2:
        raise ValueError(f"study.variants: found {len(variants)}, expected two or more to compare")
    joined(base)
    said: dict[tuple[str, ...], str] = {}
    for variant in variants:
        try:
            words = tuple(sorted(joined([*base, *variant.words])))
        except ValueError as error:
            raise ValueError(f"study variant {variant.name}: {error}") from error
        if words in said:
            raise ValueError(
                f"study.variants: {said[words]} and {variant.name} have the same words, so "
                "there is nothing to compare: change one"
            )
        said[words] = variant.name


def joined(words: Sequence[str]) -> list[str]:
    """The words with one for each key: of tricks all, of anything else the last.

    Hydra would take the last list of tricks alone.

    Raises:
        ValueError: no word of a command line; or a seed, which is the study's.
    """
    said: dict[str, str] = {}
    for word in words:
        _check_word(word)
        place = key(word)
        both = place in JOINED and place in said and not said[place].endswith("=[]")
        said[place] = (
            f"{place}=[{','.join([*_items(said[place]), *_items(word)])}]" if both else word
        )
    return list(said.values())


def _items(word: str) -> Iterator[str]:
    """The choices of a word such as `trick=[mosaic,ema]`."""
    listed = word.partition("=")[2].strip().removeprefix("[").removesuffix("]")
    return filter(None, (item.strip() for item in listed.split(",")))


def _check_word(word: str) -> None:
    place, _, value = word.partition("=")
    if not value and not word.startswith("~") and "=" not in word:
        raise ValueError(f"found {word!r}, expected a word such as model=fcos")
    if place == "seed" and not (value.startswith("+") and value[1:].isdecimal()):
        raise ValueError(
            f"found {word}, but seeds are the study's: list them in seeds:, or say seed=+10 to add "
            "ten to each"
        )
    if place in ("select", "split", "ckpt_path", "run_dir") or place.startswith(("hydra.", "-")):
        remedy = f"say {place}: in the study" if place in ("select", "split") else "leave it out"
        raise ValueError(f"found {word}, which the study itself decides: {remedy}")

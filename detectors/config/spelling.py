"""Finds words near a misspelt one, choices that no file offers, and words said twice."""

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from detectors.config.paths import choices, config_dirs, key


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A sentence that names the nearest known word, behind a space; empty if none is near."""
    close = difflib.get_close_matches(word, known, 1)
    return f" Did you mean {close[0]!r}?" if close else ""


def said_twice(words: Sequence[str]) -> str:
    """That two words set the same key, of which Hydra would drop one; empty if none do."""
    said: dict[str, str] = {}
    for word in words:
        if key(word) in said and not word.startswith("-"):
            return f"{key(word)} is said twice, {said[key(word)]} and {word}: leave one"
        said[key(word)] = word
    return ""


def no_folder(words: Sequence[str]) -> str:
    """That a folder of configs is not there; empty if all are."""
    named = (folder for folder in config_dirs(words) if "${" not in folder)
    absent = [folder for folder in named if not Path(folder).is_dir()]
    return f"{absent[0]}: no such folder of configs (looked in {Path.cwd()})" if absent else ""


def no_assignment(words: Sequence[str]) -> str:
    """That a word sets nothing, and which it may have been meant for; empty if all do."""
    for word in takewhile(lambda word: not word.startswith("-"), words):
        if "=" not in word and not word.startswith("~"):
            groups = [group for group, names in choices(words).items() if word in names]
            near = "".join(f" Did you mean '{group}={word}'?" for group in groups[:1])
            return f"{word}: expected KEY=VALUE.{near}"
    return ""


def unknown_choice(words: Sequence[str]) -> str:
    """The first choice that no file offers, what is near it, and what there is; empty if none.

    Hydra leaves out a choice of an optional group, such as a recipe, without a word.

    Args:
        words: overrides, with flags and search paths where files of the user's count.
    """
    known = choices(words)
    told = (line for word in words for line in _unknown_choices(word, known))
    return next(told, "")


def _unknown_choices(word: str, known: dict[str, list[str]]) -> Iterator[str]:
    group, _, value = word.lstrip("+").partition("=")
    if group not in known or any(sign in value for sign in "$(/"):
        return
    if re.search(r"\[\s*\[|\{", value):
        yield f"{word}: expected the name of a file, or several as {group}=[one,other]"
        return
    for choice in re.sub(r"[\[\]\s'\"]", "", value).split(","):
        if choice not in ("", *known[group]):
            near = did_you_mean(choice, known[group])
            yield f"there is no {group}={choice!s}.{near} Known: {', '.join(known[group])}"

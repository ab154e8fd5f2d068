"""Ranges that the numbers of transforms and mixes must lie in, each written once."""

Rule = tuple[bool, str]  # whether it is kept, and what was expected and found


def check(name: str, *rules: Rule) -> None:
    """Refuse the numbers of a transform or mix that are out of their range.

    Raises:
        ValueError: the first rule that is broken, and the name of what it is about.
    """
    for kept, expected in rules:
        if not kept:
            raise ValueError(f"{name}: expected {expected}")


def chance(probability: float) -> Rule:
    """That something happens."""
    return 0 <= probability <= 1, f"probability in [0, 1], found {probability}"


def showing(visible: float) -> Rule:
    """Least part of an object that shows."""
    return 0 < visible <= 1, f"visible in (0, 1], found {visible}"


def number(most: int) -> Rule:
    """Objects that are kept at most."""
    return most >= 1, f"most >= 1, found {most}"

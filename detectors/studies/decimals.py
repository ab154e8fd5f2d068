"""Writes numbers: decimals of a fixed count, never a zero with a sign; and 1 run, 2 runs."""


def fixed(value: float, digits: int = 1, sign: bool = False) -> str:
    """ "1.2", with `sign` "+1.2"; what rounds to nothing is "0.0" in either case."""
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def ends(low: float, high: float, digits: int = 1) -> str:
    """ "0.4 to 2.0"."""
    return f"{fixed(low, digits)} to {fixed(high, digits)}"


def many(count: int, noun: str) -> str:
    """ "1 run", "2 runs"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

"""Writes numbers with a fixed count of decimals, and never a zero that has a sign."""


def fixed(value: float, digits: int = 1, sign: bool = False) -> str:
    """ "1.2", with `sign` "+1.2"; what rounds to nothing is "0.0" in either case."""
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def ends(low: float, high: float, digits: int = 1) -> str:
    """ "0.4 to 2.0"."""
    return f"{fixed(low, digits)} to {fixed(high, digits)}"

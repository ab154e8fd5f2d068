"""Numbers that round to nothing have no sign."""

import pytest

from detectors.studies.decimals import ends, fixed


@pytest.mark.parametrize(
    ("value", "signed", "plain"),
    [(1.26, "+1.3", "1.3"), (-0.04, "0.0", "0.0"), (0.04, "0.0", "0.0"), (-0.06, "-0.1", "-0.1")],
)
def test_signs(value: float, signed: str, plain: str) -> None:
    assert fixed(value, sign=True) == signed
    assert fixed(value) == plain


def test_ends() -> None:
    assert ends(-0.001, 2.0) == "0.0 to 2.0"
    assert ends(-0.001, 2.0, digits=3) == "-0.001 to 2.000"

"""Numbers out of range are refused with what was expected and found."""

import pytest

from detectors.data.ranges import above, at_least, check, whole, within


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (within("share", 0, "[0, 1)"), True),
        (within("share", 1, "[0, 1)"), False),
        (within("share", 0.0, "(0, 1]"), False),
        (within("share", 1.0, "(0, 1]"), True),
        (within("share", -0.1, "[0, 1]"), False),
        (within("share", float("nan"), "[0, 1]"), False),
        (at_least("count", 1, 1), True),
        (at_least("count", 0, 1), False),
        (above("scale", 0, 0), False),
        (above("scale", 0.1, 0), True),
        (above("scale", float("inf"), 0), False),
        (above("scale", "2", 0), False),
        (at_least("count", True, 1), False),
        (within("share", None, "[0, 1]"), False),
        (whole("count", 2, 2), True),
        (whole("count", 2.0, 1), False),
        (whole("count", True, 1), False),
    ],
)
def test_ends_belong_to_an_interval_or_not(rule: tuple[bool, str], kept: bool) -> None:
    assert rule[0] is kept


def test_the_first_broken_rule_is_told() -> None:
    rules = above("scale", 2, 0), within("share", 1.5, "(0, 1]"), at_least("count", 0, 1)
    with pytest.raises(ValueError, match=r"^crop: expected share in \(0, 1\], found 1.5$"):
        check("crop", *rules)
    check("crop", rules[0])

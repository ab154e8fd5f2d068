"""A study's file becomes variants with words; what makes no sense is refused with a remedy."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml

from detectors.config.paths import CONF
from detectors.studies.design import Seeds, joined, read_study
from detectors.studies.fractions import aliases, fraction

BASE = ["model=yolov3", "size=small"]
TRICKS = {name: f"trick=[{name}]" for name in ("ciou", "mosaic", "mish", "ema")}

PAIRS = {
    "noise": {"both": "data=a", "change": "data.train.missing=0.5", "expect": "worse"},
    "crowds": {"both": ["data=b"], "change": ["act=mish", "neck=pan"]},
    "mish": {"both": "data=a", "change": "act=mish"},
}


def words(**keys: object) -> dict[str, tuple[str, ...]]:
    """Words of each variant's run with seed 1, without those that all have."""
    study = read_study({"base": BASE, "seeds": [1], **keys})
    return {v.name: study.words(v, 1)[2:-2] for v in study.variants}


def test_one_switch_is_added_at_a_time() -> None:
    found = words(switches={"ciou": "trick=[ciou]", "pan": ["neck=pan", "part.levels=[8]"]})
    assert found == {"plain": (), "ciou": ("trick=[ciou]",), "pan": ("neck=pan", "part.levels=[8]")}


def test_tricks_that_are_on_together_are_one_word() -> None:
    found = words(
        base=[*BASE, "trick=[ema]"], switches=dict(list(TRICKS.items())[:2]), design="full"
    )
    assert found["ciou+mosaic"] == ("trick=[ema,ciou,mosaic]",)
    assert found["plain"] == ("trick=[ema]",)


def test_one_switch_is_left_out_at_a_time() -> None:
    found = words(switches=dict(list(TRICKS.items())[:3]), design="leave_one")
    assert list(found) == ["all", "without_ciou", "without_mosaic", "without_mish"]
    assert found["without_mosaic"] == ("trick=[ciou,mish]",)


def test_a_word_of_a_variant_replaces_one_of_the_base() -> None:
    found = words(factors={"model": ["retinanet", "fcos"], "compile": [False, True]}, design="full")
    assert list(found) == ["plain", "compile=True", "model=fcos", "model=fcos+compile=True"]
    study = read_study({"base": BASE, "factors": {"model": ["retinanet", "fcos"]}})
    assert "model=fcos" in study.words(study.variants[1], 1)
    assert "model=yolov3" not in study.words(study.variants[1], 1)


def test_the_first_level_of_every_factor_is_the_baseline() -> None:
    study = read_study({"base": BASE, "factors": {"act": ["mish", "silu", "relu"]}})
    assert [v.words for v in study.variants] == [("act=mish",), ("act=silu",), ("act=relu",)]
    assert study.baseline.levels == {"act": "mish"}


def test_pairs_have_their_own_baselines_and_share_equal_ones() -> None:
    study = read_study({"base": BASE, "pairs": PAIRS})
    assert study.design == "pairs"
    assert study.compared == {"noise": "data=a", "crowds": "data=b", "mish": "data=a"}
    assert [v.name for v in study.variants] == ["data=a", "noise", "data=b", "crowds", "mish"]
    assert study.variants[3].words == ("data=b", "act=mish", "neck=pan")
    assert [v.expect for v in study.variants] == [None, "worse", None, None, None]


def test_all_but_the_first_are_compared_with_it() -> None:
    study = read_study({"base": BASE, "variants": {"a": [], "b": "act=mish", "c": "act=relu"}})
    assert study.compared == {"b": "a", "c": "a"}


def test_a_run_has_the_seed_and_the_weights_of_the_study() -> None:
    study = read_study({"base": BASE, "variants": {"a": [], "b": "seed=+10"}, "split": "test"})
    assert study.words(study.variants[1], 3)[-3:] == ("select=last", "split=test", "seed=13")


@pytest.mark.parametrize("count", range(2, 17))
def test_a_fraction_mixes_no_switch_with_a_pair(count: int) -> None:
    design = fraction(count)
    signs = np.where(design, 1, -1)
    pairs = [signs[:, [a, b]].prod(1) for a, b in itertools.combinations(range(count), 2)]
    assert not design[0].any()
    assert len({row.tobytes() for row in design}) == len(design)
    assert (signs.T @ signs == len(design) * np.eye(count)).all()
    assert count == 2 or not (signs.T @ np.array(pairs).T).any()


def test_seven_switches_take_sixteen_runs_and_share_their_pairs() -> None:
    design = fraction(7)
    told = aliases(design, list("abcdefg"))
    assert design.shape == (16, 7)
    assert len(told) == 7  # columns for all 21 pairs
    assert sum(len(line.split(" = ")) for line in told) == 21


def test_aliases_have_the_same_column() -> None:
    design = fraction(5)  # resolution V: every effect and every pair has a column of its own
    assert design.shape == (16, 5)
    assert aliases(design, list("abcde")) == []
    names = ["a", "b", "c", "d"]
    signs = dict(zip(names, np.where(fraction(4), 1, -1).T, strict=True))
    for line in aliases(fraction(4), names):
        columns = []
        for term in line.split(" = "):
            one, other = term.removeprefix("-").split(" x ")
            columns.append(signs[one] * signs[other] * (-1 if term[0] == "-" else 1))
        assert all((column == columns[0]).all() for column in columns)


def test_a_fraction_names_its_aliases() -> None:
    study = read_study({"base": BASE, "switches": TRICKS, "design": "fraction"})
    assert len(study.variants) == 8
    assert study.variants[0].words == ()
    assert "ciou x mosaic = mish x ema" in study.aliases


def test_seeds_are_counted_or_listed() -> None:
    def seeds(node: object) -> Seeds:
        return read_study({"variants": {"a": [], "b": ["act=mish"]}, "seeds": node}).seeds

    assert seeds(2) == ((1, 2), None, 2)
    assert seeds([3, 5]) == ((3, 5), None, 2)
    assert seeds({"start": 5, "until": 0.5, "at_most": 8}) == ((1, 2, 3, 4, 5), 0.5, 8)
    assert seeds({"start": 3}) == ((1, 2, 3), None, 3)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"metrc": "AP"}, "no key 'metrc'. Did you mean 'metric'?"),
        ({"metric": "AP5"}, "Did you mean 'AP75'?|Did you mean 'AP50'?"),
        ({"seeds": {"untill": 1}}, "Did you mean 'until'?"),
        ({"seeds": {"start": 3, "until": 0.5}}, "until needs 5 seeds"),
        ({"seeds": []}, "expected seeds that differ"),
        ({"seeds": [1, 1]}, "expected seeds that differ"),
        ({"seeds": {"start": 5, "until": 0.5, "at_most": 4}}, "raise at_most"),
        ({"select": "best"}, "luckiest on the pictures that measure it"),
        ({"adjust": "dunnett"}, "say variance: pooled too"),
        ({"budget": {"hour": 3}}, "Did you mean 'hours'?"),
        ({"budget": {"hours": -1}}, "expected a number in (0, inf)"),
        ({"fair": ["dta"]}, "study.fair"),
        ({"claim": "all_pictures"}, "expected one of new_pictures, these_pictures"),
        ({"variants": {"a": []}}, "expected two or more"),
        ({"variants": {"a": [], "b": []}}, "a and b have the same words"),
        ({"variants": {"a": [], "b": ["seed=3"]}}, "seeds are the study's"),
        ({"variants": {"a": [], "b": ["mosaic"]}}, "expected a word such as"),
        ({"variants": {"a": [], "b": ["ckpt_path=x"]}}, "leave it out"),
        ({"switches": {"x": "act=mish"}}, "found variants and switches and factors"),
        ({"variants": {}}, "found nothing to compare"),
        ({"variants": {}, "pairs": {"x": {"both": "act=mish"}}}, "it has no change"),
        ({"variants": {}, "pairs": {"x": {"chnge": "act=mish"}}}, "Did you mean 'change'?"),
        (
            {
                "variants": {},
                "pairs": {
                    "plain": {"both": "act=relu", "change": "neck=pan"},
                    "x": {"change": "act=mish"},
                },
            },
            "another pair is called plain",
        ),
        ({"variants": {}, "pairs": PAIRS, "design": "add_one"}, "found add_one with pairs"),
        ({"variants": {}, "pairs": PAIRS, "variance": "pooled"}, "these pairs have 2"),
        (
            {"variants": {}, "pairs": {"x": {"change": "act=mish", "expect": "best"}}},
            "expected one of better, worse",
        ),
        ({"variants": {}, "switches": {"x": "act=mish"}, "design": "list"}, "list is for variants"),
        ({"variants": {}, "factors": {"act": ["mish"]}}, "two or more levels"),
        (
            {"variants": {}, "factors": {"act": ["mish", "silu", "relu"]}, "design": "fraction"},
            "use add_one or full",
        ),
        (
            {"variants": {}, "switches": TRICKS, "design": "fraction", "fraction": 4},
            "with 8, 16 runs",
        ),
        (
            {"variants": {}, "switches": {f"s{i}": f"a{i}=1" for i in range(9)}, "design": "full"},
            "use design: fraction",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line(keys: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as refused:
        read_study({"variants": {"a": [], "b": ["act=mish"]}, **keys})
    assert any(part in str(refused.value) for part in told.split("|")), refused.value
    assert "\n" not in str(refused.value)


def test_two_switches_may_not_set_one_key() -> None:
    switches = {"pan": "neck=pan", "fpn": "neck=fpn"}
    with pytest.raises(ValueError, match="pan and fpn both set neck"):
        read_study({"switches": switches, "design": "full"})


@pytest.mark.parametrize("file", sorted((CONF / "study").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_study_that_ships_can_be_read(file: Path) -> None:
    node = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert file.read_text(encoding="utf-8").startswith("# @package study\n")
    assert read_study(node).question


def test_only_groups_of_several_choices_are_joined() -> None:
    assert joined(["trick=ema", "trick=[ciou]", "neck=fpn", "neck=pan"]) == [
        "trick=[ema,ciou]",
        "neck=pan",
    ]

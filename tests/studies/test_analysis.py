"""Results say what the runs show: means, paired differences, effects, and what they come from."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from detectors.studies.analysis import analyse, signed
from detectors.studies.design import read_study
from detectors.studies.effects import holm
from detectors.studies.interactions import contrasts
from detectors.studies.tables import notes
from tests.studies.simulated import write_run


@pytest.fixture(scope="module")
def results(written: Path) -> dict[str, Any]:
    return json.loads((written / "results.json").read_text(encoding="utf-8"))


def reported(sweep: Path, jobs: range, metric: str = "AP") -> np.ndarray:
    """Points that the runs themselves say."""
    records = [json.loads((sweep / str(job) / "run.json").read_text()) for job in jobs]
    return np.array([100 * record["metrics"][metric] for record in records])


def row(results: dict[str, Any], variant: str, metric: str = "AP") -> dict[str, Any]:
    return next(
        r for r in results["comparisons"] if (r["variant"], r["metric"]) == (variant, metric)
    )


def test_levels_are_means_over_seeds_in_points(results: dict[str, Any], sweep: Path) -> None:
    plain = results["variants"][0]
    points = reported(sweep, range(3))
    assert plain["name"] == "plain"
    assert plain["metrics"]["AP"]["n"] == 3
    assert plain["metrics"]["AP"]["mean"] == pytest.approx(points.mean())
    assert plain["metrics"]["AP"]["sd"] == pytest.approx(points.std(ddof=1))


@pytest.mark.parametrize("metric", ["AP", "AP75", "AR100"])
def test_differences_are_paired_by_seed(results: dict[str, Any], sweep: Path, metric: str) -> None:
    found = row(results, "trick=[mosaic]", metric)
    gaps = reported(sweep, range(6, 9), metric) - reported(sweep, range(3), metric)
    assert found["per_seed"] == pytest.approx(gaps.tolist())
    assert found["these"]["half"] == pytest.approx(4.302653 * gaps.std(ddof=1) / 3**0.5)
    assert found["new"]["se"] > found["these"]["se"]


def test_only_the_primary_metric_has_a_verdict(results: dict[str, Any]) -> None:
    judged = {r["metric"] for r in results["comparisons"] if "verdict" in r}
    assert judged == {"AP"}


def test_a_diverged_run_forbids_a_verdict_and_is_told(results: dict[str, Any]) -> None:
    found = row(results, "trick=[ciou]")
    assert found["seeds"] == [1, 2]
    assert found["verdict"] == {"kind": "none", "words": "diverged with 1 of 3 seeds"}
    told = results["variants"][1]["failed"]
    assert told == {"3": "diverged: the loss is not finite in step 12"}


def test_what_is_not_comparable_has_numbers_and_takes_no_part_in_the_adjustment(
    results: dict[str, Any],
) -> None:
    found = row(results, "neck=pan")
    assert found["verdict"]["words"] == "not comparable: epochs 6 and 36"
    assert not found["comparable"]
    assert found["per_seed"] == [0, 0, 0]
    assert found["p_adjusted"] is None
    able = [row(results, name) for name in ("trick=[ciou]", "trick=[mosaic]")]
    assert [r["p_adjusted"] for r in able] == pytest.approx(holm([r["p"] for r in able]))


def test_the_wide_interval_excludes_zero_where_bonferroni_does(results: dict[str, Any]) -> None:
    able = [row(results, name) for name in ("trick=[ciou]", "trick=[mosaic]")]
    for one in able:
        t = np.abs(stats.t.ppf(0.05 / 2 / len(able), one["new"]["df"]))
        assert one["wide"]["half"] == pytest.approx(t * one["new"]["se"])
        assert one["wide"]["half"] > one["new"]["half"]
    assert row(results, "neck=pan")["wide"] is None
    assert "wide" not in row(results, "trick=[ciou]", "AP50")


def test_classes_are_adjusted_over_the_classes_of_a_variant(results: dict[str, Any]) -> None:
    own = [r for r in results["classes"] if r["variant"] == "trick=[mosaic]"]
    assert [r["metric"] for r in own] == ["AP/disk", "AP/ring", "AP/cross", "AP/star"]
    assert [r["p_adjusted"] for r in own] == pytest.approx(holm([r["p"] for r in own]))


def test_kinds_of_errors_are_compared_like_metrics(results: dict[str, Any]) -> None:
    own = [r for r in results["errors"] if r["variant"] == "trick=[mosaic]"]
    assert {r["metric"] for r in own} == {
        f"TIDE/{kind}" for kind in ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
    }
    assert [r["p_adjusted"] for r in own] == pytest.approx(holm([r["p"] for r in own]))
    missed = next(r for r in own if r["metric"] == "TIDE/Miss")
    assert missed["mean"] < 0  # the better one misses less
    levels = [v["errors"]["TIDE/Miss"]["mean"] for v in results["variants"]]
    assert levels[2] - levels[0] == pytest.approx(missed["mean"])


def test_costs_are_those_of_the_runs(results: dict[str, Any]) -> None:
    costs = results["variants"][0]["costs"]
    assert costs["parameters"] == {"n": 3, "mean": 1.2e6, "least": 1.2e6, "most": 1.2e6}
    assert costs["memory_device"] is None
    assert costs["latency_ms"]["least"] < costs["latency_ms"]["mean"] < costs["latency_ms"]["most"]


def test_curves_end_with_the_measured_difference(results: dict[str, Any]) -> None:
    curve = next(r for r in results["curves"] if r["variant"] == "trick=[mosaic]")
    found = row(results, "trick=[mosaic]")
    assert curve["paired_epochs"] == [1, 2, 3, 4, 5, 6]
    assert curve["difference"][-1] == pytest.approx(found["mean"])
    assert curve["high"][-1] == pytest.approx(found["these"]["high"])


def test_a_changed_number_changes_the_signature(results: dict[str, Any]) -> None:
    assert signed(results) == results
    assert signed({**results, "format": 9})["sha256"] != results["sha256"]


@pytest.mark.usefixtures("few_draws")
def test_the_best_epoch_on_the_pictures_that_measure_it_gets_no_verdict(tmp_path: Path) -> None:
    study = read_study({"base": [], "variants": {"a": [], "b": "neck=pan"}, "seeds": [1, 2]})
    runs = {
        name: {
            s: write_run(tmp_path / "runs" / f"{name}{s}", [], s, skill, 6, select="best")
            for s in (1, 2)
        }
        for name, skill in (("a", 0.2), ("b", 0.9))
    }
    found = analyse(study, runs, {})
    assert found["study"]["select"] == "best"
    verdict = found["comparisons"][0]["verdict"]
    assert verdict["kind"] == "none"
    assert verdict["words"].startswith("no verdict: the epoch was chosen on the pictures that")


@pytest.mark.usefixtures("few_draws")
def test_the_picture_that_makes_the_difference_is_found(tmp_path: Path) -> None:
    """One variant is the other without what it found in one picture."""
    places = [tmp_path / "runs" / name for name in ("a", "b")]
    for place in places:
        write_run(place, [], 1, 0.9, images=12)
    objects = json.loads((places[1] / "truth.json").read_text())["annotations"]
    richest = Counter(o["image_id"] for o in objects).most_common(1)[0][0]
    file = places[1] / "detections.json"
    rows = json.loads(file.read_text())
    file.write_text(json.dumps([r for r in rows if r["image_id"] != richest]))
    study = read_study({"base": [], "variants": {"a": [], "b": "neck=pan"}, "seeds": [1]})
    found = analyse(study, {"a": {1: places[0]}, "b": {1: places[1]}}, {})["pictures"]
    assert found[0]["image"] == richest
    assert found[0]["contribution"]["b"] < 0
    assert found[0]["seed"] == 1


def full(switches: int) -> Any:
    names = "abc"[:switches]
    return read_study(
        {"base": [], "switches": {n: f"trick=[{n}]" for n in names}, "design": "full", "seeds": [1]}
    )


def test_contrasts_of_two_switches_are_those_worked_by_hand() -> None:
    found = {c.name: dict(c.weights) for c in contrasts(full(2).variants)}
    assert found == {
        "a": {"plain": -0.5, "b": -0.5, "a": 0.5, "a+b": 0.5},
        "b": {"plain": -0.5, "b": 0.5, "a": -0.5, "a+b": 0.5},
        "a x b": {"plain": 1, "b": -1, "a": -1, "a+b": 1},
    }


def test_contrasts_recover_effects_and_interactions() -> None:
    """Of numbers that are made of them: 2 for a, -1 for b, 3 for both together."""
    study = full(3)
    on = {v.name: {n: v.levels[n] == "on" for n in "abc"} for v in study.variants}
    made = {n: 2 * s["a"] - s["b"] + 3 * (s["a"] and s["b"]) for n, s in on.items()}
    found = {
        c.name: sum(w * made[n] for n, w in c.weights.items()) for c in contrasts(study.variants)
    }
    assert found == pytest.approx({"a": 3.5, "b": 0.5, "c": 0, "a x b": 3, "a x c": 0, "b x c": 0})


def test_levels_of_a_factor_are_compared_with_the_first() -> None:
    study = read_study(
        {
            "base": [],
            "factors": {"model": ["ssd", "fcos", "yolov3"], "act": ["relu", "mish"]},
            "design": "full",
            "seeds": [1],
        }
    )
    names = [c.name for c in contrasts(study.variants)]
    assert names == [
        *("model=fcos", "model=yolov3", "act=mish"),
        *("model=fcos x act=mish", "model=yolov3 x act=mish"),
    ]


@pytest.mark.usefixtures("few_draws")
def test_effects_of_a_full_design_have_verdicts_and_pairs_none(tmp_path: Path) -> None:
    study = full(2)
    runs = {
        v.name: {
            seed: write_run(
                tmp_path / "runs" / f"{i}{seed}", list(v.words), seed, 0.4 + 0.15 * i, 12
            )
            for seed in (1, 2)
        }
        for i, v in enumerate(study.variants)
    }
    found = analyse(study, runs, {})["effects"]
    assert [r["name"] for r in found["main"]] == ["a", "b"]
    assert all(r["verdict"]["words"] for r in found["main"])
    assert [r["p_adjusted"] for r in found["main"]] == pytest.approx(
        holm([r["p"] for r in found["main"]])
    )
    assert ["verdict" in r for r in found["pairs"]] == [False]


def test_pairs_are_compared_each_with_its_own_baseline(tmp_path: Path) -> None:
    skills = {"data=a": 0.5, "noise": 0.2, "data=b": 0.4, "crowds": 0.42}
    runs = {
        name: {
            seed: write_run(tmp_path / "runs" / f"{name}{seed}", [name], 10 * i + seed, skill)
            for seed in (1, 2, 3)
        }
        for i, (name, skill) in enumerate(skills.items())
    }
    pairs = {
        "noise": {"both": "data=a", "change": "data.train.missing=0.5", "expect": "worse"},
        "crowds": {"both": "data=b", "change": "act=mish", "expect": "better"},
    }
    found = analyse(read_study({"pairs": pairs, "seeds": 3}), runs, {})
    rows = [r for r in found["comparisons"] if r["metric"] == "AP"]
    assert [(r["variant"], r["baseline"]) for r in rows] == [
        ("noise", "data=a"),
        ("crowds", "data=b"),
    ]
    means = {v["name"]: v["metrics"]["AP"]["mean"] for v in found["variants"]}
    gaps = [means["noise"] - means["data=a"], means["crowds"] - means["data=b"]]
    assert [r["mean"] for r in rows] == pytest.approx(gaps)
    assert [r["p_adjusted"] for r in rows] == pytest.approx(holm([r["p"] for r in rows]))
    assert rows[0]["verdict"]["words"].endswith("; as expected")
    assert rows[1]["verdict"]["words"].endswith("; expected better")
    assert found["study"]["baseline"] == "the first of its pair"
    assert found["pictures"] == []
    assert [len(r["paired_epochs"]) > 0 for r in found["curves"]] == [False, True, False, True]


NONE, OTHER = ("none", "no verdict: {} of 3 seeds"), {"images": 9, "image_ids": "b" * 64}
TIE = ("none", "identical in all seeds: nothing changed, or neither has learnt")
# Name, seeds of the variant, failures, facts of its runs, pictures, what is said.
EDGES: list[tuple[str, tuple[int, ...], dict[int, str], dict[str, Any], int, tuple[str, str]]] = [
    ("one common seed", (2,), {}, {}, 8, ("none", NONE[1].format(1))),
    ("no common seed", (7, 8), {}, {}, 8, ("none", "no verdict: 0 of 5 seeds")),
    ("no run", (), {}, {}, 8, ("none", NONE[1].format(0))),
    ("a tie of all seeds", (1, 2, 3), {}, {"tie": True}, 8, TIE),
    ("diverged", (1, 2), {3: "diverged: at 1"}, {}, 8, ("none", "diverged with 1 of 3 seeds")),
    (
        "refused",
        (),
        dict.fromkeys((1, 2, 3), "refused: no norm"),
        {},
        8,
        ("none", "no verdict: refused: no norm"),
    ),
    (
        "other pictures",
        (1, 2, 3),
        {},
        {"data": {"classes": ["disk", "ring", "cross", "star"], **OTHER}},
        9,
        ("not_comparable", "evaluated pictures"),
    ),
    (
        "other classes",
        (1, 2, 3),
        {},
        {"data": {"classes": ["disk"], "images": 8, "image_ids": f"{8:064x}"}},
        8,
        ("not_comparable", "classes"),
    ),
]


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("edge", EDGES, ids=[edge[0] for edge in EDGES])
def test_edges(edge: tuple, tmp_path: Path) -> None:
    """A number that cannot be compared has no verdict, and the words say why."""
    _, seeds, failed, facts, images, (kind, words) = edge
    tie = facts.pop("tie", False)
    study = read_study({"base": [], "variants": {"a": [], "b": "neck=pan"}, "seeds": [1, 2, 3]})
    runs = {
        "a": {s: write_run(tmp_path / "runs" / f"a{s}", [], s, 0.6, 8) for s in (1, 2, 3)},
        "b": {
            s: write_run(tmp_path / "runs" / f"b{s}", [], s, 0.6 if tie else 0.9, images, **facts)
            for s in seeds
        },
    }
    found = analyse(study, runs, {"b": failed})
    said = found["comparisons"][0]["verdict"]
    assert said["kind"] == kind
    assert words in said["words"]
    if not tie and kind == "none":
        assert found["comparisons"][0]["p_adjusted"] in (None, 1.0) or failed


@pytest.mark.usefixtures("few_draws")
def test_a_size_that_no_object_has_gets_no_number(tmp_path: Path) -> None:
    study = read_study({"base": [], "variants": {"a": [], "b": "neck=pan"}, "seeds": [1, 2]})
    runs = {}
    for name, skill in (("a", 0.3), ("b", 0.9)):
        runs[name] = {
            s: write_run(tmp_path / "runs" / f"{name}{s}", [], s, skill, 8) for s in (1, 2)
        }
        for folder in runs[name].values():
            truth = json.loads((folder / "truth.json").read_text())
            for one in truth["annotations"]:
                one["area"] = max(one["area"], 1024.5)
            (folder / "truth.json").write_text(json.dumps(truth))
    small = row(analyse(study, runs, {}), "b", "APs")
    assert (small["n"], small["mean"], small["new"], small["p"]) == (0, None, None, None)
    assert "verdict" not in small


@pytest.mark.usefixtures("few_draws")
def test_pooled_variances_come_with_the_ratio_of_scatters(tmp_path: Path) -> None:
    study = read_study(
        {
            "base": [],
            "variants": {"a": [], "b": "neck=pan", "c": "act=mish"},
            "seeds": [1, 2, 3],
            "variance": "pooled",
            "adjust": "dunnett",
        }
    )
    runs = {
        name: {s: write_run(tmp_path / "runs" / f"{name}{s}", [], s + shift, 0.6, 8) for s in seeds}
        for shift, (name, seeds) in enumerate({"a": (1, 2, 3), "b": (1, 2, 3), "c": (1, 2)}.items())
    }
    found = analyse(study, runs, {})
    own = [row(found, name) for name in "bc"]
    assert [r["seeds"] for r in own] == [[1, 2], [1, 2]]
    assert own[0]["these"]["se"] == own[1]["these"]["se"]
    assert own[0]["these"]["df"] == 2
    ratio = found["study"]["scatter_ratio"]
    assert ratio >= 1
    assert f"scatters over seeds {ratio:.1f} times as much" in "\n".join(notes(found))

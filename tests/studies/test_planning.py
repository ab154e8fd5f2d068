"""A plan tells what a study would cost by the runs that there are, and what it cannot do."""

from pathlib import Path

import pytest

from detectors.studies import planning
from detectors.studies.cells import Planned
from detectors.studies.design import Cell, Study, read_study
from detectors.studies.store import Store, write_record

BASE = ["model=fcos", "size=small"]


def study(**keys: object) -> Study:
    return read_study({"base": BASE, "variants": {"a": [], "b": ["act=mish"]}, "seeds": 3, **keys})


def planned(asked: Study) -> Planned:
    found = [
        Cell(v.name, s, asked.words(v, s), f"{v.name}{s}")
        for s in asked.seeds.start
        for v in asked.variants
    ]
    return Planned(tuple(found), {})


def finished(store: Path, cell: Cell, value: float, **others: object) -> None:
    known = {"state": "done", "key": cell.key, "words": list(cell.words), "seed": cell.seed}
    took = {"train_seconds": 3000.0, "evaluation_seconds": 600.0, "metrics": {"AP": value}}
    write_record(store / cell.key, {**known, **took, "code": {}, **others})


def test_hours_and_gigabytes_are_those_of_runs_of_the_same_base(tmp_path: Path) -> None:
    asked = study()
    found = planned(asked)
    lines = planning.shown(asked, found, Store(tmp_path), 1)
    assert "6 runs: 6 missing" in lines
    assert any("nothing is known" in line for line in lines)
    finished(tmp_path, found.cells[0], 0.5)
    (tmp_path / found.cells[0].key / "last.ckpt").write_bytes(b"0" * 10**8)
    lines = planning.shown(asked, found, Store(tmp_path), 2)
    assert "6 runs: 1 done, 5 missing" in lines
    assert any("2.5 hours with 2 at once, 0.5 GB, by 1 run of" in line for line in lines)


def test_a_stale_run_is_told_with_its_file(tmp_path: Path) -> None:
    found = planned(study())
    finished(tmp_path, found.cells[1], 0.5, code={"detectors/losses/gone.py": "0"})
    lines = planning.shown(study(), found, Store(tmp_path), 1)
    assert "  stale: b, seed 1: detectors/losses/gone.py" in lines


def test_the_scatter_of_a_difference_is_that_of_common_seeds(tmp_path: Path) -> None:
    asked = study()
    for cell in planned(asked).cells:
        difference = {1: 0.01, 2: 0.03, 3: 0.02}[cell.seed] if cell.variant == "b" else 0
        finished(tmp_path, cell, cell.seed / 10 + difference)
    (sd,) = planning.paired_sds(asked, Store(tmp_path)).values()
    assert sd == pytest.approx(1.0)


def test_the_power_is_told_before_a_study_is_run(tmp_path: Path) -> None:
    asked = study(seeds=5)
    unknown = planning.shown(asked, planned(asked), Store(tmp_path), 1)
    # As simulated for one comparison: +-0.5 AP takes 5 seeds at a standard deviation of 0.4.
    assert any("sd 0.4 AP" in line and "±0.5 AP takes 5 seeds" in line for line in unknown)
    assert sum("chance to find" in line for line in unknown) == len(planning.USUAL)
    for cell in planned(asked).cells:
        difference = [0, 0.02, -0.02, 0.01, 0][cell.seed - 1] if cell.variant == "b" else 0
        finished(tmp_path, cell, cell.seed / 10 + difference)
    known = planning.shown(asked, planned(asked), Store(tmp_path), 1)
    assert any("as runs of this base have it" in line for line in known)
    assert sum("sd 1.5 AP" in line for line in known) == 1
    once = study(seeds=[1])
    assert "power: none" in planning.shown(once, planned(once), Store(tmp_path), 1)[-1]


def test_the_effects_of_a_fraction_have_more_power_than_its_variants(tmp_path: Path) -> None:
    switches = {name: f"trick=[{name}]" for name in ("ciou", "mosaic", "mish", "ema")}
    asked = read_study({"base": BASE, "switches": switches, "design": "fraction", "seeds": 3})
    lines = planning.shown(asked, planned(asked), Store(tmp_path), 1)
    assert any("half of 8 variants less the other half" in line for line in lines)
    # Var(effect) = 4 s^2 / 8 and Var(difference of two) = 2 s^2: half of the deviation.
    assert [line.split(" AP")[0].strip() for line in lines[-3:]] == ["sd 0.2", "sd 0.4", "sd 0.8"]


def test_a_pair_without_its_baseline_is_left_out() -> None:
    pairs = {
        "noise": {"both": "data=a", "change": "data.train.missing=0.5"},
        "crowds": {"both": "data=b", "change": "act=mish"},
    }
    asked = read_study({"base": BASE, "pairs": pairs})
    gone = Planned((), {"data=a": "no such data"})
    assert planning.left_to_compare(asked, gone) == ["crowds"]
    assert planning.cannot_run(asked, gone) == ""


def test_a_study_that_makes_no_sense_without_what_is_refused_says_so() -> None:
    asked = study()
    assert planning.cannot_run(asked, planned(asked)) == ""
    assert "baseline is refused: no" in planning.cannot_run(asked, Planned((), {"a": "no"}))
    assert "nothing is left" in planning.cannot_run(asked, Planned((), {"b": "no"}))
    switches = {name: f"trick=[{name}]" for name in ("ciou", "mosaic", "mish", "ema")}
    made = read_study({"base": BASE, "switches": switches, "design": "fraction"})
    refused = {made.variants[3].name: "no"}
    assert "study.design=add_one" in planning.cannot_run(made, Planned((), refused))


def test_seeds_are_added_for_width_alone() -> None:
    seeds = {"start": 5, "until": 0.5, "at_most": 8}

    def row(half: float, pictures: float, mean: float = 0.0, **others: object) -> dict[str, object]:
        both = {"these": {"half": half / 2}, "new": {"half": half}, "pictures_half": pictures}
        known = {"variant": "b", "metric": "AP", "comparable": True, "mean": mean}
        return {**known, **both, **others}

    def wide(row: dict[str, object], claim: str = "new_pictures") -> dict[str, float]:
        return planning.too_wide(study(seeds=seeds, claim=claim), {"comparisons": [row]})

    assert wide(row(0.8, 0.2)) == {"b": 0.8}
    assert wide(row(0.8, 0.2, mean=5.0)) == wide(row(0.8, 0.2, mean=-5.0)) == {"b": 0.8}
    assert wide(row(0.4, 0.2)) == {}
    assert wide(row(0.8, 0.6)) == {}  # the pictures alone are wider: seeds cannot help
    assert wide(row(1.2, 0.6), "these_pictures") == {"b": 0.6}
    assert wide(row(0.8, 0.2, comparable=False)) == {}
    assert wide(row(0.8, 0.2, metric="AP50")) == {}

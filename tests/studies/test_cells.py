"""Runs get keys by what their words compose, once; variants that cannot be run are told."""

from pathlib import Path

import pytest

from detectors.config.compose import compose
from detectors.engine.trial import tried
from detectors.studies import cells
from detectors.studies.cells import Planner
from detectors.studies.design import Study, read_study
from detectors.studies.keys import fingerprint, resolved, run_key

BASE = ["model=fcos", "size=small", "image_size=96", "device=cpu"]


def study(**keys: object) -> Study:
    found = {"base": BASE, "variants": {"a": [], "b": ["act=mish"]}, "seeds": [1, 2], **keys}
    return read_study(found)


def test_runs_come_seed_by_seed_with_the_keys_of_their_words(tmp_path: Path) -> None:
    found = Planner(study(), tmp_path).planned([1, 2])
    assert [(c.variant, c.seed) for c in found.cells] == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert len({cell.key for cell in found.cells}) == 4
    config = resolved(compose(found.cells[3].words))
    assert config["seed"] == 2
    assert found.cells[3].key == run_key(config, fingerprint(config))


def test_a_seed_that_is_shifted_is_the_run_of_the_other_seed(tmp_path: Path) -> None:
    shifted = study(variants={"a": [], "b": ["seed=+1"]})
    keys = {(c.variant, c.seed): c.key for c in Planner(shifted, tmp_path).planned([1, 2]).cells}
    assert keys["b", 1] == keys["a", 2]


def test_words_that_change_nothing_are_no_variant(tmp_path: Path) -> None:
    words = {"a": [], "b": ["act=mish"], "c": ["coder=distance"]}  # of FCOS
    found = Planner(study(variants=words), tmp_path).planned([1, 2])
    assert found.refused == {"c": "trains the same as a: its words change nothing"}
    assert {cell.variant for cell in found.cells} == {"a", "b"}


def test_what_was_composed_is_not_composed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = study(seeds={"start": 5, "until": 0.5, "at_most": 7})
    first = Planner(asked, tmp_path).planned([1, 2])

    def never(words: object) -> None:
        raise AssertionError(words)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "composed", never)
        again = Planner(asked, tmp_path)
        assert again.planned([1, 2]) == first
        assert len(again.planned([6, 7]).cells) == 4  # seeds that may be added later
    monkeypatch.setenv("DETECTORS_DATA", "/another")
    known = []
    monkeypatch.setattr(cells, "composed", lambda w: known.append(w) or compose(w))
    Planner(asked, tmp_path).planned([1, 2])
    assert len(known) == 2


def test_words_that_mean_nothing_refuse_their_variant_alone(tmp_path: Path) -> None:
    words = {"a": [], "b": ["coder=delta", "part.coder.scal=2"], "c": ["act=mish"]}
    found = Planner(study(variants=words), tmp_path).planned([1])
    assert [cell.variant for cell in found.cells] == ["a", "c"]
    assert list(found.refused) == ["b"]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("debug=fast", "debug=fast: such a run is no result"),
        ("data.batch_size=auto", "data.batch_size=auto is something else on another machine"),
        ("compile=auto", "compile=auto is something else on another machine"),
    ],
)
def test_what_is_no_result_is_no_variant(word: str, told: str, tmp_path: Path) -> None:
    found = Planner(study(variants={"a": [], "b": [word]}), tmp_path).planned([1])
    assert [cell.variant for cell in found.cells] == ["a"]
    assert found.refused["b"].startswith(told)


@pytest.mark.parametrize(
    ("word", "told"),
    [("modle=fcos", "Did you mean 'model'?"), ("part.head.towr=1", "Did you mean 'tower'?")],
)
def test_a_misspelt_word_is_told_as_train_tells_it(word: str, told: str, tmp_path: Path) -> None:
    found = Planner(study(variants={"a": [], "b": [word]}), tmp_path).planned([1])
    assert told in found.refused["b"]


def test_parts_that_do_not_fit_are_found_by_trying(tmp_path: Path) -> None:
    found = tried([*BASE, "trick=[ema]", f"run_dir={tmp_path}"])
    assert found["refused"] is None
    assert found["operations"] > found["parameters"] > 0
    refused = tried([*BASE, "trick=[grid_sensitivity]", f"run_dir={tmp_path}"])
    assert "has no parameter 'reach'" in refused["refused"]


def test_what_was_tried_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = Planner(study(), tmp_path)
    asked: list[list[str]] = []

    class Answer:
        returncode = 0
        stdout = 'a warning\n[{"refused": null, "operations": 5}, {"refused": "too large"}]\n'

    def answer(command: object, input: str, **rest: object) -> Answer:
        asked.append([input])
        return Answer()

    monkeypatch.setattr(cells.subprocess, "run", answer)
    found = planner.planned([1], tried=True)
    assert len(found.refused) == 1
    assert len(found.cells) == 1
    assert Planner(study(), tmp_path).planned([1], tried=True) == found
    assert Planner(study(), tmp_path).planned([1]).refused == found.refused
    assert len(asked) == 1


def test_a_fitted_model_is_without_the_epochs_of_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = study(
        base=["size=small", "device=cpu", "trainer.max_epochs=2"],
        variants={"net": ["model=fcos"], "fit": ["model=hog"], "said": ["model=hog", "debug=fast"]},
    )
    with caplog.at_level("INFO"):
        found = Planner(asked, tmp_path).planned([1])
    words = {cell.variant: cell.words for cell in found.cells}
    assert "trainer.max_epochs=2" in words["net"]
    assert not [word for word in words["fit"] if word.startswith("trainer.")]
    assert {"size=small", "model=hog", "seed=1"} <= set(words["fit"])
    assert "debug=fast: a fitted model" in found.refused["said"]
    assert set(found.idle) == {"fit", "said"}
    assert caplog.text.count("fit is without trainer.max_epochs=2") == 1
    assert Planner(asked, tmp_path).planned([1]) == found
    assert caplog.text.count("fit is without") == 1

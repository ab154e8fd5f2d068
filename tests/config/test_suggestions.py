"""A misspelt override is told what it was probably meant to be."""

import pytest

from detectors.__main__ import commands, main
from detectors.config.compose import compose
from detectors.config.spelling import unknown_choice
from detectors.config.suggestions import hint


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("nekc=fpn", "there is no 'nekc'. Did you mean 'neck'?"),
        ("optimizer.lrr=1", "optimizer has no 'lrr'. Did you mean 'lr'?"),
        ("part.postprocess.score_treshold=0.1", "Did you mean 'score_threshold'?"),
        ("xyzzy=1", "there is no 'xyzzy'. Known: act,"),
        ("act=mihs", "there is no act=mihs. Did you mean 'mish'?"),
        ("trick=[mosaic,emma]", "there is no trick=emma. Did you mean 'ema'?"),
    ],
)
def test_a_misspelt_key_gets_the_nearest_one(word, told) -> None:
    assert told in hint("train", ["model=fcos", word])


@pytest.mark.parametrize("word", ["optimizer.lr=1", "+new=1", "--help", "trick=[]", "model=${x}"])
def test_other_words_get_none(word) -> None:
    assert hint("train", [word]) == ""


def test_a_key_without_a_value_yet_is_known() -> None:
    assert hint("predict", ["ckpt_path=no.ckpt", "source=here"]) == ""


def test_choices_of_the_user_are_known(tmp_path) -> None:
    (tmp_path / "neck").mkdir()
    (tmp_path / "neck" / "thin.yaml").write_text("# @package part.neck\n")
    words = ["--config-dir", str(tmp_path), "neck=thni", "seed=1"]
    assert "Did you mean 'thin'?" in hint("train", words)
    assert hint("train", [*words[:2], "neck=thin", "seed=1"]) == ""


@pytest.mark.parametrize(
    "word", ["experiment=fcos_cocoo", "+experiment=fcos_cocoo", "tta=scalse", "data=null"]
)
def test_an_unknown_choice_of_an_optional_group_is_refused_too(word: str) -> None:
    """Hydra would go on without it."""
    assert "Known: " in unknown_choice([word])
    with pytest.raises(ValueError, match=f"there is no {word.strip('+')}"):
        compose([word])


@pytest.mark.parametrize("command", commands())
def test_every_command_refuses_it(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for word in ("experiment=fcos_cocoo", "tta=scalse", "data=nosuch", "trick=[mosiac]"):
        monkeypatch.setattr("sys.argv", ["detectors", command, word])
        with pytest.raises(SystemExit):
            main()
        assert "there is no " in capsys.readouterr().err


@pytest.mark.parametrize(
    "word", ["model=fcos,ssd300", "model=choice(fcos,nothing)", "trick=[],[ema,mosaic]", "seed=x"]
)
def test_sweeps_and_other_keys_are_left_to_hydra(word: str) -> None:
    assert unknown_choice([word]) == ""


def test_choices_of_a_search_path_are_known(tmp_path) -> None:
    (tmp_path / "neck").mkdir()
    (tmp_path / "neck" / "thin.yaml").write_text("# @package part.neck\n")
    assert unknown_choice([f"hydra.searchpath=[file://{tmp_path}]", "neck=thin"]) == ""

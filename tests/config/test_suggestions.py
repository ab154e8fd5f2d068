"""A misspelt override is told what it was probably meant to be."""

import pytest

from detectors.config.suggestions import hint


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("nekc=fpn", "there is no 'nekc'. Did you mean 'neck'?"),
        ("optimizer.lrr=1", "optimizer has no 'lrr'. Did you mean 'lr'?"),
        ("part.postprocess.score_treshold=0.1", "Did you mean 'score_threshold'?"),
        ("xyzzy=1", "there is no 'xyzzy'. Known: act,"),
    ],
)
def test_a_misspelt_key_gets_the_nearest_one(word, told) -> None:
    assert told in hint("train", ["model=fcos", word])


@pytest.mark.parametrize("word", ["optimizer.lr=1", "+new=1", "model=fcoss", "--help", "seed=1"])
def test_other_words_get_none(word) -> None:
    assert hint("train", [word]) == ""


def test_a_key_without_a_value_yet_is_known() -> None:
    assert hint("predict", ["ckpt_path=no.ckpt", "source=here"]) == ""

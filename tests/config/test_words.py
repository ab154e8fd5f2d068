"""Words that mean nothing are refused with their key, before anything is made."""

import re
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

import detectors
from detectors.__main__ import main
from detectors.config.compose import chosen, compose, lifted
from detectors.config.instantiate import instantiate
from detectors.config.overrides import check_overrides
from detectors.config.references import read_keys
from detectors.config.settings import SETTINGS
from detectors.config.words import check_headers, check_words

FAMILY = ["model=fcos", "size=small"]
README = Path(__file__).parents[2] / "README.md"
WORDS = {
    "+optimiser.lr=0.5": "nothing reads 'optimiser'. Did you mean 'optimizer'",
    "+scenes.layot.side=64": "nothing reads 'scenes.layot'. Did you mean 'layout'",
    "+part.pixel_stats.means=[1]": "nothing reads 'part.pixel_stats.means'. Did you mean 'mean'",
    "+part.nekc.channels=3": "does not use 'nekc'",
    "trick=[mosaic,mosaic]": "mosaic is chosen twice",
    "model=retinanet": "model is said twice, model=fcos and model=retinanet",
    "seed=abc": "seed: found 'abc', expected a whole number",
    "image_size=[320]": "image_size: found [320], expected a whole number",
    "precision=fp8": "expected one of auto, 32-true, bf16-mixed",
    "device=gqu": "Did you mean 'gpu'",
    "batch_tricks=1": "batch_tricks: found 1, expected named entries",
    "learning_rate=null": "learning_rate: found null, expected an object",
    "ckpt_path='no=file.ckpt'": "ckpt_path=no=file.ckpt: no such file",
    "trick=[[mosaic]]": "trick=[[mosaic]]: expected the name of a file",
    "ckpt_path=no=file.ckpt": "'ckpt_path=\"no=file.ckpt\"'",
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_means_nothing_is_refused_with_its_key(word: str) -> None:
    words = [*FAMILY, word]
    with pytest.raises(ValueError, match=re.escape(WORDS[word])):
        check_words(compose(words), words)


@pytest.mark.parametrize(
    ("key", "words", "told"),
    [
        ("optimizer", "optimizer.lr=fast", "optimizer.lr: found 'fast', expected a number"),
        ("optimizer", "optimizer.lr=nan", "optimizer.lr: found nan, expected a number"),
        ("optimizer", "optimizer.weight_decay=-1", "expected a number in [0, inf)"),
        ("learning_rate", "schedule.final=-1", "final: found -1, expected a number in [0, 1]"),
        ("trainer", "trainer.max_epochs=abc", "trainer.max_epochs: found 'abc'"),
        ("trainer", "trainer.max_epochs=0", "expected a whole number in [1, inf) or one of -1"),
        ("trainer", "trainer.devices=x", "trainer: "),
        ("trainer", "+trainer.accelerator=cpu", "trainer.accelerator: say device=... instead"),
        ("trainer", "+callback.x=1", "callbacks: found "),
        ("metrics", "+metrics.x=1", "metrics.x: found 1, expected an object or a function"),
        ("data", "data.batch_size=0", "batch_size"),
    ],
)
def test_a_value_that_means_nothing_is_refused_with_its_place(
    key: str, words: str, told: str, tmp_path: Path
) -> None:
    cfg = compose([*FAMILY, words, f"run_dir={tmp_path}", "device=cpu"])
    with pytest.raises(ValueError, match=re.escape(told)):
        instantiate(cfg, key)


def test_any_argument_of_the_trainer_may_be_added(tmp_path: Path) -> None:
    words = ["+trainer.enable_model_summary=false", f"run_dir={tmp_path}", "device=cpu"]
    instantiate(compose([*FAMILY, *words]), "trainer")


@pytest.mark.parametrize("loss", ["class", "box"])
def test_a_head_that_would_never_learn_classes_or_boxes_is_refused(loss: str) -> None:
    with pytest.raises(ValueError, match=rf"losses\.{loss} is null"):
        detectors.build("yolov3", ["size=small", f"part.head.losses.{loss}=null"])


def test_what_no_command_reads_is_what_only_others_refer_to() -> None:
    """Each key of our commands is in the table, or there to be referred to by one that is."""
    beside = {"part", "callback", "logger", "schedule", "warmup", "augment", "resize", "scenes"}
    for command in ("train", "pretrain", "preview", "assign", "anchors", "tricks"):
        raw = compose([], command)
        assert {str(key) for key in raw} - SETTINGS.keys() - beside <= {"native_size"}


def test_links_lead_to_what_is_read() -> None:
    raw = {
        "model": {"a": "${part.b.c}", "d": "${.e}", "e": "x${oc.select:f}", "g": "${h.${i}}"},
        "part": {"b": {"c": {"k": "${l.0}"}}, "m": "${n}"},
        "l": [1],
    }
    assert read_keys(raw) == {"model", "part.b.c", "model.e", "f", "h", "i", "l.0"}


def test_a_trick_that_is_said_wins_over_the_recipe() -> None:
    words = ["experiment=bccd_yolov1", "trick=[group_norm]"]
    assert lifted(words) == ["norm=group32"]
    assert compose(words).part.norm.groups == 32
    assert lifted([*words, "norm=batch"]) == []
    assert lifted(["experiment=bccd_yolov1"]) == lifted(words[1:]) == []
    check_overrides(compose(words), words)  # it has an effect


def test_chosen_tricks_are_read_off_the_word() -> None:
    for word, expected in {"[ema, mosaic]": ["ema", "mosaic"], "ema": ["ema"], "[]": []}.items():
        assert chosen("trick", [*FAMILY, f"trick={word}"]) == expected


@pytest.fixture
def neck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example of the README, as it stands; the file of its config."""
    python, config = re.findall(
        r"```(?:python|yaml)\n(.*?)```",
        README.read_text(encoding="utf-8").partition("## A part of your own")[2],
        re.DOTALL,
    )
    (tmp_path / "conf" / "neck").mkdir(parents=True)
    (tmp_path / "mine.py").write_text(python)
    file = tmp_path / "conf" / "neck" / "thin.yaml"
    file.write_text(config)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return file


SHOW = ["detectors", "show", "--config-dir", "conf", "model=yolov3", "size=small", "neck=thin"]


def test_the_example_of_the_readme_works_as_it_stands(
    neck: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert " ".join([*SHOW[:5], SHOW[6]]) in README.read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", SHOW)
    main()
    assert "mine.Thin" in capsys.readouterr().out


@pytest.mark.parametrize("first", ["# conf/neck/thin.yaml\n", "", "# @package part.nekc\n"])
def test_a_file_that_does_not_say_where_its_keys_belong_is_explained(
    first: str, neck: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    header, _, rest = neck.read_text().partition("\n")
    neck.write_text(first + (f"{header}\n" if "conf" in first else "") + rest)
    monkeypatch.setattr(sys, "argv", SHOW)
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert "`# @package part.neck`" in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: !!python/object/apply:os.system [exit]\n", "could not determine a constructor"),
        ("a: [1\n", "thin.yaml"),
        ("- 1\n", "model.neck: found [1]"),
        ("defaults: 3\n", "Invalid defaults list"),
    ],
)
def test_a_broken_or_hostile_file_is_refused_in_one_line(
    content: str, told: str, neck: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    neck.write_text(f"# @package part.neck\n{content}")
    monkeypatch.setattr(sys, "argv", SHOW)
    with pytest.raises(SystemExit):
        main()
    GlobalHydra.instance().clear()
    line = capsys.readouterr().err
    assert told in line
    assert len(line.splitlines()) == 1, line


def test_data_may_stand_in_their_own_place(neck: Path) -> None:
    (neck.parents[1] / "data").mkdir()
    (neck.parents[1] / "data" / "mine.yaml").write_text("defaults: [bccd]\n")
    check_headers([f"hydra.searchpath=[file://{neck.parents[1]}]", "data=mine"])


def test_a_file_with_a_name_of_ours_is_refused(neck: Path) -> None:
    """Hydra would take ours without a word."""
    neck.rename(neck.with_name("fpn.yaml"))
    words = [f"hydra.searchpath=[file://{neck.parents[1]}]", *FAMILY, "neck=fpn"]
    with pytest.raises(ValueError, match=r"fpn\.yaml: there is a neck=fpn already"):
        check_words(compose(words), words)

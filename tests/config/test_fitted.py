"""Words that mean nothing where a model is fitted stage by stage are refused with the reason."""

from pathlib import Path

import pytest

from detectors.config.compose import compose
from detectors.config.fitted import MEANINGLESS, check_fitted, is_fitted
from detectors.config.words import check_words

CONF = Path(__file__).parents[1] / "fitted" / "conf"
WORDS = [f"hydra.searchpath=[file://{CONF}]", "model=blobs", "data=scenes_easy"]
STAGES, PICTURES, DEVICE = "in stages", "as they are", "one device"


def refusal(*words: str) -> str:
    said = [*WORDS, *words]
    with pytest.raises(ValueError, match=r"\w") as told:
        check_words(compose(said), said)
    return str(told.value)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("trick=[mosaic]", "no part in the tricks"),
        ("trick=[soft_nms]", "no part in the tricks"),
        ("optimizer=sgd", STAGES),
        ("optimizer.lr=0.1", STAGES),
        ("optimizer.lr=1", STAGES),
        ("data.multiscale=1", PICTURES),
        ("schedule=constant", STAGES),
        ("warmup.length=0.1", STAGES),
        ("trainer.max_epochs=3", STAGES),
        ("trainer.limit_train_batches=3", STAGES),
        ("trainer.gradient_clip_val=3", STAGES),
        ("trainer=smoke", STAGES),
        ("trainer=ddp_cpu", DEVICE),
        ("trainer.devices=2", DEVICE),
        ("precision=bf16-mixed", "float32"),
        ("compile=true", "no network"),
        ("compile=auto", "no network"),
        ("channels_last=true", "no network"),
        ("weights=some.ckpt", "begins with nothing"),
        ("select=best", "one state"),
        ("augment=flip", PICTURES),
        ("data.decode=reduced", PICTURES),
        ("data.min_objects=4", PICTURES),
        ("callback=[default]", STAGES),
        ("callback=[evaluation,early_stopping]", STAGES),
        ("debug=fast", STAGES),
        ("debug=overfit", STAGES),
        ("backbone=resnet18", "does not use 'backbone'"),
        ("part.neck.channels=64", "does not use 'neck'"),
    ],
)
def test_a_word_without_effect_is_refused(word: str, reason: str) -> None:
    told = refusal(word)
    assert word in told
    assert reason in told


@pytest.mark.parametrize(
    "word",
    [
        "precision=32-true",
        "trick=[]",
        "size=small",
        "image_size=96",
        "resize=stretch",
        "trainer=cpu",
        "trainer.limit_val_batches=2",
        "trainer.devices=1",
        "trainer.devices=auto",
        "trainer.accumulate_grad_batches=1",
        "trainer.gradient_clip_val=null",
        "precision=auto",
        "data.decode=exact",
        "callback=[evaluation]",
        "callback.pictures.count=2",
        "data.batch_size=2",
        "data.max_unreadable=0.1",
        "part.postprocess.detections=10",
        "part.fitted.step=4",
        "tta=flip_merged",
        "split=val",
        "logger=[]",
    ],
)
def test_a_word_that_means_something_is_not(word: str) -> None:
    said = [*WORDS, word]
    check_words(compose(said), said)


def test_it_means_what_it_did_for_all_others() -> None:
    for place in MEANINGLESS:
        words = ["model=retinanet", f"{place}=1"]
        check_fitted(compose(words[:1]), words)


def test_the_model_takes_no_part_that_others_have() -> None:
    cfg = compose(WORDS)
    assert is_fitted(cfg)
    assert set(cfg.model) == {"_target_", "fitted", "postprocess", "num_classes"}
    assert (cfg.precision, dict(cfg.data.augment)) == ("32-true", {})
    assert set(cfg.callback) == {"progress", "pictures"}

"""Weights & Biases online needs a key, before a run begins; no test reaches the network."""

import io
from pathlib import Path

import pytest
from lightning.pytorch.loggers import WandbLogger

from detectors.engine.loggers import check_loggers


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither a key nor a terminal; a netrc file that is not there yet."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return tmp_path / "netrc"


def test_no_key_is_told_with_place_and_remedy(nobody: Path) -> None:
    logger = WandbLogger(offline=False)
    told = f"logger.mine.offline=false.* key.*WANDB_API_KEY or in {nobody}: .*`wandb login`"
    with pytest.raises(ValueError, match=told):
        check_loggers({"mine": logger})
    nobody.write_text("machine elsewhere.org login user password secret\n")
    with pytest.raises(ValueError, match="key"):
        check_loggers({"mine": logger})


def test_a_key_in_any_place_or_no_connection_is_accepted(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_loggers({"wandb": WandbLogger(offline=True)})
    online = {"wandb": WandbLogger(offline=False)}
    for name, value in (("WANDB_API_KEY", "k" * 40), ("WANDB_MODE", "offline")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            check_loggers(online)
    nobody.write_text("machine api.wandb.ai login user password secret\n")
    check_loggers(online)

"""The benchmark of exported files runs, and times detectors that find the same."""

from experiments import exported

WORDS = ["size=small", "backbone=darknet_thin", "part.neck.channels=16"]


def test_a_small_run_compares_onnx_with_pytorch(capsys) -> None:
    options = ["--models", "centernet", "--words", *WORDS, "--size", "64", "--repeats", "1"]
    rows = exported.main([*options, "--threads", "1", "--candidates", "20"])
    found = {row.variant: row for row in rows}
    plain, onnx = found["PyTorch, fp32"], found["ONNX, fp32"]
    assert (plain.threads, plain.ratio) == (1, 1)
    assert onnx.ratio == onnx.seconds / plain.seconds > 0
    assert plain.detections > 0
    assert onnx.detections == plain.detections
    assert "centernet" in capsys.readouterr().out

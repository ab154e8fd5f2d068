"""Turns a network into the bytes of one file."""

import copy
import importlib.util
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from detectors.export.network import ExportedNetwork, example
from detectors.export.pooling import with_operators

OPSET = 18  # what torch writes its own operators in
MOST = 2**31 - 1  # bytes of a message of protobuf, which an ONNX file is
INPUTS = ("images", "frames")
PACKAGES = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "pt2": (), "safetensors": ()}
DESCRIPTION = "description.json"  # the extra file of an exported program
_UNKNOWN = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")


def check_packages(format: str) -> None:
    """Refuse a format whose packages are missing.

    Raises:
        ValueError: names them and the extra that installs them.
    """
    missing = [name for name in PACKAGES[format] if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"format={format} needs {' and '.join(missing)}: "
            "pip install 'lightning-detectors[export]'"
        )


def program(network: ExportedNetwork, canvas: tuple[int, int]) -> ExportedProgram:
    """The network as one graph, for any number of images on such a canvas.

    Raises:
        ValueError: something in it depends on data; the message says what, as torch tells it.
    """
    batch = Dim("batch")
    shapes = {name: {0: batch} for name in INPUTS}
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(network, example(canvas), dynamic_shapes=shapes)
    except Exception as error:
        raise ValueError(
            f"this detector is no single graph, so it cannot be exported: {_first(error)}"
        ) from error


def as_pt2(network: ExportedNetwork, canvas: tuple[int, int], texts: Mapping[str, str]) -> bytes:
    """The file that `torch.export.load` reads; the texts are its extra files.

    Raises:
        ValueError: as `program`.
    """
    file = io.BytesIO()
    with _quiet():
        torch.export.save(program(network, canvas), file, extra_files=dict(texts))
    return file.getvalue()


def as_onnx(network: ExportedNetwork, canvas: tuple[int, int], texts: Mapping[str, str]) -> bytes:
    """The ONNX file; the texts are its metadata.

    Raises:
        ValueError: as `program`; an operator has no form in ONNX; or the file is too large.
    """
    from detectors.export.onnx_forms import forms

    network = copy.deepcopy(network)
    with_operators(network)
    try:
        with _quiet():
            found = torch.onnx.export(
                program(network, canvas),
                input_names=list(INPUTS),
                output_names=list(network.outputs),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                custom_translation_table=forms(),
            )
    except torch.onnx.OnnxExporterError as error:
        unknown = _UNKNOWN.search(str(error))
        reason = f"{unknown[1]} has no form in it" if unknown else _first(error)
        raise ValueError(f"format=onnx: {reason}; format=pt2 may do") from error
    assert found is not None
    found.model.metadata_props.update(texts)
    return _serialized(_with_named_batch(found.model_proto))


def _with_named_batch(model: Any) -> Any:
    """The model with its free axis called "batch", for which torch has a letter and a number."""
    name = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(rf"\b{name}\b", "batch", axis.dim_param)
    return model


def _serialized(model: Any) -> bytes:
    if model.ByteSize() > MOST:
        raise ValueError(
            f"the file would have {model.ByteSize():,} bytes, more than the {MOST:,} that an ONNX "
            "file may have: choose precision=16 or format=pt2"
        )
    return model.SerializeToString()


def _first(error: BaseException) -> str:
    """The innermost reason's first line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the messages by which exporters tell their own programmers of what they do."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

"""Real ONNX models for tests, written field by field: no package for that is needed.

A model takes the mean colour of each picture and gives `scale * mean + offset` for each
colour, or the sigmoid of that. The fields and their numbers are those of onnx.proto.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

FLOAT, UINT8, FLOAT16 = 1, 2, 10
Dimension = int | str


def write_mean_colour_model(
    path: Path,
    shape: Sequence[Dimension] = ("n", 3, 8, 8),
    *,
    element: int = FLOAT,
    scale: float = 1.0,
    offset: float = 0.0,
    sigmoid: bool = False,
    repeats: int = 1,
) -> Path:
    """Write a model of three outputs: the mean of each colour, in the input's order.

    Args:
        path: The file.
        shape: Of the input; names are open dimensions.
        element: Number type of the input.
        scale: Factor of the mean.
        offset: Added to it.
        sigmoid: Whether the outputs are probabilities of these values.
        repeats: Copies of the three outputs, one after another.
    """
    rows_and_columns = [*range(2, len(shape))] if shape[1] == 3 else [1, 2]
    nodes = [
        _node("Cast", ["pictures"], "floats", _integer("to", FLOAT)),
        _node(
            "ReduceMean",
            ["floats"],
            "mean",
            _integers("axes", rows_and_columns) + _integer("keepdims", 0),
        ),
        _node("Mul", ["mean", "scale"], "scaled"),
        _node("Add", ["scaled", "offset"], "values"),
        _node("Sigmoid" if sigmoid else "Identity", ["values"], "three"),
        _node("Concat", ["three"] * repeats, "scores", _integer("axis", 1)),
    ]
    graph = (
        b"".join(_field(1, node) for node in nodes)
        + _text(2, "mean colour")
        + _field(5, _scalar("scale", scale))
        + _field(5, _scalar("offset", offset))
        + _field(11, _value("pictures", element, shape))
        + _field(12, _value("scores", FLOAT, (shape[0], 3 * repeats)))
    )
    opset = _number(2, 13)
    path.write_bytes(_number(1, 8) + _field(7, graph) + _field(8, opset))
    return path


def _node(kind: str, inputs: list[str], output: str, attributes: bytes = b"") -> bytes:
    return (
        b"".join(_text(1, name) for name in inputs)
        + _text(2, output)
        + _text(4, kind)
        + attributes
    )


def _integer(name: str, value: int) -> bytes:
    return _field(5, _text(1, name) + _number(3, value) + _number(20, 2))


def _integers(name: str, values: list[int]) -> bytes:
    written = b"".join(_number(8, value) for value in values)
    return _field(5, _text(1, name) + written + _number(20, 7))


def _scalar(name: str, value: float) -> bytes:
    return _number(2, FLOAT) + _text(8, name) + _field(9, struct.pack("<f", value))


def _value(name: str, element: int, shape: Sequence[Dimension]) -> bytes:
    dimensions = b"".join(
        _field(1, _number(1, d) if isinstance(d, int) else _text(2, d)) for d in shape
    )
    tensor = _number(1, element) + _field(2, dimensions)
    return _text(1, name) + _field(2, _field(1, tensor))


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode())


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)

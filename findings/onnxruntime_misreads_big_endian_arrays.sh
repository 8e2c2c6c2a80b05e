#!/bin/sh
# ONNX Runtime takes the bytes of an array in the wrong order, and says nothing.
#
# An array of numpy may have its numbers in either order of bytes: those of a picture in
# 16-bit PGM come in big-endian order, and numpy computes with them like with any other.
# ONNX Runtime refuses an array of another type or shape, so one expects an error here,
# or the right numbers. It checks the type without the order, and copies the bytes: 1000
# becomes 59395, and the model answers with a guess about noise.
# `array.astype(array.dtype.newbyteorder("="))` gives an array that is read right.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

node = helper.make_node("Cast", ["picture"], ["numbers"], to=TensorProto.INT32)
graph = helper.make_graph(
    [node],
    "as_numbers",
    [helper.make_tensor_value_info("picture", TensorProto.UINT16, ["size"])],
    [helper.make_tensor_value_info("numbers", TensorProto.INT32, ["size"])],
)
opset = [helper.make_opsetid("", 17)]
model = helper.make_model(graph, opset_imports=opset, ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString())

pgm = b"P5 3 1 65535\n" + bytes([0, 1, 3, 232, 255, 255])
picture = np.frombuffer(pgm[-6:], dtype=">u2")
[as_it_is] = session.run(None, {"picture": picture})
[native] = session.run(None, {"picture": picture.astype(picture.dtype.newbyteorder("="))})
print(f"onnxruntime {onnxruntime.__version__}, numpy {np.__version__}: {picture.tolist()}")
print(f"the model sees {as_it_is.tolist()}, in native order {native.tolist()}")
assert picture.tolist() == native.tolist() == [1, 1000, 65535], (picture, native)
assert as_it_is.tolist() == [256, 59395, 65535], as_it_is
PYTHON

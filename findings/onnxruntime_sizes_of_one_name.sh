#!/bin/sh
# ONNX Runtime takes inputs of different lengths for two that must have the same.
#
# A model may give a size a name instead of a number: `batch` pictures, and as many times
# at which they stand. ONNX Runtime refuses a wrong number of columns, so one expects
# an error for four pictures and two times, too. It does not compare sizes that have one
# name, among the inputs or with the outputs. A model that works through the inputs one
# by one gives four and two answers, and a model that multiplies them spreads a single
# time over all pictures. Whoever pairs the answers with `zip` loses the rest unseen.
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
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument


def value(name: str, sizes: list):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)


nodes = [
    helper.make_node("ReduceMean", ["pictures"], ["means"], axes=[1], keepdims=0),
    helper.make_node("Neg", ["times"], ["negative"]),
    helper.make_node("Mul", ["means", "times"], ["products"]),
]
inputs = [value("pictures", ["batch", 3]), value("times", ["batch"])]
outputs = [value("means", ["batch"]), value("negative", ["batch"])]
opset = [helper.make_opsetid("", 17)]


def lengths(nodes: list, outputs: list, times: int, columns: int = 3) -> list[int]:
    """Return the lengths of the answers to four pictures."""
    graph = helper.make_graph(nodes, "pairs", inputs, outputs)
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    given = {
        "pictures": np.ones((4, columns), np.float32),
        "times": np.ones(times, np.float32),
    }
    return [len(answer) for answer in session.run(None, given)]


separate = lengths(nodes[:2], outputs, times=2)
products = [*nodes[:1], nodes[2]]
spread = lengths(products, [value("products", ["batch"])], times=1)
try:
    lengths(nodes[:2], outputs, times=4, columns=5)
except InvalidArgument as error:
    refused = str(error)
print(f"onnxruntime {onnxruntime.__version__}: four pictures, two times: {separate}")
print(f"four pictures, one time, multiplied: {spread}; five columns: {refused}")
assert separate == [4, 2] and spread == [4], (separate, spread)
assert "Got: 5 Expected: 3" in refused, refused
PYTHON

"""ONNX's own test cases in byhand: those of its operators, of PyTorch's modules and of the classic networks, that onnx brings along.

    python benches/peers/nodes.py [--all] [--keep DIR] [--program target/release/examples/nodes]

needs numpy, onnx and safetensors, and builds `cargo run -p byhand-export --example nodes`, which reads each file as `byhand import` does
and runs the layers that it is made of. Prints, for each case, the layers and the largest difference of a number from the expected one, or why the
file is refused; without --all not those that are right. Fails where a number differs by more than 1e-4 of it (of 1, if it is smaller).

Taken are all cases on images and on features in a row of the operators that byhand has layers and losses for. What a case gives as
further inputs (weights, which ONNX's cases want to vary) is put into the file. A function of each number alone, or of each row, is given
the same numbers as rows; the two inputs of Add and Concat as the channels of one, which 1x1 convolutions of ones and zeros pick.
"""

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
# ONNX writes the numbers of some cases with four digits, and itself allows a thousandth.
LIMIT = 1e-4
ELEMENTWISE = ["Relu", "LeakyRelu", "Gelu", "Sigmoid", "Tanh", "Dropout", "Identity", "Swish"]
ROWWISE = ["Softmax", "LogSoftmax"]
IMAGES = ["Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization", "Flatten", "Reshape", "ReduceMean"]
ROWS = ["Gemm", "MatMul"]
PAIRS = ["Add", "Concat"]
# What weights may go through.
ARRANGING = ["Constant", "Transpose"]
KNOWN = [*ELEMENTWISE, *ROWWISE, *IMAGES, *ROWS, *PAIRS, *ARRANGING]
LOSSES = {"NegativeLogLikelihoodLoss": "negative-log-likelihood", "SoftmaxCrossEntropyLoss": "cross-entropy"}
# Functions that a case spells out in several nodes.
EXPANDED = ["test_gelu_", "test_swish_", "test_silu"]
FOLDERS = ["pytorch-converted", "pytorch-operator", "simple"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="also the cases that are right")
    parser.add_argument("--keep", type=Path, help="a folder for the files that are run")
    parser.add_argument("--program", help="the example nodes of byhand-export, if it is built")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = asked.keep or Path(folder)
        folder.mkdir(exist_ok=True)
        titles = {}
        for index, (title, model, inputs, outputs) in enumerate(cases()):
            name = f"{index:04}"
            if write(folder / name, model, inputs, outputs):
                titles[name] = title
        build = ["cargo", "run", "--release", "--quiet", "-p", "byhand-export", "--example", "nodes", "--"]
        command = [asked.program] if asked.program else build
        told = subprocess.run([*command, str(folder)], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    right, wrong, refused = 0, 0, 0
    for line in told.splitlines():
        name, layers, difference, refusal = line.split("\t")
        title = titles[name]
        if refusal:
            refused += 1
            print(f"{title:62} refused   {refusal.removeprefix('file: ')}")
        elif float(difference) > LIMIT:
            wrong += 1
            print(f"{title:62} {difference:9} WRONG {layers}")
        else:
            right += 1
            if asked.all:
                print(f"{title:62} {difference:9} {layers if len(layers) < 100 else layers[:97] + '...'}")
    print(f"onnx {onnx.__version__}: {right} right, {wrong} wrong, {refused} refused")
    sys.exit(wrong > 0)


def cases():
    """Name, model, inputs and expected outputs of each."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in collect_testcases(None):
            for inputs, outputs in case.data_sets:
                yield case.name, case.model, list(inputs), list(outputs)
    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    read = lambda path: numpy_helper.to_array(onnx.load_tensor(path))
    for folder in FOLDERS:
        for file in sorted((data / folder).glob("*/model.onnx")):
            try:
                sets = file.parent / "test_data_set_0"
                inputs = [read(path) for path in sorted(sets.glob("input_*.pb"))]
                outputs = [read(path) for path in sorted(sets.glob("output_*.pb"))]
            except Exception:  # Sequences and the like.
                continue
            yield f"{folder}/{file.parent.name}", onnx.load(file), inputs, outputs
    for file in sorted((data / "light").glob("*.onnx")):
        model = onnx.load(file)
        weights = {tensor.name for tensor in model.graph.initializer}
        (value,) = [value for value in model.graph.input if value.name not in weights]
        shape = [side.dim_value for side in value.type.tensor_type.shape.dim]
        # As ONNX's own runner makes it.
        x = (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)
        yield f"light/{file.stem}", model, [x], [read(file.with_name(f"{file.stem}_output_0.pb"))]


def write(path, model, inputs, outputs):
    """The files of a case; false where it is none of images or rows in floats, or of operators that byhand has no layer like."""
    nodes = model.graph.node
    operator, attributes = nodes[0].op_type, {a.name: helper.get_attribute_value(a) for a in nodes[0].attribute}
    if not inputs or any(isinstance(x, (list, type(None))) for x in inputs + outputs):
        return False
    inputs, outputs = [np.asarray(x) for x in inputs], [np.asarray(y) for y in outputs]
    if inputs[0].dtype != np.float32 or inputs[0].size == 0:
        return False
    x, (y, *more) = inputs[0], outputs
    if len(nodes) > 1:
        is_function = any(model.graph.name.startswith(name) for name in EXPANDED)
        is_known = len(nodes) > 20 or all(node.op_type in KNOWN for node in nodes)
        if not is_function and (len(inputs) > 1 or x.ndim not in (2, 4) or not is_known):
            return False
        if is_function:
            x, y = rows(x), rows(y)
        return network(path, model, x, y)
    if operator in LOSSES:
        return loss(path, operator, attributes, inputs, outputs)
    if operator in PAIRS:
        return pair(path, model, operator, attributes, inputs, y)
    if operator in ELEMENTWISE:
        if x.ndim not in (2, 4):
            x, y = rows(x), rows(y)
    elif operator in ROWWISE and x.ndim not in (2, 4):
        version = model.opset_import[0].version
        axis = attributes.get("axis", 1 if version < 13 else -1)
        x, y = (np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis]) for a in (x, y))
        model = one(operator, {"axis": 1}, [], version)
    elif operator not in KNOWN or operator in ARRANGING or (operator in IMAGES and x.ndim != 4) or (operator in ROWS and x.ndim != 2):
        return False
    statistics = {}
    if operator == "BatchNormalization" and attributes.get("training_mode"):
        # The layer is the same; the example runs it in training, and looks at the statistics.
        model = onnx.ModelProto.FromString(model.SerializeToString())
        node = model.graph.node[0]
        (mode,) = [a for a in node.attribute if a.name == "training_mode"]
        node.attribute.remove(mode)
        del node.output[1:], model.graph.output[1:]
        n = x.size // x.shape[1]
        # PyTorch's running variance divides by n - 1, ONNX's by n; byhand's is PyTorch's.
        kept = attributes.get("momentum", 0.9)
        variance = inputs[4] * kept + (more[1] - inputs[4] * kept) * n / (n - 1)
        statistics = {"running_mean": more[0], "running_var": variance.astype(np.float32)}
    return network(path, model, x, y, inputs[1:], statistics)


def rows(x):
    return x.reshape(1, -1) if x.ndim < 2 else x.reshape(len(x), -1)


def one(operator, attributes, weights, version):
    """A model of one node."""
    node = helper.make_node(operator, ["x"] + weights, ["y"], **attributes)
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    graph = helper.make_graph([node], operator, [value("x")], [value("y")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])


def network(path, model, x, y, weights=(), statistics={}):
    """The file with its weights in it, and what it is to make of x."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    values = [value for value in graph.input if value.name not in stored]
    for value, weight in zip(values[1:], weights):
        graph.initializer.append(numpy_helper.from_array(weight, value.name))
        graph.input.remove(value)
    values[0].CopyFrom(helper.make_tensor_value_info(values[0].name, TensorProto.FLOAT, x.shape))
    path.with_suffix(".onnx").write_bytes(model.SerializeToString())
    tensors = {"input": x, "output": y} | statistics
    save_file({name: np.ascontiguousarray(a, np.float32) for name, a in tensors.items()}, path.with_suffix(".safetensors"))
    return True


def pair(path, model, operator, attributes, inputs, y):
    """Two inputs as the channels of one."""
    a, b = inputs
    if operator == "Add" and a.shape != b.shape:
        return network(path, model, rows(a), rows(y), [b]) if b.size else False
    axis = attributes.get("axis", 1)
    if a.dtype != np.float32 or a.ndim < 2 or (operator == "Concat" and axis % a.ndim != 1):
        return False
    if operator == "Add":
        a, b = a.reshape(len(a), 1, -1), b.reshape(len(b), 1, -1)
    x = np.concatenate([a.reshape(*a.shape[:2], -1), b.reshape(*b.shape[:2], -1)], 1)[..., None]
    pick = np.eye(x.shape[1], dtype=np.float32)[:, :, None, None]
    c = a.shape[1]
    nodes = [helper.make_node("Conv", ["x", "first"], ["a"]), helper.make_node("Conv", ["x", "second"], ["b"])]
    nodes.append(helper.make_node(operator, ["a", "b"], ["y"], **({} if operator == "Add" else {"axis": 1})))
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, operator, [value("x")], [value("y")])
    graph.initializer.extend([numpy_helper.from_array(pick[:c], "first"), numpy_helper.from_array(pick[c:], "second")])
    return network(path, helper.make_model(graph, opset_imports=model.opset_import), x, y)


def loss(path, operator, attributes, inputs, outputs):
    """Each place of an image is a sample."""
    logits, labels, *weights = inputs
    as_rows = lambda x: np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    labels = labels.reshape(-1).astype(np.int64)
    notes = {"loss": LOSSES[operator], "reduction": attributes.get("reduction", b"mean").decode()}
    if "ignore_index" in attributes:
        # Our labels are from 0 to 65,535.
        notes["ignore"] = str(attributes["ignore_index"] % 65536)
    tensors = {"logits": as_rows(logits), "labels": labels % 65536, "losses": outputs[0].reshape(-1)}
    tensors |= {"weights": weights[0]} if weights else {}
    tensors = {name: np.ascontiguousarray(a, np.float32) for name, a in tensors.items()}
    save_file(tensors, path.with_suffix(".safetensors"), metadata=notes)
    return True


if __name__ == "__main__":
    main()

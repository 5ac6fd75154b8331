"""Exported ONNX files, read by programs that are not ours: ONNX's checker, ONNX Runtime, and tract if it is built.

    python3 benches/peers/export_check.py --byhand target/release/byhand --data-dir DATA
        [--tract benches/peers/tract/target/release/tract-run]

Trains each of some networks a little, exports it, and prints the largest difference of a logit from `byhand predict`'s, over all test
images. Needs numpy, onnx and onnxruntime.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

# Named models, and layers.
NETWORKS = {
    "cnn": None,
    "dnn": None,
    "lenet": None,
    "activations": "conv(8,5,stride=2) gelu conv(16,3,pad=1) silu batchnorm leaky_relu globalavgpool dense(20) tanh "
    "dense(20) gelu(exact=true) dense(10)",
    "pools": "conv(8,3) batchnorm relu avgpool(2) conv(16,3x5,bias=false) pool(3,stride=2) sigmoid dropout(0.1) dense(10)",
    "windows": "conv(8,3,pad=same,stride=2) relu conv(16,3,groups=4,dilation=2,pad=2x1x2x1) pool(3,stride=2,pad=1,ceil=true) "
    "avgpool(2,pad=1,count_pad=false) dense(10)",
    "branches": "conv(16,3) residual(conv(16,3,pad=1) batchnorm relu conv(16,3,pad=1) batchnorm) relu "
    "residual(conv(24,3,stride=2,pad=1) | conv(24,1,stride=2)) concat(conv(8,1) | pool(3,stride=1,pad=1)) globalavgpool dense(10)",
    "3x3": "conv(16,3) relu conv(16,3) relu pool(2) conv(32,3) relu globalmaxpool dense(10)",
}
OPSETS = [11, 13, 17, 20, 22]
# Of the largest logit, or of 1 where that is smaller.
LIMIT = 1e-5


def images(folder: Path) -> np.ndarray:
    for path in [folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-images-idx3-ubyte"]:
        if path.exists():
            data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
            return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    sys.exit(f"{folder}: expected t10k-images-idx3-ubyte[.gz], found none")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--byhand", required=True)
    parser.add_argument("--data-dir", required=True, type=Path, help="the folder of MNIST's four files")
    parser.add_argument("--tract", help="the program of benches/peers/tract")
    arguments = parser.parse_args()
    pixels = images(arguments.data_dir)
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, {len(pixels)} images; largest difference of a logit")
    failed = False
    for name, layers in NETWORKS.items():
        network = ["--layers", layers] if layers else ["--preset", name]
        with tempfile.TemporaryDirectory() as folder:
            run, file, idx = Path(folder) / "run", Path(folder) / "net.onnx", Path(folder) / "images"
            idx.write_bytes(bytes([0, 0, 8, 3]) + np.array(pixels.shape)[[0, 2, 3]].astype(">u4").tobytes() + pixels.tobytes())
            little = ["--epochs", "1", "--train-limit", "600", "--threads", "1", "--quiet"]
            ours(arguments, ["train", *network, *little, "--data-dir", arguments.data_dir, "--out", run])
            told = ours(arguments, ["predict", run, idx, "--limit", "10000", "--json"])
            events = [json.loads(line) for line in told.splitlines()]
            logits = np.array([event["logits"] for event in events if event["event"] == "prediction"], np.float32)
            for opset in OPSETS:
                ours(arguments, ["export", run, "--onnx", file, "--opset", opset, "--preprocess"])
                model = onnx.load(file)
                onnx.checker.check_model(model, full_check=True)
                session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
                difference = np.abs(session.run(None, {"input": pixels})[0] - logits).max()
                failed |= not difference <= LIMIT * max(1, np.abs(logits).max())
                print(f"{name:12} opset {opset}  onnxruntime {difference:.2e} of {np.abs(logits).max():.1f}", flush=True)
            if arguments.tract:
                ours(arguments, ["export", run, "--onnx", file])
                notes = {note.key: note.value for note in onnx.load(file).metadata_props}
                command = [arguments.tract, file, idx, notes["byhand.scale"], notes["byhand.shift"]]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                theirs = np.array([line.split() for line in told.splitlines()], np.float32)
                difference = np.abs(theirs - logits).max()
                failed |= not difference <= LIMIT * max(1, np.abs(logits).max())
                print(f"{name:12} opset 17  tract {difference:.2e} of {np.abs(logits).max():.1f}", flush=True)
    sys.exit(failed)


def ours(arguments: argparse.Namespace, words: list) -> str:
    command = [arguments.byhand, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


main()

"""Reads the event files of a run with TensorBoard's own reader and holds them against the run's history.

    python3 -m venv tb && tb/bin/pip install tensorboard
    byhand train-cnn --data digits --tensorboard --out runs/board
    tb/bin/python benches/peers/event_files.py runs/board
"""

import json
import pathlib
import sys

import tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main(run):
    accumulator = EventAccumulator(
        str(run / "tensorboard"), size_guidance={"scalars": 0, "histograms": 0, "images": 0, "tensors": 0}
    )
    accumulator.Reload()
    epochs = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    names = {
        "loss/training": "train_loss",
        "loss/test": "test_loss",
        "accuracy/training": "train_accuracy",
        "accuracy/test": "test_accuracy",
        "images per second": "images_per_second",
    }
    largest, scalars = 0.0, 0
    for tag, field in names.items():
        read = [(event.step, event.value) for event in accumulator.Scalars(tag)]
        wanted = [(epoch["step"], epoch[field]) for epoch in epochs]
        assert [step for step, _ in read] == [step for step, _ in wanted], (tag, read, wanted)
        for (_, found), (_, expected) in zip(read, wanted):
            largest = max(largest, abs(found - expected) / abs(expected))
            scalars += 1
    # A scalar is stored as a single.
    assert largest < 1e-6, largest
    histograms = 0
    for tensor in epochs[-1]["tensors"]:
        for kind in ("weights", "gradients"):
            found = accumulator.Histograms(f"{kind}/{tensor['name']}")[-1].histogram_value
            expected = tensor[kind]
            assert list(found.bucket)[-len(expected["counts"]):] == expected["counts"], (tensor["name"], kind)
            assert (found.min, found.max) == (expected["low"], expected["high"])
            histograms += 1
    pictures = accumulator.Images("first filters")
    assert all(picture.encoded_image_string.startswith(b"\x89PNG") for picture in pictures)
    graph = accumulator.Graph()
    assert graph.node[0].name == "input" and len(graph.node) > 1
    print(
        f"TensorBoard {tensorboard.__version__}: {scalars} scalars (largest relative difference {largest:.1e}), "
        f"{histograms} histograms, {len(pictures)} pictures, a graph of {len(graph.node)} nodes"
    )


main(pathlib.Path(sys.argv[1]))

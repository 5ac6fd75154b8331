#!/usr/bin/env python3
"""Times the training step of this project beside other frameworks' on this machine, and writes the table.

A step is forward, softmax cross-entropy, backward and plain SGD update, in single precision, on images in memory. Peers are
installed and built as needed; one that cannot be had is named with the reason and left out. README.md says how they are held
to the same work.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile

from provide import PEERS, Missing, commands, run
from records import ROOT, append, circumstances
from render import render
from sides import Ours, Peer, has_norms
from workloads import BATCHES, WORKLOADS, layers, skip

TOLERANCE = 1e-5  # of the losses of the first steps: rounding makes 1e-6, a bias that is not moved at least 4e-5
NORM_TOLERANCE = 1e-4  # with batch normalisation: weights that differ by 1e-6 make 5e-5 at the fifth step of resnet-20, in PyTorch too


def main():
    options = arguments()
    if options.render:
        lines = [line for file in options.render for line in file.read_text().splitlines()]
        print(render([json.loads(line) for line in lines]))
        return
    out = options.out or ROOT / f"target/peers-{options.threads}.jsonl"
    where = circumstances(f"benches/peers/compare.py --threads {options.threads}")
    records = []

    def record(known):
        records.append({**where, "threads": options.threads, **known})
        append(out, records[-1])

    try:
        compare(options, record)
    except Missing as why:
        sys.exit(f"ours: {why}")
    print(f"records: {out}", file=sys.stderr)
    print(render(records))


def compare(options, record):
    """Times all in all cells, and hands `record` what is known of each."""
    cpus = sorted(os.sched_getaffinity(0))[: options.threads]
    # OPENBLAS_CORETYPE: who set it spoke of another program.
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"}
    environment |= {f"{library}_NUM_THREADS": str(options.threads) for library in ("OMP", "MKL", "OPENBLAS", "RAYON")}
    environment |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    # The reason why a peer of Rust stops is the last line that it says.
    environment |= {"RUST_BACKTRACE": "0"}
    # Who asks for no number of threads counts the cores.
    surroundings = {"env": environment, "preexec_fn": lambda: os.sched_setaffinity(0, cpus)}

    if not options.binary:
        print("building ours", file=sys.stderr)
        run(["cargo", "build", "--release", "-p", "xtask"], cwd=ROOT)
    ready, missing = commands(options.peers, options.venv, options.threads)
    peers = {}
    for name, command in ready.items():
        try:
            peers[name] = Peer(command, surroundings)
        except Missing as why:
            missing[name] = str(why)
    for name, why in missing.items():
        print(f"{name}: left out: {why}", file=sys.stderr)
        record({"peer": name, "missing": why})

    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(options.binary or ROOT / "target/release/xtask", options.threads, surroundings, pathlib.Path(folder))
        for workload in options.workloads:
            for batch in options.batches:
                if not skip(workload, batch):
                    print(f"{workload}, batch {batch}", file=sys.stderr)
                    compare_cell(workload, batch, ours, peers, options, record)
    for peer in peers.values():
        peer.end()


def compare_cell(workload, batch, ours, peers, options, record):
    """The first steps of all, then their turns."""
    path, our_losses = ours.first_steps(workload, batch)
    flat = layers(workload)[0][0] == "dense"
    losses, turns = {"ours": our_losses}, {"ours": []}

    def attempt(name, work):
        """What a peer makes of its work; when it gives up it is started anew for the next cell."""
        try:
            return work()
        except Missing as why:
            if name == "ours":
                raise
            turns.pop(name, None)
            record({"workload": workload, "batch": batch, "peer": name, "missing": str(why)})
            peers[name].end()
            try:
                peers[name].start()
            except Missing:
                del peers[name]

    for name, peer in list(peers.items()):
        if flat and name.endswith("channels-last"):
            continue  # nothing has channels
        if first := attempt(name, lambda: peer.first_steps(workload, batch, path)):
            losses[name], turns[name] = first, []
    for _ in range(options.rounds):
        for name in list(turns):
            side = ours if name == "ours" else peers[name]
            if turn := attempt(name, lambda: side.time(workload, batch, options.seconds)):
                turns[name].append(turn)
    tolerance = NORM_TOLERANCE if has_norms(workload) else TOLERANCE
    for name, rounds in turns.items():
        differs = difference(losses[name], our_losses)
        record({
            "workload": workload,
            "batch": batch,
            "peer": name,
            "version": rounds[0]["isa"] if name == "ours" else peers[name].version,
            "median_us": statistics.median(turn["median_us"] for turn in rounds),
            "min_us": min(turn["min_us"] for turn in rounds),
            "steps": sum(turn["steps"] for turn in rounds),
            "rounds": options.rounds,
            "seconds": options.seconds,
            "losses": losses[name],
            "loss_difference": differs,
            "agrees": differs is not None and differs <= tolerance,
        })


def difference(losses, ours):
    """The largest difference of a loss as a part of the largest of ours; none when one is no number. (The last may be so small
    that it is all rounding.)"""
    if None in losses:
        return None
    return max(abs(loss - own) for loss, own in zip(losses, ours, strict=True)) / max(ours)


def chosen(names):
    """A parser of a list of some of `names`."""
    known = [str(name) for name in names]

    def parse(text):
        asked = text.split(",")
        if unknown := [name for name in asked if name not in known]:
            raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, found {','.join(unknown)}")
        return [name for name in names if str(name) in asked]

    return parse


def at_least_one(text):
    if not text.isdigit() or text == "0":
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text}")
    return int(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--threads", type=at_least_one, default=2, help="of each peer and of ours [2]")
    for name, known in (("peers", PEERS), ("workloads", WORKLOADS), ("batches", BATCHES)):
        listed = ",".join(map(str, known))
        add(f"--{name}", type=chosen(known), default=list(known), metavar="LIST", help=f"some of {listed} [all]")
    add("--rounds", type=at_least_one, default=3, help="in each all take their turns; the median round counts [3]")
    add("--seconds", type=float, default=0.2, help="of a turn [0.2]")
    add("--quick", action="store_true", help="lenet and mlp3 at 1 and 128, one short round: does it work?")
    add("--out", type=pathlib.Path, metavar="FILE", help="records are appended to it [target/peers-THREADS.jsonl]")
    add("--venv", type=pathlib.Path, default=pathlib.Path.home() / ".cache/byhand-peers", help="made when not there [%(default)s]")
    add("--binary", type=pathlib.Path, help="ours, built already [builds target/release/xtask]")
    add("--render", type=pathlib.Path, nargs="+", metavar="FILE", help="times nothing: prints the tables of these records")
    options = parser.parse_args()
    if options.threads > (cores := len(os.sched_getaffinity(0))):
        parser.error(f"--threads {options.threads}: expected at most the {cores} cores that this process may use")
    if options.quick:
        options.workloads, options.batches, options.rounds, options.seconds = ["lenet", "mlp3"], [1, 128], 1, 0.1
    return options


if __name__ == "__main__":
    main()

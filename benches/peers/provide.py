"""Installs and builds what the peers need, and says how each is started."""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
# Of each peer, what has to be there: a requirement of requirements.txt, or the program of rust/.
PEERS = {
    "torch": "torch",
    "torch-channels-last": "torch",
    "torch-compile": "torch",
    "jax": "jax",
    "jax-channels-last": "jax",
    "tensorflow": "tensorflow-cpu",
    "onednn": "onednn-devel-cpu-gomp",
    "burn": "rust",
    "candle": "rust",
}


class Missing(Exception):
    """A peer cannot be had, or gave up; says why."""


def run(command, **options):
    """Runs a command that has to succeed; its output."""
    try:
        return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, **options).stdout
    except FileNotFoundError:
        raise Missing(f"no program {command[0]}") from None
    except subprocess.CalledProcessError as error:
        raise Missing(reason(error.stderr) or f"{command[0]} ended with code {error.returncode}") from None


def reason(stderr):
    """The line of an error's output that says the most: the last that names an error, or the last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("note: ")]
    named = [line for line in lines if "error" in line.lower()]
    return (named or lines or [""])[-1]


def commands(peers, venv, threads):
    """How each peer is started, and why the others cannot be."""
    ready, missing, outcomes = {}, {}, {}
    for peer in peers:
        need = PEERS[peer]
        if need not in outcomes:
            print(f"providing {need}", file=sys.stderr)
            try:
                outcomes[need] = provide(need, venv)
            except Missing as why:
                outcomes[need] = str(why)
        if outcomes[need]:
            missing[peer] = outcomes[need]
        elif need == "rust":
            ready[peer] = [HERE / "rust/target/release/rust-peers", peer]
        elif peer == "onednn":
            ready[peer] = [HERE / "onednn/target/onednn_step"]
        else:
            ready[peer] = [venv / "bin/python", HERE / "python/worker.py", peer, threads]
    return ready, missing


def provide(need, venv):
    """Installs or builds one thing; what is there already is left as it is."""
    if need == "rust":
        run(["cargo", "build", "--release", "--manifest-path", HERE / "rust/Cargo.toml"])
        return
    if not (venv / "bin/python").exists():
        run([sys.executable, "-m", "venv", venv])
    lines = (HERE / "requirements.txt").read_text().splitlines()
    run([venv / "bin/python", "-m", "pip", "install", *(line for line in lines if line.startswith(f"{need}=="))])
    if need.startswith("onednn"):
        program = HERE / "onednn/target/onednn_step"
        program.parent.mkdir(exist_ok=True)
        options = ["-std=c++17", "-O3", "-march=native", "-fopenmp", "-I", venv / "include", "-L", venv / "lib"]
        options += ["-ldnnl", f"-Wl,-rpath,{venv / 'lib'}"]
        run([os.environ.get("CXX", "c++"), HERE / "onednn/onednn_step.cpp", "-o", program, *options])

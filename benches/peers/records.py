"""Records, as docs/measurements has them: JSON Lines, the circumstances first, then what was measured."""

import contextlib
import datetime
import json
import os
import pathlib
import platform

from provide import HERE, run

ROOT = HERE.parents[1]
MEASURED = ("crates", "benches", "recipes", "xtask", "Cargo.toml", "Cargo.lock")


def circumstances(command):
    """When, on what and with which command: what every record begins with. `cargo xtask measure` writes the same."""
    commit = run(["git", "rev-parse", "--short=7", "HEAD"], cwd=ROOT).strip()
    if run(["git", "status", "--porcelain", "--", *MEASURED], cwd=ROOT).strip():
        commit += " with changes"
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit,
        "processor": processor(),
        "cores": os.cpu_count(),
        "command": command,
    }


def append(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        print(json.dumps(record), file=file)


def processor():
    """As the system names it, where it does."""
    known = {}
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            known.setdefault(key.strip(), value.strip())
    names = [known.get(key) for key in ("model name", "cpu family", "model")]
    return "{}, family {} model {}".format(*names) if all(names) else f"{platform.machine()} ({platform.system()})"

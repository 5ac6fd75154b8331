"""Records of compare.py as Markdown: one table a processor, commit and number of threads."""

TITLES = {
    "torch": "PyTorch",
    "torch-channels-last": "PyTorch, channels last",
    "torch-compile": "PyTorch, compiled",
    "jax": "JAX",
    "jax-channels-last": "JAX, channels last",
    "tensorflow": "TensorFlow",
    "onednn": "oneDNN",
    "burn": "burn",
    "candle": "candle",
}
WHERE = ("processor", "cores", "commit", "threads")


def microseconds(value):
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def render(records):
    """Tables of microseconds a step, and what has to be said beside them."""
    groups = {}
    for record in records:
        groups.setdefault(tuple(record[key] for key in WHERE), []).append(record)
    return "\n\n".join(table(*where, group) for where, group in groups.items())


def table(processor, cores, commit, threads, records):
    timed = [record for record in records if "median_us" in record]
    peers = [peer for peer in TITLES if any(record["peer"] == peer for record in timed)]
    cells = {}
    for record in timed:
        cells.setdefault((record["workload"], record["batch"]), {})[record["peer"]] = record
    columns = ["network", "batch", "ours", *(TITLES[peer] for peer in peers), "ratio"]
    lines = [
        f"{processor}, {cores} cores; commit {commit}; threads: {threads}. Microseconds of the median step; "
        "in bold the best peer, and its time divided by ours.",
        "",
        f"| {' | '.join(columns)} |",
        "|---|" + "---:|" * (len(columns) - 1),
    ]
    for (workload, batch), cell in cells.items():
        ours = cell["ours"]["median_us"]
        # A peer that computes something else is shown, but is no measure.
        fair = {peer: cell[peer]["median_us"] for peer in peers if peer in cell and cell[peer]["agrees"]}
        best = min(fair, key=fair.get, default=None)
        row = [workload, str(batch), microseconds(ours)]
        for peer in peers:
            text = microseconds(cell[peer]["median_us"]) if peer in cell else "–"
            row.append(f"**{text}**" if peer == best else text if peer in fair or peer not in cell else f"{text} (differs)")
        row.append(f"**{fair[best] / ours:.2f}**" if best else "–")
        lines.append(f"| {' | '.join(row)} |")

    theirs = [record for record in timed if record["peer"] != "ours"]
    versions = dict.fromkeys(record["version"] for record in theirs)
    isas = dict.fromkeys(record["version"] for record in timed if record["peer"] == "ours")
    turns = dict.fromkeys(f"{record['rounds']} of {record['seconds']} s" for record in timed)
    lines += ["", f"Ours: {', '.join(isas)}; {', '.join(versions) or 'no peers'}. Turns in each cell: {', '.join(turns)}."]
    if agreeing := [record["loss_difference"] for record in theirs if record["agrees"] and "loss_difference" in record]:
        lines += [f"Losses of the first steps from the same weights agree with ours to {max(agreeing):.1e} of the largest."]
    for record in records:
        place = f"{record['workload']} at {record['batch']}" if "workload" in record else "everywhere"
        if "missing" in record:
            lines.append(f"- {TITLES[record['peer']]}, {place}: left out: {record['missing']}")
        elif not record["agrees"]:
            lines.append(f"- {TITLES[record['peer']]}, {place}: the losses differ")
    return "\n".join(lines)

"""The main job of every task over several seeds: minutes and figures of the test, in one table.

    python benchmarks/main_job.py [--seeds 3]     trains what is missing, one run after the other,
                                                  and writes benchmarks/main_job.json and .md
"""
import argparse
import json
import math
import subprocess
import sys

from report import ROOT, publish
from time_to_accuracy import TARGET

from ipt_mini.compare import interval

ROWS = {
    "minutes, all stages": lambda m: m["minutes"]["all"],
    "of it training until the goal in validation": lambda m: next(
        (row["seconds"] / 60 for row in m["log"]
         if row["val_imagine"] >= TARGET[m["config"]["task"]]), math.nan),
    "imagine accuracy": lambda m: m["test"]["imagine"]["accuracy"],
    "exact imagined images": lambda m: m["test"]["imagine"]["imagination"]["exact_images"],
    "foreground cells": lambda m: m["test"]["imagine"]["imagination"]["foreground_cells"],
    "oracle accuracy": lambda m: m["test"]["oracle"]["accuracy"],
    "direct accuracy": lambda m: m["test"]["direct"]["accuracy"],
    "best shortcut lookup": lambda m: max(m["test"]["shortcuts"].values()),
    "rule reads the imagined picture right": lambda m: m["test"]["imagine"]["imagination"]["rule_reads_right"],
    "answer agrees with the picture": lambda m: m["test"]["imagine"]["imagination"]["answer_agrees_with_picture"],
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", default="pet,pt,mvc")
    a = parser.parse_args()
    runs = {}
    for seed in range(a.seeds):
        for task in a.tasks.split(","):
            subprocess.run([sys.executable, "train.py", "--task", task, "--seed", str(seed)], cwd=ROOT,
                           check=True, stdout=subprocess.DEVNULL)
            path = ROOT / f"runs/{task}-mixed-s{seed}/metrics.json"
            runs.setdefault(task, []).append(json.loads(path.read_text()))
    machine = runs[a.tasks.split(",")[0]][0]["machine"]
    n = runs[a.tasks.split(",")[0]][0]["test"]["imagine"]["n"]
    seeds = "seed 0" if a.seeds == 1 else f"seeds 0 to {a.seeds - 1}, mean and 95% t interval over seeds"
    lines = [f"`python benchmarks/main_job.py --seeds {a.seeds}`: n = {n} test questions, {seeds}; "
             f"{machine['cpu']}, {machine['threads']} thread{'s' * (machine['threads'] > 1)}, Python {machine['python']}, torch "
             f"{machine['torch']}, {machine['date']}. Accuracy in %. Goal: "
             + ", ".join(f"{task.upper()} {100 * TARGET[task]:.0f}%" for task in runs) + " after imagining.", "",
             "| | " + " | ".join(task.upper() for task in runs) + " |", "|---|" + "---|" * len(runs)]
    table = {}
    for name, figure in ROWS.items():
        cells = []
        for task, metrics in runs.items():
            values = [figure(m) for m in metrics]
            mean, half = interval(values)
            half = half if a.seeds > 1 else None
            table.setdefault(task, {})[name] = dict(mean=round(mean, 2), half=half and round(half, 2), seeds=values)
            cells.append(f"{mean:.1f}" + (f" ± {half:.1f}" if half is not None else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for task, metrics in runs.items():
        table[task]["tokenizer"] = [m["tokenizer"] | dict(minutes=m["minutes"]["tokenizer"]) for m in metrics]
    (ROOT / "benchmarks/main_job.json").write_text(json.dumps(dict(machine=machine, n=n, **table), indent=1) + "\n")
    publish("main_job", lines)


if __name__ == "__main__":
    main()

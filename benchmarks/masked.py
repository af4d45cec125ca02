"""Parallel imagination (examples/masked.py) beside cell after cell, PET and PT, seeds 0 to 2.

    python benchmarks/masked.py                   half an hour; the same command goes on with it

The runs of train.py with the same tasks and seeds must be there (benchmarks/main_job.py makes
them); both are scored on the same 1,000 validation questions. Two at a time, one thread each.
"""
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from report import ROOT, markdown, publish, stamp

from eval import evaluate
from ipt_mini.compare import interval
from ipt_mini.config import Parser, run_main

N = 1000                                             # validation questions


def train(task, seed):
    """The rows that examples/masked.py finds, a dict for each number of passes."""
    out = ROOT / f"runs/masked-{task}-s{seed}.json"
    if not out.exists():
        subprocess.run([sys.executable, "examples/masked.py", "--task", task, "--seed", str(seed),
                        "--n", str(N), "--out", out], cwd=ROOT, check=True, capture_output=True,
                       env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(out.read_text())["rows"]


def one_by_one(task, seed):
    """The same figures of the default run, which imagines one cell after the other."""
    figures = evaluate(ROOT / f"runs/{task}-mixed-s{seed}", ["val"], ["imagine"], N)
    picture = figures["val"]["imagine"]["imagination"]
    return dict(passes="one cell after the other", codes=picture["cells"],
                exact=picture["exact_images"], answer=figures["val"]["imagine"]["accuracy"])


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    tasks, lines, results = ("pet", "pt"), [], {}
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip([(task, seed) for seed in seeds for task in tasks],
                         pool.map(train, tasks * len(seeds), [s for s in seeds for _ in tasks])))
    for task in tasks:
        runs = [[*found[task, seed], one_by_one(task, seed)] for seed in seeds]
        results[task] = runs
        form = "{:.1f} ± {:.1f}" if len(seeds) > 1 else "{:.1f}"
        cell = lambda rows, key: form.format(*interval([row[key] for row in rows]))
        lines += markdown([f"{task}: passes", "codes or cells right", "exact pictures", "answer right"],
                          [[rows[0]["passes"], *(cell(rows, k) for k in ("codes", "exact", "answer"))]
                           for rows in zip(*runs)]) + [""]
    note = stamp(f"python benchmarks/masked.py --seeds {len(seeds)}") + (
        f" {N:,} validation questions, in %; " + ("mean ± 95% t interval over seeds." if len(seeds) > 1
                                              else "seed 0 alone."))
    publish("masked", [note, "", *lines], results)


if __name__ == "__main__":
    run_main(main)

"""Compare finished runs: do they differ by more than their seeds do?

    python examples/compare.py runs/pt-mixed-s? runs/pt-label-s?

Runs whose folders differ by the seed alone form a group. Every figure is the test's, from
`metrics.json`. Each group is compared to the first, seed by seed, and the verdict comes from the
95% t interval over these paired differences.
"""
import math
import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ipt_mini.checkpoint import read_metrics
from ipt_mini.errors import UserError, blame, run_main

# 97.5% quantile of Student's t, by degrees of freedom from 1 on; further ones are a little lower.
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def interval(values):
    """(mean, half width of the 95% t interval) of numbers; half is nan for fewer than two."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), math.nan
    t = T95[min(n - 1, len(T95)) - 1]
    return float(np.mean(values)), t * float(np.std(values, ddof=1)) / math.sqrt(n)


def read_runs(paths):
    """{group: {seed: {name of a figure: percent}}} of the runs in these folders, in order."""
    groups = {}
    for path in paths:
        metrics = read_metrics(path)
        name = re.sub(r"-s\d+$", "", path.name)
        with blame(path / "metrics.json"):
            seed, figures = int(metrics["config"]["seed"]), {}
            for decode, found in metrics["test"].items():
                figures[decode] = float(found["accuracy"])
                if "imagination" in found:
                    figures["exact images"] = float(found["imagination"]["exact_images"])
        group = groups.setdefault(name, {})
        if seed in group:
            raise UserError(f"{path}: seed {seed} of {name} is named twice")
        group[seed] = figures
    return groups


def verdict(differences):
    """'+1.2 ± 0.8 better' from the differences of two groups, one a common seed."""
    if len(differences) < 2:
        return "too few common seeds"
    mean, half = interval(differences)
    word = "undecided" if abs(mean) <= half else "better" if mean > 0 else "worse"
    return f"{mean:+.1f} ± {half:.1f} {word}"


def table(groups):
    """Lines of a Markdown table: each figure by seed, and the difference to the first group."""
    first_name, first = next(iter(groups.items()))
    yield f"| group | figure | by seed | mean | difference to {first_name}, paired by seed |"
    yield "|---|---|---|---|---|"
    for name, group in groups.items():
        for figure in next(iter(group.values())):
            values = [run[figure] for run in group.values() if figure in run]
            paired = [run[figure] - first[seed][figure] for seed, run in group.items()
                      if figure in run and figure in first.get(seed, {})]
            by_seed = ", ".join(map(str, values))
            difference = "" if group is first else verdict(paired)
            yield f"| {name} | {figure} | {by_seed} | {np.mean(values):.1f} | {difference} |"


def main():
    if len(sys.argv) < 3:
        raise UserError("name at least two run folders")
    print("\n".join(table(read_runs(map(Path, sys.argv[1:])))))


if __name__ == "__main__":
    run_main(main)

"""Compare finished runs: do they differ by more than their seeds do?

Runs with the same settings but for the seed form a group. Every figure is the test's, from
`metrics.json`. A difference to the first group is taken seed by seed, and its verdict comes from
the 95% t interval over these paired differences.
"""
import csv
import json
import math

import numpy as np

from ipt_mini.config import UserError, compared, config_from, reading

T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)    # by n - 1


def interval(values):
    """(mean, half width of the 95% t interval) of numbers; half is nan for fewer than two."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), float("nan")
    t = T95[n - 2] if n - 2 < len(T95) else 1.96
    return float(np.mean(values)), t * float(np.std(values, ddof=1)) / math.sqrt(n)


def read_runs(paths):
    """[{seed: run}] of all groups, in order; a run is dict(path, config, figures, log)."""
    groups = {}
    for path in paths:
        file, log = path / "metrics.json", path / "log.csv"
        if not (file.exists() and log.exists()):
            raise UserError(f"{path}: no finished run; train it with train.py")
        with reading(file):
            metrics = json.loads(file.read_text())
            config, found = config_from(metrics["config"]), figures_of(metrics["test"])
        with reading(log, "train the run again with --force"):
            columns = columns_of(log, -(-config.steps // config.eval_every))
        key = {k: v for k, v in compared(config).items() if k != "seed"}
        group = groups.setdefault(json.dumps(key), {})
        if config.seed in group:
            raise UserError(f"{path}: the same settings and seed as {group[config.seed]['path']}")
        group[config.seed] = dict(path=path, config=key, figures=found, log=columns)
    return list(groups.values())


def figures_of(test):
    """{figure: percent} of one run's test: each decode, and exact images."""
    found = {name: float(f["accuracy"]) for name, f in test.items() if name != "shortcuts"}
    return found | {"exact images": float(f["imagination"]["exact_images"])
                    for f in test.values() if "imagination" in f}


def columns_of(path, n):
    """dict(step, seconds, accuracy) of log.csv, each a list of n numbers."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    if len(rows) != n:
        raise ValueError(f"{len(rows)} rows, not {n}")
    accuracy = next(key for key in rows[0] if key.startswith("val_"))
    return {name: [float(row[key]) for row in rows]
            for name, key in (("step", "step"), ("seconds", "seconds"), ("accuracy", accuracy))}


def settings_that_differ(groups):
    """[{setting: value}] per group, only what is not the same in all."""
    configs = [next(iter(group.values()))["config"] for group in groups]
    return [{k: v for k, v in config.items() if any(other[k] != v for other in configs)}
            for config in configs]


def figures(group):
    """{figure: {seed: percent}} of one group."""
    found = {}
    for seed, run in group.items():
        for name, percent in run["figures"].items():
            found.setdefault(name, {})[seed] = percent
    return found


def verdict(ours, first):
    """'+1.2 ± 0.8 better' from two {seed: percent}, paired by their common seeds."""
    pairs = [ours[seed] - first[seed] for seed in sorted(ours.keys() & first.keys())]
    if not pairs:
        return "no common seed"
    mean, half = interval(pairs)
    word = "undecided" if not abs(mean) > half else "better" if mean > 0 else "worse"
    return f"{mean:+.1f} ± {half:.1f} {word}" if len(pairs) > 1 else f"{mean:+.1f} (one seed)"


def markdown(groups):
    """Lines of a table: a row per group, mean ± interval over seeds, verdict against the first."""
    all_figures = [figures(group) for group in groups]
    names = list(dict.fromkeys(name for f in all_figures for name in f))
    yield "| group | seeds | " + " | ".join(names) + " |"
    yield "|---" * (len(names) + 2) + "|"
    for i, (group, found, own) in enumerate(
            zip(groups, all_figures, settings_that_differ(groups))):
        label = ", ".join(f"{k} {v}" for k, v in own.items()) or next(iter(group.values()))["path"]
        cells = []
        for name in names:
            values = found.get(name, {})
            mean, half = interval(list(values.values())) if values else (float("nan"),) * 2
            cell = f"{mean:.1f} ± {half:.1f}" if len(values) > 1 else f"{mean:.1f}"
            if i and values and all_figures[0].get(name):
                cell += f" ({verdict(values, all_figures[0][name])})"
            cells.append(cell if values else "-")
        yield f"| {label} | {len(group)} | " + " | ".join(cells) + " |"

"""Compare finished runs: do they differ by more than their seeds do?

Runs with the same settings but for the seed form a group. Every figure is the test's, from
`metrics.json`. A difference to the first group is taken seed by seed, and its verdict comes from
the 95% t interval over these paired differences.
"""
import json
import math

import numpy as np

from ipt_mini.config import UserError, compared, config_from, reading

T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)    # by n - 1


def interval(values):
    """(mean, half width of the 95% t interval) of numbers; half is nan for fewer than two."""
    n = len(values)
    t = T95[min(n, 11) - 2]                        # of 11 for more: a little too wide
    half = t * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return float(np.mean(values)), half


def read_runs(paths):
    """[{seed: run}] by group, in order; a run is dict(path, group, settings but the seed, figures
    {name: percent}, questions as told below the table, log {step, seconds, accuracy: [number]})."""
    groups = {}
    for path in paths:
        file = path / "metrics.json"
        if not file.exists():
            raise UserError(f"{path}: no finished run; train it with train.py")
        with reading(file):
            metrics = json.loads(file.read_text())
            settings, test = compared(config_from(metrics["config"])), metrics["test"]
            answers = {k: f for k, f in test.items() if k != "shortcuts"}
            figures = {k: float(f["accuracy"]) for k, f in answers.items()}
            questions = ", ".join(f"{k} {f['accuracy']} [{f['low']}, {f['high']}] n {f['n']}"
                                  for k, f in answers.items())
            figures |= {"exact images": float(f["imagination"]["exact_images"])
                        for f in answers.values() if "imagination" in f}
            val = next(key for key in metrics["log"][0] if key.startswith("val_"))
            keys = {"step": "step", "seconds": "seconds", "accuracy": val}
            log = {k: [float(row[key]) for row in metrics["log"]] for k, key in keys.items()}
        seed = settings.pop("seed")
        group = groups.setdefault(json.dumps(settings), {})
        if seed in group:
            raise UserError(f"{path}: the same settings and seed as {group[seed]['path']}")
        group[seed] = dict(path=path, group=path.name.removesuffix(f"-s{seed}"), settings=settings,
                           figures=figures, questions=questions, log=log)
    return list(groups.values())


def verdict(differences):
    """'+1.2 ± 0.8 better' from the seed-paired differences of two groups."""
    if not differences:
        return "no common seed"
    mean, half = interval(differences)
    if len(differences) == 1:
        return f"{mean:+.1f} (one seed)"
    word = "undecided" if not abs(mean) > half else "better" if mean > 0 else "worse"
    return f"{mean:+.1f} ± {half:.1f} {word}"


def markdown(groups):
    """Lines of a table: a row per group, mean ± interval over seeds, verdict against the first.
    Below it each run with its intervals over questions: another question than that of seeds."""
    firsts = [next(iter(group.values())) for group in groups]
    names = list(dict.fromkeys(name for run in firsts for name in run["figures"]))
    differ = {k: v for k, v in firsts[0]["settings"].items()
              if any(run["settings"][k] != v for run in firsts)}
    yield "| group | settings that differ | seeds | " + " | ".join(names) + " |"
    yield "|---" * (len(names) + 3) + "|"
    for group, first in zip(groups, firsts):
        told = [f"{k} {first['settings'][k]}" for k, v in differ.items()
                if group is groups[0] or first["settings"][k] != v]
        cells = [first["group"], ", ".join(told), str(len(group))]
        for name in names:
            if name not in first["figures"]:
                cells.append("-")
                continue
            mean, half = interval([run["figures"][name] for run in group.values()])
            cells.append(f"{mean:.1f} ± {half:.1f}" if len(group) > 1 else f"{mean:.1f}")
            if group is not groups[0] and name in firsts[0]["figures"]:
                paired = [group[seed]["figures"][name] - run["figures"][name]
                          for seed, run in groups[0].items() if seed in group]
                cells[-1] += f" ({verdict(paired)})"
        yield "| " + " | ".join(cells) + " |"
    yield from ("", "95% intervals over the questions of each run:", "")
    for run in (run for group in groups for run in group.values()):
        yield f"- {run['path'].name}: {run['questions']}"

"""What does it bring to imagine in training? The claims of the paper, each with a verdict.

    python benchmarks/results.py                   all families; says first how many hours
    python benchmarks/results.py --families pt     rerun to resume; finished runs are kept

A family is a row of arms: one task, taught in several ways, with the same seeds, so they are
compared seed by seed. Examples and steps are the same, unless these are what differs; label-only
has twice as many steps, where a step takes half the time, and so reads more of the examples.
"""
from report import (NAMES, ROOT, VERDICTS, accuracies, arguments, followed, label_only, listed,
                    measured, need, pooled, right, run_main, tiny, write)

import os
import sys
from dataclasses import replace
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np

from ipt_mini.checkpoint import folder_of
from ipt_mini.compare import interleaved, step_of
from ipt_mini.config import Config
from ipt_mini.dataset import tasks_of
from ipt_mini.errors import UserError
from ipt_mini.run import pick_device
from ipt_mini.side_by_side import side_by_side
from ipt_mini.training import completed, train

NOTE = ("{seeds}, the same {n:,} questions. Right: over the questions of all seeds, with its "
        "95% Wilson interval. Out of distribution: the mean. At equal compute: when a run has "
        "computed as much as the cheapest has at its end.")
EXAMPLES = os.path.relpath(ROOT / "examples")      # it becomes part of a run's settings
HALF = ",".join(f"{EXAMPLES}/half.py:half_{term}" for term in (
    "answer=0.3@0.15:4@0.25", "imagination=1", "compass=1"))


class Family(NamedTuple):
    """One task, taught in several ways: arms {name: settings that differ from the Config}."""
    config: Config
    seeds: int
    arms: dict


def three(task, views="cells"):
    """The family of every task; its runs of `mixed` and label-only are those of main_job.py."""
    return Family(Config(task=task, views=views, name=NAMES[views]), 3, {
        "label-only": label_only(task, views),
        "text CoT": dict(supervision="text_cot"),
        "mixed": {}})


PT = Config(task="pt")
FAMILIES = {
    "pt": three("pt")._replace(seeds=5),
    "pt_ipt": Family(PT, 5, {"mixed": {}, "IPT": dict(supervision="ipt")}),
    "pt_half": Family(PT, 5, {"mixed": {}, "half": dict(name="halves", loss=HALF)}),
    "pt_controls": Family(PT, 3, {
        "label-only": label_only("pt"),
        "label-only, 4 blocks": {**label_only("pt"), "n_layer": 4, "name": "deep"},
        "mixed": {},
        "a blank picture": dict(task=f"{EXAMPLES}/controls.py:blank"),
        "the map again": dict(task=f"{EXAMPLES}/controls.py:copy"),
        "another's picture": dict(task=f"{EXAMPLES}/controls.py:shuffled"),
    }),
    "pt_cells": Family(PT, 3, {
        "mixed": {},
        "the first 13 cells": dict(task=f"{EXAMPLES}/controls.py:first_13"),
        "the first 10 cells": dict(task=f"{EXAMPLES}/controls.py:first_10"),
        "the compass alone": dict(task=f"{EXAMPLES}/controls.py:first_1"),
    }),
    "pt_examples": Family(PT, 3, {
        "80,000 examples": {},
        "10,000 examples": dict(n_train=10_000, name="n10000"),
        "1,000 examples": dict(n_train=1000, name="n1000"),
    }),
    "pt_label": Family(Config(task="pt", **label_only("pt")), 1, {
        "label-only as above": {},
        "half the learning rates": dict(muon_lr=0.01, adam_lr=0.0015, name="slow"),
        "twice the learning rates": dict(muon_lr=0.04, adam_lr=0.006, name="fast"),
        "weight decay 0.1": dict(weight_decay=0.1, name="decay"),
        "width 256": dict(n_embd=256, name="wide"),
        "batches of 256": dict(batch_size=256, name="large"),
        "answer weight always 1": dict(loss="answer=1", name="flat"),
        "no curriculum": dict(curriculum=0.0, name="even"),
        "160,000 examples, 10,000 steps": dict(n_train=160_000, steps=10_000, name="most"),
    }),
    "pt_large": Family(Config(task="pt", batch_size=256, name="large"), 3, {
        "label-only": {**label_only("pt"), "name": "large"},
        "mixed": {},
    }),
    "pet": three("pet"),
    "mvc": three("mvc"),
    "pt_first_person": three("pt", "first-person"),
    "pet_first_person": three("pet", "first-person"),
    "mvc_first_person": three("mvc", "first-person"),
    "pet_codes": Family(Config(task="pet", views="first-person", name="first_person"), 3, {
        "512 codes": {},
        "128 codes": dict(codes=128, name="codes128"),
        "32 codes": dict(codes=32, name="codes32"),
    }),
}
# A claim: which arm is better, and than which; how both answer, if not directly.
CLAIMS = {
    "imagining in training helps an answer without a picture": ("mixed", "label-only"),
    "... more than a chain of thought in words": ("mixed", "text CoT", "direct", "think"),
    "a chain of thought is worse than labels alone": ("label-only", "text CoT", "direct", "think"),
    "mixed is better than IPT alone": ("mixed", "IPT", "imagine", "imagine"),
    "mixing within each example is better than halves": ("mixed", "half"),
    "depth does not replace it": ("mixed", "label-only, 4 blocks"),
    "a blank picture does not do": ("mixed", "a blank picture"),
    "the observed map does not do": ("mixed", "the map again"),
    "another's picture does not do": ("mixed", "another's picture"),
    "the nearest cells do not do": ("mixed", "the first 10 cells"),
    "the compass alone does not do": ("mixed", "the compass alone"),
    "imagining at test time is better than answering at once":
        ("mixed", "mixed", "imagine", "direct"),
    "80,000 examples are better than 10,000": ("80,000 examples", "10,000 examples"),
    "80,000 examples are better than 1,000": ("80,000 examples", "1,000 examples"),
    "512 codes answer better after the own picture than 128":
        ("512 codes", "128 codes", "imagine", "imagine"),
    "512 codes answer better after the own picture than 32":
        ("512 codes", "32 codes", "imagine", "imagine"),
    "the true picture is better than the model's (exposure bias)":
        ("mixed", "mixed", "oracle", "imagine"),
}
LOGGED = "pt", "pt_first_person", "pt_large"    # pages and pictures show their logs
SURE = 0.05                   # of a family's claims, all together
CLAIMED = ["claim", "split", "difference, points", "by seed", "p (Holm)", "verdict"]


def config_of(family, arm, seed, quick):
    config = replace(family.config, device=pick_device("auto"), **family.arms[arm], seed=seed)
    return tiny(config) if quick else config


def cost(configs):
    """{arm: seconds of all steps}; a step of each is measured turn by turn."""
    seconds = interleaved({arm: step_of(config) for arm, config in configs.items()}, rounds=20)
    return {arm: seconds[arm] * completed(config, tasks_of(config)).steps
            for arm, config in configs.items()}


def at_equal_compute(runs, share):
    """Direct answers on validation, by seed, after this share of the steps."""
    steps = share * runs[0]["log"][-1]["step"]
    rows = [min(run["log"], key=lambda row: abs(row["step"] - steps))["val"] for run in runs]
    return listed(round(100 * row["direct"], 1) for row in rows) if "direct" in rows[0] else "-"


def arm_rows(by_arm, seconds):
    """What each arm answers, in each way that it was taught. seconds: {arm: of all its steps}."""
    least = min(seconds.values())
    for arm, runs in by_arm.items():
        imagines = "replaced" in runs[0]
        follows = pooled([followed(run["replaced"]) for run in runs]) if imagines else "-"
        for decode in runs[0]["splits"]["test"]:
            outside = [f"{mean(accuracies(runs, split, decode)):.1f}"
                       for split in list(runs[0]["splits"])[1:]]
            early = at_equal_compute(runs, least / seconds[arm]) if decode == "direct" else "-"
            yield [arm, decode, *right(runs, "test", decode), *outside, early, follows]


def differences(by_arm):
    """(claim, split, differences by seed) of all claims that this family can test."""
    for claim, (better, other, *ways) in CLAIMS.items():
        pair = [*zip((better, other), ways or ("direct", "direct"))]
        if all(arm in by_arm and way in by_arm[arm][0]["splits"]["test"] for arm, way in pair):
            tests = by_arm[better][0]["splits"] if claim == [*CLAIMS][0] else ["test"]
            for split in tests:
                yield claim, split, np.subtract(*(accuracies(by_arm[arm], split, way)
                                                  for arm, way in pair))


def claim_rows(by_arm):
    """Each claim with the mean difference in points, its 95% t interval, and a verdict: Holm's
    procedure over all claims of the family."""
    from scipy.stats import t, ttest_1samp
    found = [*differences(by_arm)]
    p = np.array([ttest_1samp(points, 0).pvalue for _, _, points in found])
    p = np.nan_to_num(p, nan=1)                        # no seed differs at all
    order = p.argsort()
    holm = np.empty(len(p))
    holm[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    for (claim, split, points), sure in zip(found, holm):
        half = t.ppf(0.975, len(points) - 1) * stdev(points) / len(points) ** 0.5
        holds, undecided, not_here = VERDICTS
        verdict = undecided if sure > SURE else holds if mean(points) > 0 else not_here
        yield [claim, split, f"{mean(points):+.1f} [{mean(points) - half:.1f}, "
               f"{mean(points) + half:.1f}]", listed(points.round(1)), f"{sure:.2g}", verdict]


def main():
    options = arguments(__doc__, families=",".join(FAMILIES), seeds=0)
    need("scipy")
    names = options.families.split(",")
    if not set(names) <= set(FAMILIES):
        raise UserError(f"--families {options.families}: there is {', '.join(FAMILIES)}")
    chosen = {name: FAMILIES[name]._replace(seeds=options.seeds or FAMILIES[name].seeds)
              for name in names}
    seconds, waiting = {}, {}
    for name, family in chosen.items():
        seconds[name] = cost({arm: config_of(family, arm, 0, options.quick) for arm in family.arms})
        runs = [config_of(family, arm, seed, options.quick)
                for seed in range(family.seeds) for arm in family.arms]
        waiting[name] = [run for run in runs if not (folder_of(run) / "metrics.json").exists()]
        hours = family.seeds * sum(seconds[name].values()) / 3600
        print(f"{name}: {len(waiting[name])} of {family.seeds * len(family.arms)} runs to train; "
              f"all, one after the other, take {hours:.1f} hours", file=sys.stderr)
    for name, family in chosen.items():
        if waiting[name]:
            side_by_side(train, waiting[name])
        by_arm = {arm: [next(iter(measured(config_of(family, arm, seed, options.quick)).values()))
                        for seed in range(family.seeds)] for arm in family.arms}
        first = next(iter(by_arm.values()))[0]
        outside = list(first["splits"])[1:]
        n_test = next(iter(first["splits"]["test"].values()))["n"]
        head = ["taught", "answers", "right, %", "by seed", *outside,
                "at equal compute, validation", "follows another picture, %"]
        tables = [(head, [*arm_rows(by_arm, seconds[name])])]
        if family.seeds > 1 and (verdicts := [*claim_rows(by_arm)]):
            tables.append((CLAIMED, verdicts))
        if name not in LOGGED:
            for run in (run for runs in by_arm.values() for run in runs):
                del run["log"]
        options.views = family.config.views
        write(f"claims_{name}", options, tables, by_arm, [
            NOTE.format(seeds=f"{family.seeds} seeds" if family.seeds > 1 else "1 seed", n=n_test)],
            tasks=family.config.task)


if __name__ == "__main__":
    run_main(main)

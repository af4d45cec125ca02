"""The main job: every task with several seeds, and all figures of these runs in one result.

    python benchmarks/main_job.py --seeds 3                       about 30 minutes on two cores
    python benchmarks/main_job.py --seeds 3 --answer-sees-views   as in the paper: `sees_views`
    python benchmarks/main_job.py --seeds 3 --views first-person  `first_person`, two hours
    python benchmarks/main_job.py --seeds 3 --joint               one model for all tasks: `joint`

Runs are kept in runs/ and resumed. What train.py and eval.py would print is measured once more
here: test and out of distribution, and the replacement test. In both worlds, each run has one
beside it that learns answers alone, for twice the steps: that takes as long, or longer.
"""
from report import (arguments, followed, label_only, listed, measured, pooled, right, run_main,
                    tiny, write)

from dataclasses import replace

from ipt_mini.config import Config
from ipt_mini.tasks import TASKS

NOTE = ("{n:,} questions a seed. Accuracy over the questions of all seeds, with its 95% Wilson "
        "interval. The seeds share one data set and one tokenizer: the interval covers no others.")


def name_of(options):
    """What tells these runs, and their results, from those of the main job; empty for that."""
    parts = [options.views.replace("-", "_")] * (options.views != "cells")
    return "_".join(parts + ["sees_views"] * options.answer_sees_views + ["joint"] * options.joint)


def config_of(task, seed, options, **more):
    config = Config(task=task, seed=seed, views=options.views, name=name_of(options),
                    answer_sees_views=options.answer_sees_views)
    config = replace(config, **more)
    return tiny(config) if options.quick else config


def column(runs, labels):
    """{row of the main table: figure} of one task."""
    cells = {}
    if labels:
        cells["label-only, %"], cells["label-only, by seed"] = right(labels, "test", "direct")
    for decode in runs[0]["splits"]["test"]:
        cells[f"{decode}, %"], cells[f"{decode}, by seed"] = right(runs, "test", decode)
    quality = [run["splits"]["test"]["imagine"]["imagination"] for run in runs]
    cells["codes right in validation, by seed"] = listed(run["codes"] for run in runs)
    cells["exact images, by seed"] = listed(q["exact_images"] for q in quality)
    cells["foreground cells, by seed"] = listed(q["foreground_cells"] for q in quality)
    cells["imagined pictures, PSNR, by seed"] = listed(q["psnr"] for q in quality)
    follows = [followed(run["replaced"]) for run in runs]
    cells["follows another picture, %"] = pooled(follows)
    cells["follows another picture, by seed"] = listed(f["accuracy"] for f in follows)
    cells["tokenizer, held-out cells right, %"] = runs[0]["tokenizer"]["cells_right"]
    cells["tokenizer, held-out pictures, PSNR"] = runs[0]["tokenizer"].get("pictures_psnr", "-")
    return cells


def split_rows(task, runs):
    """Out of distribution."""
    for split, decodes in list(runs[0]["splits"].items())[1:]:
        for decode in decodes:
            figures = [run["splits"][split][decode] for run in runs]
            exact = listed(f["imagination"]["exact_images"] for f in figures if "imagination" in f)
            yield [task.upper(), split, decode, *right(runs, split, decode), exact]


def rows_of(task, runs, test, name, share):
    """By seed, of one of the tests of what is used: how often right, and another share."""
    for rows in zip(*(run[test] for run in runs)):
        yield [task.upper(), rows[0][name], listed(r["accuracy"] for r in rows),
               listed("-" if r[share] is None else r[share] for r in rows)]


def main():
    options = arguments(__doc__, seeds=3, tasks=",".join(TASKS), views="cells",
                        answer_sees_views=False, joint=False)
    by_task, labels = {}, {}
    for task in [options.tasks] if options.joint else options.tasks.split(","):
        runs = [measured(config_of(task, seed, options)) for seed in range(options.seeds)]
        by_task |= {name: [figures[name] for figures in runs] for name in runs[0]}
        if not (options.joint or options.answer_sees_views):
            label = label_only(task, options.views)
            labels[task] = [measured(config_of(task, seed, options, **label))[task]
                            for seed in range(options.seeds)]
    columns = {task: column(runs, labels.get(task)) for task, runs in by_task.items()}
    splits_found, replaced, flips = [], [], []
    for task, runs in by_task.items():
        splits_found += split_rows(task, runs)
        replaced += rows_of(task, runs, "replaced", "picture", "follows")
        flips += rows_of(task, runs, "flips", "decode", "stays")
    names = next(iter(columns.values()))
    rows = [[name, *(cells[name] for cells in columns.values())] for name in names]
    name = name_of(options) or "main_job"
    notes = [NOTE.format(n=runs[0]["splits"]["test"]["imagine"]["n"])]
    tasks = ",".join(by_task)
    write(name, options, [(["", *map(str.upper, columns)], rows)], by_task, notes, tasks=tasks)
    write(f"{name}_details", options, [
        (["task", "split", "decode", "right, %", "by seed", "exact images, by seed"], splits_found),
        (["task", "picture before the answer", "right, by seed", "follows it, by seed"], replaced),
        (["task", "decode, opposite question", "right, by seed", "old answer, by seed"], flips),
    ], {}, notes, tasks=tasks)


if __name__ == "__main__":
    run_main(main)

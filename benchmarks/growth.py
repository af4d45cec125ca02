"""Does the default recipe still learn when something grows, and what does it cost?

    python benchmarks/growth.py            about 50 minutes on two cores; rerun to resume

The main job of PT, one thing larger at a time. All else stays the default; on larger grids that is
the recipe of first person, which has half the rates, more steps and another loss. Seconds of a step
are measured turn by turn, memory in a process of its own.
"""
from report import arguments, run_main, tiny, write

import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from math import log
from multiprocessing import get_context

from ipt_mini.checkpoint import folder_of, read_metrics
from ipt_mini.compare import interleaved, step_of
from ipt_mini.config import Config
from ipt_mini.run import load_run, pick_device
from ipt_mini.side_by_side import side_by_side
from ipt_mini.training import named, train, train_step, training_of

GROWN = {                     # beyond the default of Config
    "grid": (7, 9),
    "n_embd": (256,),
    "n_layer": (4,),
    "n_train": (200_000,),
}
GOAL = 0.9                    # of the validation questions, after the own picture


def configs_of(task, quick):
    """{(setting, value): Config}, the default first."""
    base = Config(task=task, device=pick_device("auto"))
    found = {("default", ""): base}
    for setting, values in GROWN.items():
        for value in values:
            found[setting, value] = replace(base, name=f"{setting}{value}", **{setting: value})
    if quick:
        found = {key: tiny(config) for key, config in found.items()}
    return found


def peak_memory(config):
    """GiB that a process needs at most, which makes a run's data and learns from two batches."""
    run = load_run(folder_of(config))
    training = training_of(run.config, run.tasks, run.tokenizer, *named(run.config, run.tasks))
    for step in range(2):
        train_step(training, step)
    unit = 1 if sys.platform == "darwin" else 1024                  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2 ** 30


def steps_to(log, name, goal):
    return next((row["step"] for row in log if row["val"][name] >= goal), None)


def row_of(setting, value, config, seconds, memory, usual):
    """Size, cost, and what was learnt. usual: seconds of a step of the default."""
    metrics = read_metrics(folder_of(config))
    steps = steps_to(metrics["log"], "imagine", GOAL)
    growth = value / getattr(Config, setting) if value else 1
    exponent = f"{log(seconds / usual) / log(growth):.1f}" if growth > 1 else "-"
    reached = [steps, f"{steps * seconds / 60:.1f}"] if steps else ["never", "-"]
    test = metrics["test"]
    return [f"{setting} {value}".strip(), f"{1000 * seconds:.0f}", f"{seconds / usual:.1f}",
            exponent, f"{memory:.1f}", *reached,
            *(test[name]["accuracy"] for name in ("direct", "imagine", "oracle"))]


def main():
    options = arguments(__doc__, task="pt")
    options.views = "cells+first-person"               # in cells, and the recipes of both
    configs = configs_of(options.task, options.quick)
    side_by_side(train, [*configs.values()])
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        memory = dict(zip(configs, pool.map(peak_memory, configs.values())))
    seconds = interleaved({key: step_of(config) for key, config in configs.items()},
                          rounds=1 if options.quick else 20)
    usual = next(iter(seconds.values()))
    rows = [row_of(*key, config, seconds[key], memory[key], usual)
            for key, config in configs.items()]
    logs = {" ".join(map(str, key)): read_metrics(folder_of(config))["log"]
            for key, config in configs.items()}
    write("growth", options, [(
        ["larger", "ms a step", "default = 1", "exponent", "GiB", f"steps to {GOAL:.0%}",
         "minutes of them", "direct, %", "imagine, %", "oracle, %"], rows)], logs, [
        "One seed. Exponent: e in cost ~ size^e; of a grid, size is the side. Steps to 90%: of "
        "validation, after the model's own picture. Accuracies: of the test."],
        tasks=options.task)


if __name__ == "__main__":
    run_main(main)

"""Shortcut scores and generation speed of 20,000 training examples of each task, on one core.

    python benchmarks/shortcuts.py        writes benchmarks/shortcuts.md
"""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from report import publish, stamp

import numpy

from ipt_mini.tasks import TASKS, make, shortcut_scores


def main():
    lines = [stamp("python benchmarks/shortcuts.py", numpy=numpy.__version__) + " 20,000 training examples, seed 0.", "",
             "| task | | % |", "|---|---|---|"]
    for name, task in TASKS.items():
        examples = make(name, "train", 20000)
        right = (task.rule(examples.views, examples.query, examples.imagination) == examples.answer).mean()
        rows = {"rule that reads the true imagination": right, "chance": task.CHANCE}
        for what, share in {**rows, **shortcut_scores(name, examples)}.items():
            lines.append(f"| {name} | {what} | {100 * share:.1f} |")
    publish("shortcuts", lines)


if __name__ == "__main__":
    main()

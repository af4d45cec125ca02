"""The tests of the data, over 100,000 scenes a task instead of a sample.

    python benchmarks/properties.py [--n 100000]     writes benchmarks/properties.md; some 10 minutes; called
                                                     again, it goes on after those that properties.json holds

The guarantees are those of tests/test_tasks.py, by the very same functions. Each stops at the first scene
that breaks it.
"""
import argparse
import functools
import json
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

from report import ROOT, publish, stamp

sys.path.insert(0, str(ROOT / "tests"))

import numpy
import test_tasks as tests

from ipt_mini.tasks import TASKS

tests.make = functools.lru_cache(3)(tests.make)          # several look at the same scenes
each = [(task,) for task in TASKS]
GUARANTEES = [  # (what holds, how it is tested, its arguments)
    ("the rule reads the answer, a valid one, off the imagination: none is unanswerable",
     tests.test_rule_reads_every_answer_off_the_imagination, tests.ALL),
    ("kinds of question, and counts, are balanced", tests.test_kinds_and_answers_are_balanced, each),
    ("no test scene is in training, in any of 8 symmetries",
     lambda task, part, n: tests.test_no_test_scene_in_training_in_any_symmetry(task, n=n), [
         (task, "test") for task in TASKS]),
    ("the imagination is the view from X of what was observed, the answer what it shows",
     tests.test_pet_imagination_is_the_observed_view_seen_from_x, [()]),
    ("one route, straight at M; one candidate in view, and it is the answer (PT)",
     tests.test_pt_route_side_and_candidates, [("train",), ("longer",)]),
    ("the map is what the cameras see, and the count is that on the map",
     tests.test_mvc_map_is_what_the_cameras_see_and_counts_are_not_a_sum, [()]),
    ("no imagined cell is a copy of one cell of the views",
     tests.test_no_map_cell_is_a_copy_of_one_cell_of_the_views, each),
    ("the chain of thought leads to the answer", tests.test_chain_of_thought_holds_the_answer, each),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=100_000)
    n = parser.parse_args().n
    path = ROOT / "benchmarks/properties.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    rows = ["| guarantee | of | scenes | broken |", "|---|---|---|---|"]
    for what, check, cases in GUARANTEES:
        of = {}
        for case in cases:
            # Splits that keep one scene in ten take ten times as long to make: a tenth of the scenes.
            some = n // 10 if case and case[-1] not in ("train", *TASKS) else n
            name = " ".join(case) or check.__name__.split("_")[1]
            if held.get(f"{what}: {name}") != some:
                check(*case, n=some)
                held[f"{what}: {name}"] = some
                path.write_text(json.dumps(held, indent=1) + "\n")
                print(what, name, flush=True)
            of.setdefault(some, []).append(name)
        rows += [f"| {what} | {', '.join(names)} | {some:,} each | 0 |" for some, names in of.items()]
    publish("properties", [stamp(f"python benchmarks/properties.py --n {n}", numpy=numpy.__version__), "", *rows])


if __name__ == "__main__":
    main()

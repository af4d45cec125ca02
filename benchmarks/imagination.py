"""Is the imagination used, and does it hold out of the domain? From the runs that main_job.py trained.

    python benchmarks/imagination.py [--seeds 3]      writes benchmarks/imagination.md, .json; about 6 minutes

Also copies the pictures that the README shows from the runs of seed 0 to docs/.
"""
import argparse
import json
import shutil
import subprocess
import sys

from report import ROOT, publish, stamp

from ipt_mini.compare import interval

TASKS = ("pet", "pt", "mvc")


def evaluated(folder, file, *more):
    """What eval.py wrote into `file` of a run, after calling it if that is older than the training."""
    if not (folder / file).exists() or (folder / file).stat().st_mtime < (folder / "metrics.json").stat().st_mtime:
        subprocess.run([sys.executable, "eval.py", str(folder), *more], cwd=ROOT, check=True,
                       stdout=subprocess.DEVNULL)
    return json.loads((folder / file).read_text())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    outside, replaced = {}, {}
    for task in TASKS:
        for seed in range(seeds):
            folder = ROOT / f"runs/{task}-mixed-s{seed}"
            report = evaluated(folder, "eval.json")
            for split in (s for s in report if s not in ("machine", "options")):
                for decode in ("direct", "imagine", "oracle"):
                    outside.setdefault((task, split), {}).setdefault(decode, []).append(report[split][decode]["accuracy"])
                outside[task, split].setdefault("exact", []).append(report[split]["imagine"]["imagination"]["exact_images"])
            for row in evaluated(folder, "replace.json", "--replace")["rows"]:
                replaced.setdefault(row["picture"], {}).setdefault(task, []).append((row["accuracy"], row["follows"]))
    for task in TASKS:
        shutil.copy(ROOT / f"runs/{task}-mixed-s0/samples.png", ROOT / f"docs/samples-{task}.png")
    for name, to in (("curve", "curve-pt"), ("replace", "replace-pt"), ("tokenizer", "tokenizer")):
        shutil.copy(ROOT / f"runs/pt-mixed-s0/{name}.png", ROOT / f"docs/{to}.png")
    mean = lambda values: "-" if None in values else "{:.1f}".format(*interval(values)) if seeds == 1 else (
        "{:.1f} ± {:.1f}".format(*interval(values)))
    lines = [stamp(f"python benchmarks/imagination.py --seeds {seeds}") +
             f" {'Seed 0' if seeds == 1 else f'Mean and 95% t interval over seeds 0 to {seeds - 1}'}, n = 2,000 questions, in %.", "",
             "| task and split | direct | imagine | oracle | exact images |", "|---|---|---|---|---|"]
    lines += [f"| {task} {split} | " + " | ".join(mean(f[k]) for k in ("direct", "imagine", "oracle", "exact")) + " |"
              for (task, split), f in outside.items()]
    lines += ["", "Each cell: *right* / *follows the picture*, after another picture was put in place of the own. Right: of all questions (last "
              "row: of those for which there is such a picture). Follows: the answer is the one that the rule reads off the picture, of those off "
              "which it reads one (of PET's random codes a third, of PT's a fifth; -: none). MVC's random codes show shapes in colours "
              "that its data never have.", "",
              "| picture | " + " | ".join(task.upper() for task in TASKS) + " |", "|---|---|---|---|"]
    lines += [f"| {picture} | " + " | ".join(" / ".join(map(mean, zip(*by[task]))) for task in TASKS) + " |"
              for picture, by in replaced.items()]
    publish("imagination", lines, dict(splits={" ".join(k): v for k, v in outside.items()}, replaced=replaced))


if __name__ == "__main__":
    main()

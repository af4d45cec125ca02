"""Is the imagination used, and does it hold out of the domain? From the runs that main_job.py trained.

    python benchmarks/imagination.py [--seeds 3]      writes benchmarks/imagination.md, .json; about 6 minutes

What hiding the views from the answer does is told too, once the other runs are there, for each task:
    python train.py --task pet --answer-sees-views --name views --seeds 3

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
HIDING = {"imagine accuracy": lambda test, row: test["imagine"]["accuracy"],
          "exact imagined images": lambda test, row: test["imagine"]["imagination"]["exact_images"],
          "direct accuracy": lambda test, row: test["direct"]["accuracy"],
          "right after random codes": lambda test, row: row["random codes"]["accuracy"],
          "follows a picture with another answer": lambda test, row: row["picture with another answer"]["follows"]}


def evaluated(folder, file, *more):
    """What eval.py wrote into `file` of a run, after calling it if that is older than the training."""
    if not (folder / file).exists() or (folder / file).stat().st_mtime < (folder / "metrics.json").stat().st_mtime:
        subprocess.run([sys.executable, "eval.py", str(folder), *more], cwd=ROOT, check=True,
                       stdout=subprocess.DEVNULL)
    return json.loads((folder / file).read_text())


def hiding(seeds):
    """{task: {figure: {"hidden" or "seen": values by seed}}}, of the test split."""
    figures = {}
    for task in TASKS:
        for way, name in (("hidden", ""), ("seen", "-views")):
            for seed in range(seeds):
                folder = ROOT / f"runs/{task}-mixed{name}-s{seed}"
                test = json.loads((folder / "metrics.json").read_text())["test"]
                rows = {row["picture"]: row for row in evaluated(folder, "replace.json", "--replace")["rows"]}
                for figure, value in HIDING.items():
                    figures.setdefault(task, {}).setdefault(figure, {}).setdefault(way, []).append(value(test, rows))
    return figures


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
    lines += ["", "Answers after another picture was put in place of the own imagination: *right* (of all questions) / *follows the "
              "picture* (of those where the rule reads an answer off it: of PET's random codes a third, of PT's a fifth; -: none).", "",
              "| picture | " + " | ".join(task.upper() for task in TASKS) + " |", "|---|---|---|---|"]
    lines += [f"| {picture} | " + " | ".join(" / ".join(map(mean, zip(*by[task]))) for task in TASKS) + " |"
              for picture, by in replaced.items()]
    results = dict(splits={" ".join(k): v for k, v in outside.items()}, replaced=replaced)
    if (ROOT / f"runs/mvc-mixed-views-s{seeds - 1}/metrics.json").exists():
        results["hiding"] = hiding(seeds)
        lines += ["", "The default, where an answer that follows an imagination does not see the views, against "
                  "`--answer-sees-views --name views`, the same steps:", "",
                  "| | " + " | ".join(f"{task.upper()}, {way}" for task in TASKS for way in ("hidden", "seen")) + " |",
                  "|---|" + "---|" * 6]
        lines += [f"| {figure} | " + " | ".join(mean(results["hiding"][task][figure][way])
                                               for task in TASKS for way in ("hidden", "seen")) + " |" for figure in HIDING]
    publish("imagination", lines, results)


if __name__ == "__main__":
    main()

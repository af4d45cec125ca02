"""Test runs: accuracy by way of answering, quality of the imagination, and mistakes in words.

    python eval.py runs/pt-mixed-s0               test split and those out of the domain: eval.json
    python eval.py runs/pt-mixed-s0 --decode vote --samples 8 --temperature 0.7
    python eval.py runs/pt-mixed-s0 --replace     is the imagination used? replace.json, replace.png
    python eval.py runs/pt-mixed-s? runs/pt-label-s?         compare groups of runs, seed by seed

From a notebook: evaluate(path), load_run(path).
"""
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
import torch

from ipt_mini import plots
from ipt_mini.compare import markdown, read_runs
from ipt_mini.config import (DEVICES, Settings, UserError, parse, pick_device, run_main,
                             setting)
from ipt_mini.generate import DECODES, decode
from ipt_mini.measure import imagination_quality, picture_cells, proportion, replacement_test
from ipt_mini.run import Run, load_run, machine, prepare, tokenizer_pixels, write_json
from ipt_mini.tasks import TASKS, shortcut_scores, splits
from ipt_mini.tasks.grid import NAMES, nearest_glyph, render
from ipt_mini.tasks.words import ID, WORDS, text
from ipt_mini.tokenizer import usage

SUPPORTED = {"label": ("direct",), "text_cot": ("think",), "ipt": ("imagine", "oracle", "direct"),
             "mixed": ("direct", "imagine", "oracle")}
IF_ASKED = ("sample", "vote")     # of those that support "imagine"
UNTRAINED = {("ipt", "direct")}   # allowed, but such a model never saw an answer follow the query


def evaluate(run, splits_wanted=None, decodes=None, n_examples=0, **drawing):
    """All figures of a Run, or of the run in a folder, as a dict: split -> decode -> figures.
    drawing: arguments of the decodes "sample" and "vote"."""
    run = run if isinstance(run, Run) else load_run(run)
    config, report = run.config, {}
    for split in splits_wanted or splits(config.task)[2:]:
        examples, data = prepare(config, split, run.tokenizer, n_examples or config.n_test)
        scores = shortcut_scores(config.task, examples)
        report[split] = {"shortcuts": {k: round(100 * v, 1) for k, v in scores.items()}}
        for name in decodes or SUPPORTED[config.supervision]:
            out = decode(run.model, data, config.task, name, **drawing)
            report[split][name] = figures_of(run, examples, out)
            report[split][name]["untrained"] = (config.supervision, name) in UNTRAINED
    return report


def figures_of(run, examples, out):
    """Figures of what was Decoded: accuracy, by kind, and what the imagination is worth."""
    config, task, answer = run.config, TASKS[run.config.task], out.answer.cpu().numpy()
    right = answer == examples.answer
    groups = {kind: examples.kind == k for k, kind in enumerate(task.KINDS)}
    if config.task == "mvc":
        groups |= {f"count {word}": examples.answer == ID[word] for word in task.ANSWERS}
    by_kind = {kind: proportion(right[rows]) for kind, rows in groups.items() if rows.any()}
    figures = dict(proportion(right), by_kind=by_kind)
    if out.imagination is not None:
        cells = picture_cells(run.tokenizer, out.imagination, config.grid)
        figures["imagination"] = imagination_quality(config.task, examples, cells, answer)
        figures["mistakes"] = [mistake(examples.take(e), cells[e], answer[e])
                               for e in np.flatnonzero(~right)[:3]]
    return figures


def mistake(example, cells, answer):
    """One wrong answer told in words."""
    picture, wrong = "the imagined picture is exact", np.argwhere(cells != example.imagination)
    if len(wrong):
        at = tuple(wrong[-1])
        picture = (f"{len(wrong)} imagined cells differ, such as row {at[0]} column {at[1]}: "
                   f"{NAMES[cells[at]]} for {NAMES[example.imagination[at]]}")
    return (f'"{text(example.query)}" answered {WORDS[answer]}, right is {WORDS[example.answer]}; '
            f"{picture}")


# --------------------------------------------------------------------------------- pictures
def samples(run, path, split="test", count=6):
    """views | question | imagination, true | imagination, model | answers."""
    config, rows = run.config, []
    examples, data = prepare(config, split, run.tokenizer, count)
    draw = lambda codes: run.tokenizer.decode(codes.view(config.grid, -1))
    outs = {name: decode(run.model, data, config.task, name)
            for name in SUPPORTED[config.supervision]}
    for e in range(count):
        row = [(f"view {v + 1}", draw(view)) for v, view in enumerate(data.views[e])]
        row += [fill(text(examples.query[e]), 16), ("true", render(examples.imagination[e]))]
        if "imagine" in outs:
            row.append(("imagined", draw(outs["imagine"].imagination[e])))
        row.append("\n".join([f"true: {WORDS[examples.answer[e]]}"] + [
            f"{name}: {WORDS[out.answer[e]]}" for name, out in outs.items()]))
        rows.append(row)
    plots.strips(rows, path)


def tokenizer_report(run, path):
    """Reconstructions and the codebook as a picture; figures over held-out cells."""
    cells, pixels, _ = tokenizer_pixels(run.config, "val", 1000)
    codes, n_codes = run.tokenizer.encode(pixels), run.tokenizer.n_codes
    decoded = run.tokenizer.decode(codes)
    used, perplexity = usage(codes, n_codes)
    atlas = run.tokenizer.decode(torch.arange(n_codes)[:, None, None])
    pick = range(0, len(pixels), len(pixels) // 8)
    plots.strips([[("input", pixels[i].numpy()) for i in pick],
                  [("decoded", decoded[i]) for i in pick],
                  *([(f"code {k}", atlas[k]) for k in range(i, min(i + 9, n_codes))]
                    for i in range(0, n_codes, 9))], path, scale=0.9)
    return dict(cells_right=round(100 * float((nearest_glyph(decoded) == cells).mean()), 3),
                codebook_usage=round(used, 3), codebook_perplexity=round(perplexity, 2))


# ----------------------------------------------------------------------------------- report
def lines(report):
    """The figures of `evaluate` as lines of text."""
    told = lambda figures: ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in figures.items())
    for split, decodes in report.items():
        yield f"{split}: best lookup without imagining: {told(decodes['shortcuts'])}"
        for name, f in decodes.items():
            if name != "shortcuts":
                note = "  (untrained: no answer ever followed a query)" * f["untrained"]
                yield (f"{split} {name:8} {f['accuracy']:5.1f}%  [{f['low']}, {f['high']}]  "
                       f"n {f['n']}{note}")
                yield "    " + told({kind: g["accuracy"] for kind, g in f["by_kind"].items()})
                if "imagination" in f:
                    yield f"    imagination: {told(f['imagination'])}"
                    yield from (f"    mistake: {m}" for m in f["mistakes"])


def evaluate_one(run, names, a):
    """Evaluate a run as the options ask; print the figures and write them into its folder."""
    drawing = {"sample": dict(temperature=a.temperature, top_k=a.top_k)}
    drawing["vote"] = dict(samples=a.samples, **drawing["sample"])
    report = evaluate(run, names, [a.decode] if a.decode else None, a.n,
                      **drawing.get(a.decode, {}))
    print("\n".join(lines(report)))
    write_json(run.path / (f"eval-{a.decode}.json" if a.decode else "eval.json"),
               dict(machine=machine(), options=asdict(a), **report))


def replace_one(run, names, a):
    """The replacement test of a run: table, replace.json and a plot."""
    split = names[0] if names else "test"
    examples, data = prepare(run.config, split, run.tokenizer, a.n or run.config.n_test)
    rows = replacement_test(run, data, examples)
    for r in rows:
        print(f"{r['picture']:28}  right {r['accuracy']}% [{r['low']}, {r['high']}] n {r['n']}  "
              f"follows the picture {r['follows']}% n {r['n_readable']}")
    write_json(run.path / "replace.json", dict(machine=machine(), rows=rows))
    plots.bars({r["picture"]: {"answer is right": r["accuracy"],
                               "answer follows the picture": r["follows"]} for r in rows},
               run.path / "replace.png")


def wanted(run, a):
    """The splits that --splits names; UserError if this run cannot do what is asked."""
    task, supervision = run.config.task, run.config.supervision
    names = [name for name in a.splits.split(",") if name]
    for name in names:
        if name not in splits(task):
            raise UserError(f"--splits {name!r}: {task} has {', '.join(splits(task))}")
    supported = SUPPORTED[supervision]
    supported += IF_ASKED if "imagine" in supported else ()
    if a.decode and a.decode not in supported:
        raise UserError(f"--decode {a.decode!r}: {run.path}, trained with {supervision}, "
                        f"supports {', '.join(supported)}")
    if a.replace and "imagine" not in supported:
        raise UserError(f"--replace: {run.path}, trained with {supervision}, imagines nothing")
    return names


def compare(paths):
    """Table and plot of several runs, from the figures that they wrote when they ended."""
    groups = read_runs(paths)
    table, panels = "\n".join(markdown(groups)) + "\n", []
    print(table, end="")
    for x in ("step", "seconds"):
        mean = lambda group, key: np.mean([run["log"][key] for run in group.values()], 0)
        panels.append((x, "validation accuracy", 1.02, {
            next(iter(group.values()))["group"]: (mean(group, x), mean(group, "accuracy"))
            for group in groups}))
    plots.curves(panels, paths[0].parent / "compare.png")
    (paths[0].parent / "compare.md").write_text(table, "utf-8")


@dataclass
class Options(Settings):
    runs: list = setting((), "finished; more than one: compare")
    splits: str = setting("", "names, with commas; if empty, all tests")
    decode: str = setting("", "one way to answer; if empty, all that the run was trained for",
                          {"": "all", **{name: name for name in DECODES}})
    n: int = setting(0, "examples a split; 0: as many as the run was tested on")
    temperature: float = setting(1.0, "of the decodes sample and vote", low=0.01)
    top_k: int = setting(0, "codes that may be drawn there; 0: all")
    samples: int = setting(8, "imaginations a question, for the decode vote", low=1)
    replace: bool = setting(False, "the replacement test")
    device: str = setting("auto", "what to run on", DEVICES)


def main():
    a = parse(Options, __doc__)
    paths, device = list(map(Path, a.runs)), pick_device(a.device)
    if len(paths) > 1 and not (a.replace or a.splits or a.decode or a.n):
        return compare(paths)
    for path in paths:
        run = load_run(path, device)
        names = wanted(run, a)
        print(f"{run.path}: {run.config.task}, {run.config.supervision}")
        (replace_one if a.replace else evaluate_one)(run, names, a)


if __name__ == "__main__":
    run_main(main)

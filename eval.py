"""Test runs: accuracy by way of answering, quality of the imagination, and mistakes in words.

    python eval.py runs/pt-mixed-s0               test split and those out of the domain: eval.json
    python eval.py runs/pt-mixed-s0 --decode vote --samples 8 --temperature 0.7
    python eval.py runs/pt-mixed-s0 --replace     is the imagination used? replace.json, replace.png
    python eval.py runs/pt-mixed-s* runs/pt-label-s*         compare groups of runs, seed by seed

From a notebook: evaluate(path), load_run(path).
"""
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ipt_mini import plots
from ipt_mini.compare import markdown, read_runs
from ipt_mini.config import (DEVICES, Parser, UserError, add_arguments, check_fields, pick_device,
                             run_main, setting)
from ipt_mini.generate import DECODES, answer_words, decode
from ipt_mini.measure import imagination_quality, picture_cells, proportion
from ipt_mini.replace import replacement_test
from ipt_mini.run import Run, load_run, machine, prepare, tokenizer_pixels, write_json
from ipt_mini.tasks import TASKS, shortcut_scores, splits
from ipt_mini.tasks.grid import NAMES, nearest_glyph, render
from ipt_mini.tasks.words import ID, WORDS, text
from ipt_mini.tokenizer import usage

SUPPORTED = {"label": ("direct",), "text_cot": ("think",), "ipt": ("imagine", "oracle", "direct"),
             "mixed": ("direct", "imagine", "oracle")}
IMAGINING = ("imagine", "sample", "vote")    # the last two, if asked for, where the first is known
UNTRAINED = {("ipt", "direct")}   # allowed, but such a model never saw an answer follow the query


def evaluate(run, splits_wanted=None, decodes=None, n_examples=None, drawing=None):
    """All figures of a Run, or of the run in a folder, as a dict: split -> decode -> figures.

    drawing: arguments of the decodes "sample" and "vote".
    """
    run = run if isinstance(run, Run) else load_run(run)
    config, task = run.config, TASKS[run.config.task]
    device = next(run.model.parameters()).device
    answers = answer_words(config.task, device)
    report = {}
    for split in splits_wanted or [s for s in splits(config.task) if s not in ("train", "val")]:
        examples, data = prepare(config, split, run.tokenizer, n_examples or config.n_test)
        data = data.to(device)
        scores = shortcut_scores(config.task, examples)
        figures = report[split] = {"shortcuts": {k: round(100 * v, 1) for k, v in scores.items()}}
        for name in decodes or SUPPORTED[config.supervision]:
            out = decode(run.model, data, answers, name, **drawing or {})
            answer = out.answer.cpu().numpy()
            right = answer == examples.answer
            groups = {kind: examples.kind == k for k, kind in enumerate(task.KINDS)}
            if config.task == "mvc":
                groups |= {f"count {word}": examples.answer == ID[word] for word in task.ANSWERS}
            f = figures[name] = proportion(right)
            f["by_kind"] = {k: proportion(right[rows]) for k, rows in groups.items() if rows.any()}
            f["untrained"] = (config.supervision, name) in UNTRAINED
            if name in IMAGINING:
                cells = picture_cells(run.tokenizer, out.imagination, config.grid)
                f["imagination"] = imagination_quality(config.task, examples, cells, answer)
                f["mistakes"] = mistakes(examples, cells, answer)
    return report


def mistakes(examples, cells, answer, count=3):
    """A few wrong answers told in words."""
    told = []
    for e in np.flatnonzero(answer != examples.answer)[:count]:
        true = examples.imagination[e]
        wrong = np.argwhere(cells[e] != true)
        picture = "the imagined picture is exact"
        if len(wrong):
            row, col = wrong[-1]
            picture = (f"{len(wrong)} imagined cells differ, such as row {row} column {col}: "
                       f"{NAMES[cells[e, row, col]]} for {NAMES[true[row, col]]}")
        told.append(f'"{text(examples.query[e])}" answered {WORDS[answer[e]]}, right is '
                    f"{WORDS[examples.answer[e]]}; {picture}")
    return told


# --------------------------------------------------------------------------------- pictures
def samples(run, path, split="test", count=6):
    """views | question | imagination, true | imagination, model | answers."""
    config = run.config
    examples, data = prepare(config, split, run.tokenizer, config.n_test)
    data = data.take(slice(count)).to(next(run.model.parameters()).device)
    answers = answer_words(config.task, data.answer.device)
    draw = lambda codes: run.tokenizer.decode(codes.view(config.grid, -1))
    outs = {name: decode(run.model, data, answers, name) for name in SUPPORTED[config.supervision]}
    rows = []
    for e in range(count):
        row = [(f"view {v + 1}" if data.views.shape[1] > 1 else "view", draw(data.views[e, v]))
               for v in range(data.views.shape[1])]
        row += [plots.wrapped(text(examples.query[e])), ("true", render(examples.imagination[e]))]
        if "imagine" in outs:
            row.append(("imagined", draw(outs["imagine"].imagination[e])))
        row.append("\n".join([f"true: {WORDS[examples.answer[e]]}"] + [
            f"{name}: {WORDS[out.answer[e]]}" for name, out in outs.items()]))
        rows.append(row)
    plots.strips(rows, path)


def tokenizer_report(run, path):
    """Reconstructions and the codebook as a picture; figures over held-out cells."""
    cells, pixels, _ = tokenizer_pixels(run.config, "val", 1000)
    codes = run.tokenizer.encode(pixels)
    decoded = run.tokenizer.decode(codes)
    used, perplexity = usage(codes, run.tokenizer.n_codes)
    atlas = run.tokenizer.decode(torch.arange(run.tokenizer.n_codes)[:, None, None])
    pick = range(0, len(pixels), len(pixels) // 8)
    plots.strips([[("input", pixels[i].numpy()) for i in pick],
                  [("decoded", decoded[i]) for i in pick],
                  *([(f"code {k}", atlas[k]) for k in range(i, i + 9) if k < len(atlas)]
                    for i in range(0, len(atlas), 9))], path, scale=0.9)
    return dict(cells_right=round(100 * float((nearest_glyph(decoded) == cells).mean()), 3),
                codebook_usage=round(used, 3), codebook_perplexity=round(perplexity, 2))


# ----------------------------------------------------------------------------------- report
def lines(report):
    """The figures of `evaluate` as lines of text."""
    for split, figures in report.items():
        for name, f in figures.items():
            if name == "shortcuts":
                yield f"{split}: best lookup without imagining: " + ", ".join(
                    f"{score} ({key})" for key, score in f.items())
                continue
            note = "  (untrained: no answer ever followed a query)" * f["untrained"]
            yield (f"{split} {name:8} {f['accuracy']:5.1f}%  [{f['low']}, {f['high']}]  "
                   f"n {f['n']}{note}")
            yield "    " + ", ".join(f"{kind} {g['accuracy']}" for kind, g in f["by_kind"].items())
            if "imagination" in f:
                yield "    imagination: " + ", ".join(
                    f"{key.replace('_', ' ')} {value}" for key, value in f["imagination"].items())
                yield from (f"    mistake: {m}" for m in f["mistakes"])


def evaluate_one(path, a, device, replace):
    """Full evaluation or replacement test of one run: printed, and written into its folder."""
    run = load_run(path, device)
    task, supervision = run.config.task, run.config.supervision
    wanted = [s for s in a.splits.split(",") if s]
    for s in wanted:
        if s not in splits(task):
            raise UserError(f"--splits {s!r}: {task} has {', '.join(splits(task))}")
    imagines = "imagine" in SUPPORTED[supervision]
    if a.decode and a.decode not in SUPPORTED[supervision] + IMAGINING * imagines:
        raise UserError(f"--decode {a.decode!r}: {run.path}, trained with {supervision}, "
                        f"supports {', '.join(SUPPORTED[supervision])}")
    print(f"{run.path}: {task}, {supervision}")
    if not replace:
        drawing = {"sample": dict(temperature=a.temperature, top_k=a.top_k)}
        drawing["vote"] = dict(samples=a.samples, **drawing["sample"])
        report = evaluate(run, wanted, [a.decode] if a.decode else None, a.n,
                          drawing.get(a.decode))
        print("\n".join(lines(report)))
        file = f"eval-{a.decode}.json" if a.decode else "eval.json"
        return write_json(run.path / file, dict(machine=machine(), options=asdict(a), **report))
    if not imagines:
        raise UserError(f"--replace: {run.path}, trained with {supervision}, imagines nothing")
    rows = replacement_test(run, (wanted or ["test"])[0], a.n)
    for r in rows:
        print(f"{r['picture']:28}  right {r['accuracy']}% [{r['low']}, {r['high']}] n {r['n']}  "
              f"follows the picture {r['follows']}% n {r['n_readable']}")
    write_json(run.path / "replace.json", dict(machine=machine(), rows=rows))
    plots.bars({r["picture"]: {"answer is right": r["accuracy"],
                               "answer follows the picture": r["follows"] or 0} for r in rows},
               run.path / "replace.png")


def compare_all(paths):
    """Table and plot of several runs, from the figures that they wrote when they ended."""
    groups = read_runs(paths)
    table = list(markdown(groups))
    print("\n".join(table))
    panels = {"step": {}, "seconds": {}}
    for group in groups:
        run = next(iter(group.values()))
        for x in panels:
            panels[x][run["path"].name] = [np.mean([r["log"][k] for r in group.values()], 0)
                                           for k in (x, "accuracy")]
    plots.curves([(x, "validation accuracy", 1.02, lines) for x, lines in panels.items()],
                 paths[0].parent / "compare.png")
    (paths[0].parent / "compare.md").write_text("\n".join(table) + "\n", "utf-8")


@dataclass
class Options:
    splits: str = setting("", "names, with commas; if empty, all tests")
    decode: str = setting("", "one way to answer; if empty, all that the run was trained for",
                          {"": "all", **{name: name for name in DECODES}})
    n: int = setting(0, "examples a split; 0: as many as the run was tested on")
    temperature: float = setting(1.0, "of the decodes sample and vote", low=0.01)
    top_k: int = setting(0, "codes that may be drawn there; 0: all")
    samples: int = setting(8, "imaginations a question, for the decode vote", low=1)
    device: str = setting("auto", "what to run on", DEVICES)


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="finished; more than one: compare")
    add_arguments(parser, Options)
    parser.add_argument("--replace", action="store_true", help="the replacement test")
    values = vars(parser.parse_args())
    paths, replace = [Path(path) for path in values.pop("runs")], values.pop("replace")
    a = Options(**values)
    check_fields(a)
    device = pick_device(a.device)
    if len(paths) == 1 or replace or a.splits or a.decode or a.n:
        for path in paths:
            evaluate_one(path, a, device, replace)
    else:
        compare_all(paths)


if __name__ == "__main__":
    run_main(main)

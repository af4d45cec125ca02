"""What the benchmarks share, and how their results get into the pages.

    python benchmarks/report.py            write the tables of README.md and docs/ anew
    python benchmarks/report.py --check    exit code 1 if one of them is not what it should be

A result is one file, results/NAME.json. It carries a fingerprint of the defaults that it was
measured with. A page shows it between <!-- NAME --> and <!-- /NAME -->, unless the defaults have
changed since. <!-- NAME+OTHER: direct, %; oracle, % --> shows these rows of two results as columns,
<!-- NAME+OTHER: over training --> validation accuracy of main_job.py, at parts of the training,
<!-- NAME+OTHER: verdicts --> what families of results.py say of each claim.
"""
import hashlib
import importlib.util
import json
import re
import statistics
import sys
from dataclasses import make_dataclass, replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402: after the path above

from ipt_mini.checkpoint import fingerprint, read_metrics, write_json  # noqa: E402
from ipt_mini.config import Config, Parser, Settings, parse, setting  # noqa: E402
from ipt_mini.errors import UserError, blame, run_main  # noqa: E402
from ipt_mini.evaluate import (OTHER_ANSWER, evaluate, flip_test, proportion,  # noqa: E402
                               replacement_test)
from ipt_mini.model import Model  # noqa: E402
from ipt_mini.run import load_run, machine  # noqa: E402
from ipt_mini.sequence import SUPERVISION  # noqa: E402
from ipt_mini.tasks import TASKS, splits  # noqa: E402
from ipt_mini.tasks.folder import Folder  # noqa: E402
from ipt_mini.tasks.words import WORDS  # noqa: E402
from ipt_mini.tokenizer import TOKENIZER_STEPS, Tokenizer  # noqa: E402
from ipt_mini.training import RATE, train  # noqa: E402

BLOCK = re.compile(r"(<!-- ([\w+]+)(?:: ([^>]+))? -->\n).*?(<!-- /\2 -->)", re.S)
MISSING = "*Not measured yet.*\n"
STALE = "*Measured with other defaults; not shown.*\n"
NAMES = {"cells": "", "first-person": "first_person"}     # of runs, by world
VERDICTS = "holds", "undecided", "not here"       # on a claim


@cache
def seen(name, views):
    """A digest of what a model sees of a task in one of the worlds."""
    return fingerprint(Config(task=name, views=views), [TASKS[name]])


@cache
def defaults(views="cells", of="runs", tasks=""):
    """A short digest of what a figure in one of the worlds depends on: one of the `data` on
    worlds, words and pictures; of the `tokenizer`, on its settings and size, too; of `runs`, on
    all settings, recipes of the tasks, and sizes of the networks. One may depend on two worlds,
    VIEWS+VIEWS. tasks: names, with commas, if it does not depend on all of them."""
    if "+" in views:
        parts = [defaults(one, of, tasks) for one in views.split("+")]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]
    facts, tokenizer = [], Tokenizer(views)
    if of == "runs":
        facts += [Config(), SUPERVISION]
        facts += [Folder.STEPS, Folder.LOSS] if views == "pictures" else []
        if RATE[views] != 1:               # cells had no such share when they were measured
            facts.append(RATE[views])
    if of != "data":
        facts += [Tokenizer.warmup, Tokenizer.beta, TOKENIZER_STEPS[views]]
    names = [name for name in tasks.split(",") if name in TASKS] or TASKS    # not the user's own
    for name in names if views != "pictures" else ():      # a folder is no task that all have
        task = TASKS[name]
        recipe = [task.STEPS[views], task.CURRICULUM, task.LOSS[views]] if of == "runs" else []
        facts += [task.WORLDS, *recipe, seen(name, views)]
    networks = [] if of == "data" else [tokenizer]
    if of == "runs":
        networks.append(Model(Config(), len(WORDS), *tokenizer.codebook.shape))
    facts += [[tuple(p.shape) for p in network.parameters()] for network in networks]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def write(name, options, tables, figures, notes=(), of="runs", tasks=""):
    """Write results/NAME.json and print it as Markdown. tables: what the page shows, (head, rows)
    each, of lists of cells; figures: more.
    of, tasks: what they depend on, see `defaults`.
    A quick run writes into the working directory instead: its figures say nothing."""
    here, views = machine(), getattr(options, "views", "cells")
    cores = f"{here['threads']} thread" + "s" * (here["threads"] > 1)
    where = f"{here['gpu'] or here['cpu']}, {cores}, Python {here['python']}, torch {here['torch']}"
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    result = dict(stamp=dict(command=command, where=where, date=here["date"]), views=views, of=of,
                  tasks=tasks, fingerprint=defaults(views, of, tasks), notes=list(notes),
                  figures=figures, tables=[dict(head=head, rows=rows) for head, rows in tables])
    folder = Path("results-quick") if options.quick else RESULTS
    write_json(folder / f"{name}.json", result)
    print(as_markdown([result], result["tables"], result["notes"]))


def read(name):
    """The result NAME; None if there is none."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    with blame(path):
        return json.loads(path.read_text("utf-8"))


def stale():
    """Names of the results that were measured with other defaults."""
    results = {path.stem: read(path.stem) for path in sorted(RESULTS.glob("*.json"))}
    return [name for name, result in results.items() if result["fingerprint"] != defaults(
        result["views"], result.get("of", "runs"), result.get("tasks", ""))]


def listed(values):
    return ", ".join(map(str, values))


def pooled(figures):
    """'99.7 [99.5, 99.8]' over the questions of all seeds; figures: as of `proportion`."""
    n = sum(f["n"] for f in figures)
    if n == 0:
        return "-"
    right = sum(round(f["accuracy"] * f["n"] / 100) for f in figures if f["n"])
    return "{accuracy} [{low}, {high}]".format(**proportion(np.arange(n) < right))


def followed(rows):
    """What decides a replacement test: how often the answer follows a picture that implies another
    one. rows: of `replacement_test`. As `pooled` takes it."""
    row = next(row for row in rows if row["picture"] == OTHER_ANSWER)
    return dict(accuracy=row["follows"] or 0, n=row["n_readable"])


def measured(config):
    """{task: figures} of a run, trained if it is not yet: its test, out of distribution, and the
    tests of what is used."""
    folder = train(config)                             # refuses a run of other settings
    metrics, figures = read_metrics(folder), {}
    for run in load_run(folder, task=config.task).for_each_task():
        test = metrics[run.titled("test")]
        found = dict(log=metrics["log"], seed=config.seed, tokenizer=metrics["tokenizer"],
                     splits=dict(test=test, **evaluate(run, splits(run.task)[3:])))
        if "imagine" in test:
            examples, data = run.prepare()
            found |= dict(codes=round(100 * metrics["log"][-1]["val"][run.titled("codes")], 1),
                          replaced=replacement_test(run, data, examples),
                          flips=flip_test(run, data, examples) if run.name in TASKS else [])
        figures[run.name] = found
    return figures


def accuracies(runs, split, decode):
    return [run["splits"][split][decode]["accuracy"] for run in runs]


def right(runs, split, decode):
    """(over the questions of all seeds, by seed) of a way of answering."""
    return (pooled([run["splits"][split][decode] for run in runs]),
            listed(accuracies(runs, split, decode)))


def row_of(cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def stamp_of(*results):
    """A line a machine and date, with the commands that ran there."""
    commands = {}
    for stamp in (result["stamp"] for result in results):
        ran = commands.setdefault(f"{stamp['where']}, {stamp['date']}.", [])
        ran.append(f"`{stamp['command']}`")
    return "\n".join(f"{', '.join(dict.fromkeys(ran))}: {there}" for there, ran in commands.items())


def as_markdown(results, tables, notes=()):
    """The results' stamps, notes, and tables."""
    lines = [stamp_of(*results), *notes]
    for part in tables:
        lines += ["", row_of(part["head"]), "|" + "---|" * len(part["head"])]
        lines += map(row_of, part["rows"])
    return "\n".join(lines) + "\n"


def turned(results, wanted):
    """Stamps, and one table: a row for each column of the results' first tables, with the cells of
    the rows `wanted` alone. A row is called by its column and world."""
    rows = []
    for result in results:
        head, *body = result["tables"][0]["head"], *result["tables"][0]["rows"]
        cells = {row[0]: row for row in body}
        for number, column in enumerate(head[1:], 1):
            world = result["views"].replace("-", " ")
            shown = [str(cells[name][number]).replace(", ", "–") for name in wanted]
            rows.append([f"{column}, {world}", *shown])
    lines = [["", *wanted], ["---"] * (len(wanted) + 1), *rows]
    lines = [f"|{'|'.join(line)}|" for line in lines]
    return "\n".join([stamp_of(*results), "", *lines]) + "\n"


def verdicts(names, results):
    """Stamps, and one table: a row for each claim and split, with the families of runs that decide
    it so. Families of a task share runs: one that has no others than one before it is left out."""
    found, known = {}, {}
    for name, result in zip(names, results):
        task, *rest = name.removeprefix("claims_").split("_")
        family = " ".join([task.upper(), *rest])
        for claim, split, difference, by_seed, _, verdict in result["tables"][1]["rows"]:
            seen, runs = known.setdefault((task, claim, split), []), by_seed.split(", ")
            if not any(other[:len(runs)] == runs for other in seen):
                seen.append(runs)
                row = found.setdefault(claim, {}).setdefault(split, {word: [] for word in VERDICTS})
                row[verdict].append(f"{family} {difference}")
    rows = [[claim, split, *map("; ".join, row.values())]
            for claim, by_split in found.items() for split, row in by_split.items()]
    return as_markdown(results, [dict(head=["claim", "split", *VERDICTS], rows=rows)])


def over_training(results, parts=(0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1)):
    """Stamps, and one table: how often each task is right on validation after its own picture and
    after the true one, at these parts of its training. Mean over the seeds."""
    rows = []
    for result in results:
        world = result["views"].replace("-", " ")
        for task, runs in result["figures"].items():
            steps = [row["step"] for row in runs[0]["log"]]
            at = [min(range(len(steps)), key=lambda i: abs(steps[i] - part * steps[-1]))
                  for part in parts]
            for name in ("imagine", "oracle"):
                shares = [statistics.mean(run["log"][i]["val"][name] for run in runs) for i in at]
                rows.append([f"{task.upper()}, {world}", name, *(f"{100 * x:.1f}" for x in shares)])
    head = ["", "right, %", *(f"{part:.0%}" for part in parts)]
    return as_markdown(results, [dict(head=head, rows=rows)])


def markdown(names, stale_names, wanted=None):
    """What a page shows of a result, or of several, NAME+OTHER: its tables, or one line that says
    why not. wanted: names of the rows to show, if not all."""
    names = names.split("+")
    results = [read(name) for name in names]
    if None in results:
        return MISSING
    if set(names) & set(stale_names):
        return STALE
    if wanted == ["verdicts"]:
        return verdicts(names, results)
    if wanted == ["over training"]:
        return over_training(results)
    if wanted:
        return turned(results, wanted)
    return as_markdown(results, results[0]["tables"], results[0]["notes"])


def pages():
    """{path: the text that it should have} of all pages with blocks."""
    old, texts = stale(), {}
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]:
        def block(match):
            begin, name, rows, end = match.groups()
            return begin + markdown(name, old, rows and rows.split("; ")) + end
        texts[path] = BLOCK.sub(block, path.read_text("utf-8"))
    return texts


def arguments(doc, **defaults_of):
    """Options of a script: --quick, and a flag for each further name, of its default's type."""
    quick = setting(False, "tiny sizes, in seconds, into results-quick/")
    flags = [("quick", bool, quick)]
    flags += [(name, type(value), setting(value, "")) for name, value in defaults_of.items()]
    return parse(make_dataclass("Options", flags, bases=(Settings,)), doc)


def installed(module):
    """Is an optional library there? One line if not."""
    found = importlib.util.find_spec(module) is not None
    if not found:
        print(f"{module} is not installed, so it is left out: see requirements-dev.txt",
              file=sys.stderr)
    return found


def need(module):
    """UserError if a library is missing without which a script makes no sense."""
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{module} is not installed: pip install -r requirements-dev.txt", 1)


def label_only(task, views="cells"):
    """Settings of a run that is taught answers alone, for twice the steps: its sequences are
    shorter, and a step takes half the time."""
    steps = 2 * TASKS[task].STEPS[views]
    return dict(supervision="label", steps=steps, name=f"{NAMES[views]}_twice".strip("_"))


def tiny(config):
    """The Config of a run that takes seconds."""
    return replace(config, steps=6, eval_every=3, n_train=64, n_val=16, n_test=48, batch_size=16,
                   n_layer=1, n_embd=16, n_head=2, tokenizer_steps=320)


def gpt2(config, vocab_size, length):
    """GPT-2 of the transformers library with our depth, heads and width."""
    from transformers import GPT2Config, GPT2LMHeadModel
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=vocab_size, n_positions=length, n_embd=config.n_embd, n_layer=config.n_layer,
        n_head=config.n_head, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=None,
        eos_token_id=None, pad_token_id=0))


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    texts = pages()
    changed = [path for path, text in texts.items() if path.read_text("utf-8") != text]
    names = ", ".join(str(path.relative_to(ROOT)) for path in changed) or "none"
    if check and changed:
        raise UserError(f"not what results/ says: {names}; run python benchmarks/report.py", 1)
    for path in changed:
        path.write_text(texts[path], "utf-8")
    print(f"pages that changed: {names}")


if __name__ == "__main__":
    run_main(main)

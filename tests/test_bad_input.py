"""What a user may get wrong, and what the machine may refuse: one line that says what to do.

Each case goes through the real command line of a script, but for the start of another interpreter.
"""
import importlib
import io
import json
import os
import pickle
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch
from conftest import TINY

from ipt_mini.config import run_main
from ipt_mini.run import FORMAT

TRAIN = "train.py --task pt " + " ".join(TINY)
NO_GPU = "mps" if torch.cuda.is_available() else "cuda"


class Evil:
    """Unpickled, it would write a file."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def change(value, **more):
    return {**value, **more}


def make_zoo(run, zoo):
    """Fill the folder `zoo` with a copy of a finished run and with many bad things made of it."""
    shutil.copytree(run, zoo / "good")
    good = torch.load(run / "checkpoint.pt", weights_only=True)
    metrics = json.loads((run / "metrics.json").read_text())
    checkpoints = {
        "unfinished": change(good, step=3), "foreign": {"weights": 1}, "list": [1, 2], "tensor": torch.zeros(3),
        "misfit": change(good, model={}), "weights": change(good, model=7),
        "wide": change(good, config=change(good["config"], n_embd=32)),
        "older": change(good, format=FORMAT - 1), "textstep": change(good, step="6"),
        "nolog": {k: v for k, v in good.items() if k != "log"},
        "listconfig": change(good, config=list(good["config"])),
        "oddgrid": change(good, config=change(good["config"], grid=6)),
        "huge": change(good, config=change(good["config"], n_layer=10 ** 9)),
        "textsize": change(good, config=change(good["config"], n_layer="1")),
        "missing": change(good, config={k: v for k, v in good["config"].items() if k != "grid"}),
        "tokenizer": dict(format=FORMAT, tokenizer=good["tokenizer"]), "evil": change(good, log=Evil()),
        "pet": change(good, config=change(good["config"], task="pet")),
        "optimizers": change(good, step=3, optimizers=[{}, {}]),
    }
    for name, content in checkpoints.items():
        (zoo / name).mkdir()
        torch.save(content, zoo / name / "checkpoint.pt")
    whole = (run / "checkpoint.pt").read_bytes()
    for name, content in (
            ("cut", whole[:len(whole) // 2]), ("nothing", b""), ("words", b"no checkpoint"),
            ("pickle", pickle.dumps(Evil())), ("flipped", whole[:300] + b"\0" * 300 + whole[600:])):
        (zoo / name).mkdir()
        (zoo / name / "checkpoint.pt").write_bytes(content)
    of = lambda **more: json.dumps(change(metrics, **more))
    for name, content in (
            ("no-metrics", None), ("cut-metrics", of()[:500]), ("list-metrics", "[]"), ("no-test", of(test=3)),
            ("text-figure", of(test={"direct": {"accuracy": "high"}})), ("deep", "[" * 10 ** 5),
            ("digits", of().replace('"n_layer": 1', '"n_layer": 1' + "0" * 5000)),
            ("old-metrics", of(config={"task": "pt"})), ("no-log", of(log=[])), ("text-log", of(log="cut")),
            ("wrong-log", of(log=[change(row, step="x") for row in metrics["log"]]))):
        (zoo / name).mkdir()
        if content is not None:
            (zoo / name / "metrics.json").write_text(content)
    (zoo / "notes").mkdir()
    (zoo / "others").mkdir()
    (zoo / "others/report.txt").write_text("mine\n")
    (zoo / "others/film.1.part").write_text("still coming\n")
    (zoo / "project").mkdir()
    (zoo / "project/config.json").write_text('{"name": "mine"}\n')
    (zoo / "file").write_text("a file\n")
    (zoo / "wrong.py").write_text("not_one = 3\n")
    (zoo / "typo.py").write_text("def f(batch:\n")


@pytest.fixture(scope="module")
def zoo(run, tmp_path_factory):
    zoo = tmp_path_factory.mktemp("zoo")
    make_zoo(run, zoo)
    return zoo


def call(command):
    """(exit code, stdout, stderr) of a script's main() with this command line."""
    name, *args = command.split()
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    before, sys.argv, code = sys.argv, [name, *args], 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            run_main(importlib.import_module(name.removesuffix(".py")).main)
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    out.flush(), err.flush()
    return code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()


def snapshot(folder):
    return {p: p.is_dir() or (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}


# (command, exit code, the culprit, the way out). "TRAIN" stands for the command of the good run.
BAD = [
    ("train.py --task maze", 2, "--task 'maze'", "pt (path tracing)"),
    ("train.py --supervision both", 2, "--supervision 'both'", "mixed (ipt and label)"),
    ("train.py --grid 6", 2, "--grid 6", "5, 7, 9"), ("train.py --grid 4 --name a", 2, "--grid 4", "5, 7, 9"),
    ("train.py --n-head 3 --name a", 2, "--n-head 3", "divide the width"),
    ("train.py --n-layer 1000000 --name a", 2, "--n-layer 1000000", "to 48"),
    ("train.py --steps 10", 2, "--steps", "--name WORD"), ("train.py --steps ten", 2, "--steps", "--help"),
    ("train.py --steps 1e3", 2, "'1e3'", "--help"), ("train.py --steps", 2, "--steps", "expected one argument"),
    ("train.py --stepz 10", 2, "--stepz", "--help"), ("train.py pt", 2, "pt", "--help"),
    ("train.py --device tpu", 2, "--device 'tpu'", "cuda"),
    (f"train.py --device {NO_GPU}", 2, f"--device {NO_GPU}", "leave the flag out"),
    ("train.py --n-train 10 --name a", 2, "--n-train 10", "from 64 to"),
    ("train.py --n-train 1000000000000 --name a", 2, "--n-train 1000000000000", "to 10000000"),
    ("train.py --name a/b", 2, "--name 'a/b'", "letters, digits"),
    ("train.py --muon-lr -1 --name a", 2, "--muon-lr -1", "from 0 to"),
    ("train.py --muon-lr nan --name a", 2, "--muon-lr nan", "from 0 to"),
    ("train.py --adam-lr inf --name a", 2, "--adam-lr inf", "to 1000000000"),
    ("train.py --cooldown 1.5 --name a", 2, "--cooldown 1.5", "to 1"),
    ("train.py --batch-size 100 --n-train 64 --name a", 2, "--batch-size 100", "--n-train 64"),
    ("train.py --batch-size 0 --name a", 2, "--batch-size 0", "from 1 to"),
    ("train.py --seed -1", 2, "--seed -1", "from 0 to"),
    ("train.py --seed 99999999999999999999", 2, "--seed 9", "to 1000000000"),
    ("train.py --seeds 2 --seed 1", 2, "--seeds", "without"), ("train.py --seeds -2", 2, "--seeds", "from 0"),
    ("train.py --supervision label --loss imagination=1 --name a", 2, "'imagination'", "no such segment"),
    ("train.py --supervision label --loss latent=1 --name a", 2, "'latent'", "no such segment"),
    ("train.py --loss answr=1 --name a", 2, "'answr'", "there is answer, imagination"),
    ("train.py --loss answer=x --name a", 2, "answer=x", "answer=NUMBER"),
    ("train.py --loss answer=nan --name a", 2, "answer=nan", "0 or more"),
    ("train.py --loss none.py:f=1 --name a", 2, "no file 'none.py'", "--loss"),
    ("train.py --loss wrong.py:f=1 --name a", 2, "wrong.py", "no function 'f'"),
    ("train.py --loss wrong.py:not_one=1 --name a", 2, "wrong.py", "no function 'not_one'"),
    ("train.py --loss typo.py:f=1 --name a", 2, "typo.py", "SyntaxError"),
    ("train.py --loss file:f=1 --name a", 2, "'file:f'", "FILE.py:FUNCTION"),
    ("TRAIN --out file", 1, "file", "yours to write"), ("TRAIN --out file/x", 1, "file/x", "yours to write"),
    ("TRAIN --out good --muon-lr 0.5", 2, "muon_lr 0.02 there, 0.5 here", "--force"),
    ("TRAIN --out pet", 2, "task pet there, pt here", "--name"),
    ("TRAIN --out older", 1, f"format {FORMAT - 1}", "--force"),
    ("TRAIN --out cut", 1, "cut/checkpoint.pt", "delete it"),
    ("TRAIN --out nolog", 1, "nolog/checkpoint.pt", "delete it"),
    ("TRAIN --out evil", 1, "evil/checkpoint.pt", "delete it"),
    ("TRAIN --out listconfig", 1, "listconfig/checkpoint.pt", "delete it"),
    ("TRAIN --out others", 1, "others", "--out"), ("TRAIN --out project", 1, "project/config.json", "--out"),
    ("eval.py", 2, "RUN", "--help"), ("eval.py runs/none", 2, "runs/none", "train.py"),
    ("eval.py notes", 2, "notes", "train.py"), ("eval.py file", 2, "file", "train.py"),
    ("eval.py unfinished", 2, "unfinished, at step 3 of 6", "same train.py command"),
    ("eval.py good --splits far", 2, "--splits 'far'", "longer"),
    ("eval.py good --decode think", 2, "--decode 'think'", "oracle"),
    ("eval.py good --n -5", 2, "--n -5", "from 0"), ("eval.py good --n many", 2, "--n", "--help"),
    (f"eval.py good --device {NO_GPU}", 2, f"--device {NO_GPU}", "leave the flag out"),
    ("eval.py good --device tpu", 2, "--device 'tpu'", "cuda"),
    *((f"eval.py {name}", 1, f"{name}/checkpoint.pt", "delete it") for name in (
        "cut", "nothing", "words", "pickle", "flipped", "evil", "foreign", "list", "tensor", "misfit", "weights",
        "wide", "textstep", "listconfig", "missing", "tokenizer")),
    ("eval.py older", 1, "older/checkpoint.pt", "--force"), ("eval.py oddgrid", 1, "oddgrid/checkpoint.pt", "5, 7, 9"),
    ("eval.py huge", 1, "--n-layer 1000000000", "to 48"), ("eval.py textsize", 1, "--n-layer '1'", "type int"),
    ("eval.py good good", 2, "good", "same settings"), ("eval.py good notes", 2, "notes", "train.py"),
    ("eval.py good no-metrics", 2, "no-metrics", "train.py"),
    *((f"eval.py good {name}", 1, f"{name}/metrics.json", "delete it") for name in (
        "cut-metrics", "list-metrics", "no-test", "text-figure", "deep", "digits", "old-metrics", "no-log",
        "text-log", "wrong-log")),
    ("data.py --task maze", 2, "--task 'maze'", "mvc (multiview counting)"),
    ("data.py --split far", 2, "--split 'far'", "longer"), ("data.py --grid 6", 2, "--grid 6", "5, 7, 9"),
    ("data.py --n 0", 2, "--n 0", "from 1 to"), ("data.py --n 100 --out no/x.png", 1, "no/x.png", "yours to write"),
    ("data.py --supervision all --show-sequence", 2, "--supervision 'all'", "text_cot"),
]


@pytest.mark.parametrize("command, code, culprit, way_out", BAD, ids=[case[0][:60] for case in BAD])
def test_bad_input(zoo, monkeypatch, recwarn, command, code, culprit, way_out):
    monkeypatch.chdir(zoo)
    before = snapshot(zoo)
    ended, out, err = call(command.replace("TRAIN", TRAIN))
    assert ended == code and (out == "" or command.startswith("data.py")), (ended, out, err)
    assert err.count("\n") == 1 and err.startswith("error: ") and not recwarn.list, (err, recwarn.list)
    assert culprit in err and way_out in err, err
    assert before == snapshot(zoo)

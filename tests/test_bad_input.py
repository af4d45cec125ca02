"""What a user may get wrong, and what a file may hold: an exit code, one line that says what to do,
and nothing in the folder has changed.

Each case goes through the real command line of a script, but for the start of another interpreter.
"""
import hashlib
import io
import json
import os
import pickle
import shutil

import pytest
import torch
from conftest import EXAMPLES, ROOT, TRAIN, call, refused, script, snapshot

from ipt_mini.checkpoint import FORMAT, load

NO_GPU = "mps" if torch.cuda.is_available() else "cuda"


class Evil:
    """Unpickled, it would write a file."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def sealed(content):
    """The bytes of a file whose digest is right, whatever is in it."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue() + hashlib.sha256(file.getvalue()).digest()


def make_zoo(run, zoo):
    """Fill the folder `zoo` with a copy of a finished run and with many bad things made of it."""
    shutil.copytree(run, zoo / "good")
    for tokenizer in run.parent.glob("tokenizer-*.pt"):
        shutil.copy(tokenizer, zoo)
        (zoo / "worlds").mkdir()
        (zoo / "worlds" / tokenizer.name).write_bytes(b"mine")
        (zoo / "worlds/run").mkdir()
    good = load(run / "checkpoint.pt", "")
    config, state = good["config"], good["parts"][0]
    half = {**good, "step": 4}
    for name, content in {
            "unfinished": half, "older": {**good, "format": FORMAT - 1},
            "pet": {**good, "config": {**config, "task": "pet"}},
            "foreign-task": {**good, "config": {**config, "task": "own.py"}},
            "no-such-task": {**good, "config": {**config, "task": "maze"}},
            "wide": {**good, "config": {**config, "n_embd": 32}},
            "oddgrid": {**good, "config": {**config, "grid": 6}},
            "huge": {**good, "config": {**config, "n_layer": 10 ** 9}},
            "textsize": {**good, "config": {**config, "n_layer": "1"}},
            "missing": {**good, "config": {k: v for k, v in config.items() if k != "grid"}},
            "newer": {**good, "config": {**config, "from_the_future": 1}},
            "listconfig": {**good, "config": list(config)},
            "noname": {k: v for k, v in good.items() if k != "config"},
            "tokenizer": dict(format=FORMAT, tokenizer=good["tokenizer"]),
            "evil": {**good, "log": Evil()},
            "misfit": {**good, "parts": [{**state, "more\nlines": torch.zeros(1)}]},
            "nostates": {**half, "parts": [state, {}, {}]}}.items():
        (zoo / name).mkdir()
        (zoo / name / "checkpoint.pt").write_bytes(sealed(content))
    whole = (run / "checkpoint.pt").read_bytes()
    plain = io.BytesIO()
    torch.save(good, plain)
    for name, content in {
            "cut": whole[:len(whole) // 2], "nothing": b"", "short": b"no",
            "words": b"no checkpoint" * 9,
            "pickle": pickle.dumps(Evil()), "flipped": whole[:300] + b"\0" * 300 + whole[600:],
            "undigested": plain.getvalue(), "longer": whole + b"\n"}.items():
        (zoo / name).mkdir()
        (zoo / name / "checkpoint.pt").write_bytes(content)
    metrics = json.loads((run / "metrics.json").read_text())

    def json_of(**more):
        return json.dumps({**metrics, **more})

    for name, content in {
            "cut-metrics": json_of()[:500], "list-metrics": "[]", "no-test": json_of(test=3),
            "text-figure": json_of(test={"direct": {"accuracy": "high"}}), "deep": "[" * 10 ** 5,
            "no-rows": json_of(test={"imagine": {}}), "no-picture": json_of(
                test={"imagine": {"accuracy": 50.0, "imagination": {}}}),
            "digits": json_of().replace('"seed": 0', '"seed": 1' + "0" * 5000),
            "no-config": json_of(config={"task": "pt"}), "bytes": "\x00\n"}.items():
        (zoo / name).mkdir()
        (zoo / name / "metrics.json").write_text(content)
    (zoo / "notes").mkdir()
    (zoo / "others").mkdir()
    (zoo / "others/report.txt").write_text("mine\n")
    (zoo / "metrics-only").mkdir()
    shutil.copy(run / "metrics.json", zoo / "metrics-only")
    (zoo / "file").write_text("a file\n")
    (zoo / "wrong.py").write_text("not_one = 3\n")
    (zoo / "typo.py").write_text("def f(batch:\n")
    (zoo / "bytes.py").write_bytes(b"\xff\xfe\x00")
    for pipe in ("pipe", "pipe.py"):
        os.mkfifo(zoo / pipe)
    (zoo / "piped").mkdir()
    os.mkfifo(zoo / "piped/checkpoint.pt")


@pytest.fixture(scope="module")
def zoo(run, tmp_path_factory):
    zoo = tmp_path_factory.mktemp("zoo")
    make_zoo(run, zoo)
    return zoo


# Command, exit code, words of the line: the culprit, and the way out. "TRAIN" is the good run's.
BAD = [
    ("train.py --task maze", 2, "--task 'maze'", "pt (path tracing)", "FILE.py"),
    ("train.py --supervision both", 2, "--supervision 'both'", "mixed", "think imagine answer"),
    ("train.py --supervision 'answer imagine'", 2, "--supervision 'answer imagine'", "mixed"),
    ("train.py --grid 6", 2, "--grid 6", "5, 7, 9"),
    ("train.py --grid 4", 2, "--grid 4", "5, 7, 9"),
    ("train.py --n-head 3", 2, "--n-head 3", "divide the width"),
    ("train.py --n-layer 1000000", 2, "--n-layer 1000000", "to 48"),
    ("train.py --steps ten", 2, "--steps", "--help"),
    ("train.py --steps 1e3", 2, "'1e3'", "--help"),
    ("train.py --steps -1", 2, "--steps -1", "from 0"),
    ("train.py --steps", 2, "--steps", "expected one argument"),
    ("train.py --stepz 10", 2, "--stepz", "--help"), ("train.py pt", 2, "pt", "--help"),
    ("train.py --force", 2, "--force", "--help"),
    ("train.py --device tpu", 2, "--device 'tpu'", "cuda"),
    (f"train.py --device {NO_GPU}", 2, f"--device {NO_GPU}", "leave the flag out"),
    (f"train.py --seeds 2 --jobs 2 --device {NO_GPU}", 2, f"--device {NO_GPU}", "leave the flag"),
    ("train.py --n-train 10", 2, "--n-train 10", "from 64 to"),
    ("train.py --n-train 1000000000000", 2, "--n-train 1000000000000", "to 10000000"),
    ("train.py --name a/b", 2, "--name 'a/b'", "letters, digits"),
    ("train.py --name 'a\nb'", 2, "--name 'a\\nb'", "letters, digits"),
    ("train.py --muon-lr 1e6", 2, "--muon-lr 1000000.0", "to 10"),
    ("train.py --muon-lr -1", 2, "--muon-lr -1", "from 0 to"),
    ("train.py --muon-lr nan", 2, "--muon-lr nan", "from 0 to"),
    ("train.py --adam-lr inf", 2, "--adam-lr inf", "from 0 to"),
    ("train.py --cooldown 1.5", 2, "--cooldown 1.5", "to 1"),
    ("train.py --batch-size 100 --n-train 64", 2, "--batch-size 100", "--n-train 64"),
    ("train.py --batch-size 0", 2, "--batch-size 0", "from 1 to"),
    ("train.py --eval-every 0", 2, "--eval-every 0", "from 1 to"),
    ("train.py --tokenizer-steps 5", 2, "--tokenizer-steps 5", "from 100 to"),
    ("train.py --seed -1", 2, "--seed -1", "from 0 to"),
    ("train.py --seed 99999999999999999999", 2, "--seed 9", "to 1000000000"),
    ("train.py --seeds 2 --seed 1", 2, "--seeds", "without"),
    ("train.py --seeds 2 --out x", 2, "--seeds", "without"),
    ("train.py --seeds -2", 2, "--seeds", "from 0"),
    ("train.py --jobs 2", 2, "--jobs 2: only with --seeds"),
    ("train.py --final", 2, "--final: only with --compare"),
    ("train.py --score nats --seeds 2", 2, "--score 'nats': only with --compare"),
    ("train.py --supervision label --loss imagination=1", 2, "imagination=1", "no such segment"),
    ("train.py --loss answr=1", 2, "answr=1", "there is answer, imagination"),
    ("train.py --loss answer=x", 2, "answer=x", "TERM=NUMBER"),
    ("train.py --loss answer=nan", 2, "answer=nan", "0 or more"),
    ("train.py --loss answer=1,answer=2", 2, "answer=2", "twice"),
    ("train.py --loss +", 2, "--loss", "FILE.py:FUNCTION"),
    ("train.py --loss none.py:f=1", 2, "no file 'none.py'"),
    ("train.py --loss wrong.py:f=1", 1, "wrong.py:f", "defines no 'f'"),
    ("train.py --loss typo.py:f=1", 1, "typo.py", "SyntaxError"),
    ("train.py --loss bytes.py:f=1", 1, "bytes.py", "decode"),
    ("train.py --loss pipe.py:f=1", 2, "no file 'pipe.py'"),
    ("train.py --loss file:f=1", 2, "file:f", "FILE.py:FUNCTION"),
    ("train.py --inputs none.py:f", 2, "no file 'none.py'"),
    ("train.py --inputs wrong.py:f", 1, "wrong.py:f", "defines no 'f'"),
    ("train.py --inputs noise:f", 2, "--inputs noise:f", "FILE.py:NAME"),
    ("train.py --task none.py", 2, "no file 'none.py'"),
    ("train.py --task wrong.py", 1, "wrong.py: no task", "questions"),
    ("train.py --task typo.py", 1, "typo.py", "SyntaxError"),
    ("train.py --tokenizer none.py:T", 2, "no file 'none.py'"),
    ("train.py --tokenizer vae", 2, "--tokenizer 'vae'", "FILE.py"),
    ("TRAIN --out x --tokenizer wrong.py:T", 1, "wrong.py:T", "defines no 'T'"),
    ("TRAIN --out file", 1, "file", "yours to write"),
    ("TRAIN --out file/x", 1, "file/x", "yours to write"),
    ("TRAIN --out good --muon-lr 0.5", 2, "muon_lr 0.02 there, 0.5 here", "--name"),
    ("TRAIN --out good --loss answer=1", 2, "loss", "--name"),
    ("TRAIN --out good --loss +wrong.py:not_one=1", 1, "not_one is no function"),
    ("TRAIN --out older", 1, f"format {FORMAT - 1}", "--name"),
    ("TRAIN --out nostates", 1, "nostates/checkpoint.pt"),
    *((f"TRAIN --out {name}", 1, f"{name}/checkpoint.pt", "damaged", "--name") for name in (
        "cut", "nothing", "short", "words", "pickle", "flipped", "undigested", "longer", "evil")),
    ("TRAIN --out tokenizer", 1, "tokenizer/checkpoint.pt"),
    ("TRAIN --out piped", 1, "piped/checkpoint.pt", "no file"),
    ("TRAIN --out pipe", 1, "pipe", "yours to write"),
    ("TRAIN --out others", 2, "others", "not empty", "--out"),
    ("TRAIN --out metrics-only", 2, "metrics-only", "not empty", "--out"),
    ("TRAIN --out .", 2, "not empty", "--out"),
    ("TRAIN --out worlds/run", 1, "worlds/tokenizer-", "move it away"),
    ("eval.py", 2, "RUN", "--help"), ("eval.py runs/none", 2, "runs/none", "train.py"),
    ("eval.py notes", 2, "notes", "train.py"), ("eval.py file", 2, "file", "train.py"),
    ("eval.py metrics-only", 2, "metrics-only", "train.py"),
    ("eval.py piped", 1, "piped/checkpoint.pt", "no file"),
    ("eval.py unfinished", 2, "unfinished, at step 4 of 6", "train.py command"),
    ("eval.py good --splits far", 2, "--splits 'far'", "longer"),
    ("eval.py good --replace --splits test,dense", 2, "--splits test,dense", "one split"),
    ("eval.py good --decode think", 2, "--decode 'think'", "oracle"),
    ("eval.py good --decode none.py:f", 2, "no file 'none.py'"),
    ("eval.py good --decode wrong.py:f", 1, "wrong.py:f", "defines no 'f'"),
    ("eval.py good --n -5", 2, "--n -5", "from 0"), ("eval.py good --n many", 2, "--n", "--help"),
    ("eval.py good --task pet", 2, "--task pet", "trained with pt"),
    ("eval.py good --task wrong.py", 2, "--task wrong.py", "trained with pt"),
    ("eval.py good --tokenizer wrong.py:T", 2, "--tokenizer wrong.py:T", "trained with vq"),
    (f"eval.py good --device {NO_GPU}", 2, f"--device {NO_GPU}", "leave the flag out"),
    ("eval.py good --device tpu", 2, "--device 'tpu'", "cuda"),
    *((f"eval.py {name}", 1, f"{name}/checkpoint.pt", "damaged", "--name") for name in (
        "cut", "nothing", "short", "words", "pickle", "flipped", "undigested", "longer", "evil")),
    *((f"eval.py {name}", 1, f"{name}/checkpoint.pt") for name in (
        "misfit", "wide", "listconfig", "missing", "newer", "noname", "tokenizer")),
    ("eval.py good --splits test,", 2, "--splits ''", "longer"),
    ("eval.py older", 1, f"format {FORMAT - 1}", "--name"),
    ("eval.py pet", 1, "pet: trained by code with other tasks", "--name"),
    ("eval.py foreign-task", 2, "foreign-task", "--task own.py"),
    ("eval.py foreign-task --task none.py", 2, "no file 'none.py'"),
    ("eval.py no-such-task", 1, "no-such-task/checkpoint.pt", "--task 'maze'"),
    ("eval.py oddgrid", 1, "oddgrid/checkpoint.pt", "5, 7, 9"),
    ("eval.py huge", 1, "huge/checkpoint.pt", "--n-layer 1000000000", "to 48"),
    ("eval.py textsize", 1, "textsize/checkpoint.pt", "--n-layer '1'", "type int"),
    ("examples/compare.py good", 2, "at least two"),
    ("examples/compare.py good good", 2, "good", "twice"),
    ("examples/compare.py good notes", 2, "notes", "train.py"),
    ("examples/compare.py good piped", 2, "piped", "train.py"),
    *((f"examples/compare.py good {name}", 1, f"{name}/metrics.json") for name in (
        "cut-metrics", "list-metrics", "no-test", "text-figure", "deep", "digits", "no-config",
        "no-rows", "no-picture", "bytes")),
    ("data.py --task maze", 2, "--task 'maze'", "mvc (multiview counting)"),
    ("data.py --split far", 2, "--split 'far'", "longer"),
    ("data.py --grid 6", 2, "--grid 6", "5, 7, 9"),
    ("data.py --n 0", 2, "--n 0", "from 1 to"), ("data.py --task none.py", 2, "no file 'none.py'"),
    ("data.py --n 100 --out no/x.png", 1, "no/x.png", "yours to write"),
    ("data.py --n 100 --out pipe", 2, "--out pipe", "a pipe"),
    ("data.py --n 100 --out notes", 1, "notes", "yours to write"),
    ("data.py --n 100 --out /dev/full", 1, "/dev/full", "room on the disk"),
]


@pytest.mark.parametrize("case", BAD, ids=[case[0][:60].replace("\n", " ") for case in BAD])
def test_bad_input(zoo, monkeypatch, quick, request, case):
    command, code, *words = case
    if command.startswith("data.py"):
        monkeypatch.undo()                             # real pictures
    monkeypatch.chdir(zoo)
    before = snapshot(zoo)
    refused(command.replace("TRAIN", TRAIN), code, *words)
    assert snapshot(zoo) == before


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), dict(format=FORMAT), 7, None, {}])
def test_a_file_of_right_digest_and_odd_content(zoo, monkeypatch, quick, tmp_path, content):
    """It takes intent to make one; it is refused all the same."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(zoo / "worlds/run", "run")
    (tmp_path / "run/checkpoint.pt").write_bytes(sealed(content))
    refused("eval.py run", 1, "run/checkpoint.pt")
    refused(f"{TRAIN} --out run", 1, "run/checkpoint.pt")


OWN_TERMS = {
    "raises": ("raise IndexError('no\\nsuch cell')", "--loss raises", "no\\nsuch cell"),
    "interrupts": ("raise OSError('odd')", "--loss interrupts", "odd"),
    "pair": ("return batch.logits.mean(), 1", "--loss pair", "scalar"),
    "matrix": ("return batch.logits", "--loss matrix", "scalar"),
    "number": ("return 0.5", "--loss number", "scalar"),
    "still": ("return batch.logits.mean().detach()", "--loss still", "gradient")}


@pytest.mark.parametrize("name", OWN_TERMS)
def test_own_terms_that_are_none(world, quick, name):
    """Said at the first step. With the term corrected, the run can be started again."""
    body, *words = OWN_TERMS[name]
    (world / "terms.py").write_text(f"def {name}(batch):\n    {body}\n")
    command = f"{TRAIN} --out runs/own --loss +terms.py:{name}=1"
    refused(command, 1, *words)
    if name == "raises":
        (world / "terms.py").write_text(f"def {name}(batch):\n    return batch.logits.mean()\n")
        code, _, err = call(command)
        assert code == 0, err


def test_an_own_term_may_have_any_name(world, quick):
    """Even that of a column of the log."""
    (world / "terms.py").write_text("def step(batch):\n    return batch.logits.square().mean()\n")
    code, _, err = call(f"{TRAIN} --out runs/own --loss +terms.py:step=1")
    rows = json.loads((world / "runs/own/metrics.json").read_text())["log"]
    assert code == 0 and [row["step"] for row in rows] == [2, 4, 6], err
    terms = {"answer", "imagination", "compass", "step"}
    assert all(set(row["losses"]) == terms for row in rows)


@pytest.mark.parametrize("inputs, words", [
    ("return tokens[:, 1:]", "--inputs terms.py:f"), ("return None", "--inputs terms.py:f"),
    ("raise KeyError('mine')", "'mine'")])
def test_own_inputs_that_are_none(world, quick, inputs, words):
    (world / "terms.py").write_text(f"def f(model, tokens, pose, layout, rng):\n    {inputs}\n")
    refused(f"{TRAIN} --out runs/own --inputs terms.py:f", 1, words)


@pytest.mark.parametrize("tokenizer, words", [
    ("def T(world):\n    raise KeyError('mine')\n", "'mine'"),
    ("T = 7\n", "--tokenizer terms.py:T"),
    ("import torch\n\n\nclass T(torch.nn.Linear):\n    def __init__(self, world):\n"
     "        super().__init__(2, 2)\n", "--tokenizer terms.py:T")])
def test_own_tokenizers_that_are_none(world, quick, tokenizer, words):
    (world / "terms.py").write_text(tokenizer)
    refused(f"{TRAIN} --out runs/own --tokenizer terms.py:T", 1, words)


@pytest.mark.parametrize("decode, words", [
    ("vote.py", "vote.py"), ("wrong.py:f", "wrong.py"), ("raises.py:f", "mine"),
    ("raises.py:comma", "a tuple of segments"), ("raises.py:nothing", "returns a Decoded"),
    ("raises.py:square", "an answer (B,)")])
def test_own_decodes_that_are_none(world, quick, decode, words):
    shutil.copy(EXAMPLES / "vote.py", world)
    (world / "wrong.py").write_text("def f(model, data, answers):\n    pass\n")
    (world / "raises.py").write_text(
        "from ipt_mini.generate import Decode\nfrom ipt_mini.sequence import ANSWER\n\n\n"
        "def g(model, data, answers):\n    raise KeyError('mine')\n\n\nf = Decode(g, (ANSWER,))\n"
        "comma = Decode(g, (ANSWER))\nnothing = Decode(lambda *_: None, (ANSWER,))\n"
        "from ipt_mini.generate import Decoded\n"
        "square = Decode(lambda m, data, a: Decoded(data.answer[:, None], None), (ANSWER,))\n")
    refused(f"eval.py runs/good --decode {decode} --n 10", 1, words)


def test_own_tasks_that_raise(world, quick):
    text = (EXAMPLES / "turn_around.py").read_text()
    first = "    rows, start = "
    assert text.count(first) == 1
    (world / "task.py").write_text(text.replace(first, f"    raise KeyError('mine')\n{first}"))
    for command in ("data.py --task task.py --n 10", f"{TRAIN} --task task.py --out runs/own"):
        refused(command, 1, "task.py", "'mine'")


@pytest.mark.parametrize("more, words", [
    ("def questions(*args, **world):\n    return None\n", "questions has to return Examples"),
    ("WORLDS = {'dense': {}}\n", "it lacks WORLDS of train"), ("WORLDS = None\n", "task.py"),
    ("some = questions\n\n\ndef questions(rng, b, n, **world):\n"
     "    return some(rng, 50, n, **world).take(slice(0))\n", "no fair question among"),
    ("ANSWERS = ('left', 'up')\n", "no words: ['up']"),
    ("def balance(examples):\n    return examples.answer, examples.answer\n",
     "no question is left")])
def test_own_tasks_that_are_none(world, quick, more, words):
    task = (EXAMPLES / "turn_around.py").read_text()
    (world / "task.py").write_text(f"{task}\n\n{more}")
    refused("data.py --task task.py --n 10", 1, words)
    refused(f"{TRAIN} --task task.py --out runs/own", 1, words)


def test_an_own_task_with_long_texts_is_refused(world, quick, monkeypatch):
    monkeypatch.setattr("ipt_mini.checkpoint.train_tokenizer", lambda make, *_: make().eval())
    task = (EXAMPLES / "turn_around.py").read_text()
    longer = task.replace('"left or right ?"', '"left or right ?" + " ?" * 70')
    assert longer != task
    (world / "task.py").write_text(longer)
    refused(f"{TRAIN} --task task.py --out runs/own", 1, "task: a query may have 64 words")


def test_a_picture_goes_wherever_it_is_sent(world):
    code, out, err = call("data.py --n 100 --out x.txt")
    assert code == 0 and err == "" and "wrote x.txt" in out
    assert (world / "x.txt").read_bytes().startswith(b"\x89PNG")


def test_in_a_process_of_its_own(tmp_path):
    ran = script("train.py --task maze", tmp_path, 2)
    assert ran.stdout == "" and ran.stderr.count("\n") == 1 and "--task 'maze'" in ran.stderr
    assert ran.stderr.startswith("error: ") and not list(tmp_path.iterdir())


def test_nothing_is_ever_advised_to_be_deleted_or_forced():
    """A trained run is dear: what is in the way is left, another name is taken."""
    for path in (*ROOT.glob("*.py"), *ROOT.rglob("ipt_mini/**/*.py")):
        code = path.read_text()
        for word in ("unlink", "rmtree", "os.remove", "delete it", "--force"):
            assert word not in code, (path, word)

"""Run folders: what is in them, same command same bits, resume, load_run and ask."""
import hashlib
import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import EXAMPLES, ONE_THREAD, ROOT, TINY, TRAIN, call, refused, script, snapshot

from ipt_mini import checkpoint, training
from ipt_mini.checkpoint import FORMAT, load, save
from ipt_mini.config import Config
from ipt_mini.errors import UserError, run_main
from ipt_mini.evaluate import (OTHER_ANSWER, flip_test, imagination_quality, proportion,
                               replacement_test)
from ipt_mini.generate import Decoded
from ipt_mini.losses import LOSSES
from ipt_mini.run import Run, answer_ids, keep_freed_memory, load_run
from ipt_mini.sequence import Data, imagining_order
from ipt_mini.tasks import TASKS, make
from ipt_mini.tasks.grid import NAMES
from ipt_mini.tasks.words import text


def checkpoint_of(folder):
    return load(folder / "checkpoint.pt", "")


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def contents(folder):
    """What has to be equal in two runs: all but times, the machine, and where the run lies."""
    saved, metrics = checkpoint_of(folder), metrics_of(folder)
    for config in (saved["config"], metrics["config"]):
        del config["name"], config["out"]
    for part, keys in ((saved, ["seconds"]), (metrics, ["minutes", "machine"])):
        for key in keys:
            del part[key]
    for row in saved["log"] + metrics["log"]:
        del row["seconds"]
    states = {"model": saved.pop("parts")[0], "tokenizer": saved.pop("tokenizer")}
    bits = {(part, name): tensor.numpy().tobytes()
            for part, state in states.items() for name, tensor in state.items()}
    return bits, saved, metrics


def pictures(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.png")}


# ---------------------------------------------------------------------------------- what is there
def test_run_folder_holds_what_it_should(run):
    assert {p.name for p in run.iterdir()} == {
        "checkpoint.pt", "metrics.json", "curve.png", "samples.png", "tokenizer.png"}
    tokenizer, = run.parent.glob("tokenizer-*.pt")
    assert set(run.parent.iterdir()) == {run, tokenizer}
    metrics = metrics_of(run)
    assert set(metrics) == {
        "config", "minutes", "machine", "log", "test", "parameters", "tokenizer"}
    assert set(metrics["test"]) == {"direct", "imagine", "oracle"}
    assert metrics["machine"]["torch"] == torch.__version__
    assert [row["step"] for row in metrics["log"]] == [2, 4, 6]
    for row in metrics["log"]:
        assert set(row["losses"]) == {"answer", "imagination", "compass"}
        assert set(row["val"]) == {"direct", "imagine", "oracle", "codes", "nats"}
    assert set(metrics["minutes"]) == {"tokenizer", "data", "training", "validation", "test", "all"}
    for name, figures in metrics["test"].items():
        assert figures["n"] == 48 and figures["low"] <= figures["accuracy"] <= figures["high"]
        assert set(figures["by_kind"]) == set(TASKS["pt"].KINDS)
        assert sum(kind["n"] for kind in figures["by_kind"].values()) == 48
        assert ("imagination" in figures) == (name == "imagine")
    for file in run.glob("*.png"):
        assert file.read_bytes().startswith(b"\x89PNG")


def test_every_validation_draws_the_same_questions_of_its_own_split(world, quick, monkeypatch):
    drawn = []
    monkeypatch.setattr(training.plots, "blocks", lambda blocks, path: drawn.append((blocks, path)))
    saved = checkpoint_of(world / "runs/good")["config"]
    learnt = training.learn(Config(**{**saved, "out": "runs/watched"}))
    texts = [text(query) for query in make(TASKS["pt"], "val", 4).query]
    assert len(drawn) == len(learnt.log) == 3
    for blocks, path in drawn:
        assert path == learnt.folder / "samples.png"
        assert [block.title.partition(": ")[2] for block in blocks] == texts
        for block in blocks:
            assert [caption for caption, *_ in block.tiles] == ["map", "true view", "imagined"]
            (label, right, no), *given = block.answers
            assert label == "right answer" and not no
            assert [name for name, *_ in given] == ["direct", "imagine", "oracle"]
            assert all(wrong == (word != right) for _, word, wrong in given)
    assert contents(world / "runs/good")[0].items() >= bits_of(checkpoint_of(learnt.folder)).items()


def test_a_run_that_other_code_began_says_so(world, monkeypatch, capsys):
    config = Config(**checkpoint_of(world / "runs/good")["config"])
    folder = str(training.learn(config).folder)
    assert "other code" not in capsys.readouterr().err
    monkeypatch.setattr("ipt_mini.training.CODE", 7)
    assert str(training.learn(config).folder) == folder
    assert f"{folder}: begun by other code; give a --name" in capsys.readouterr().err


def bits_of(saved):
    return {("model", name): tensor.numpy().tobytes()
            for name, tensor in saved["parts"][0].items()}


def test_progress_fits_into_100_columns_and_the_end_says_what_next(run, monkeypatch):
    postfix = "answer 0.41 imagination 0.00089 direct 0.49 imagine 0.99"
    line = training.tqdm.format_meter(300, 2200, 200, ncols=100, bar_format=training.PROGRESS,
                                   prefix="pt-mixed-first_person-s0", postfix=postfix)
    assert len(line) <= 100 and postfix in line and "14%, 21:06 left" in line
    monkeypatch.chdir(run.parent.parent)
    out = call(TRAIN)[1]
    assert out.splitlines()[-1].startswith(f"next: python eval.py runs/{run.name} --replace ")


def test_same_command_prints_a_finished_run_and_refuses_another(run, monkeypatch):
    monkeypatch.chdir(run.parent.parent)
    before = snapshot(run.parent)
    code, out, err = call(TRAIN)
    assert code == 0 and "test imagine" in out and "minutes in all" in out and err == ""
    refused(f"{TRAIN} --muon-lr 0.5", 2, "muon_lr 0.02 there, 0.5 here", "--name")
    refused(f"{TRAIN} --batch-size 32", 2, "batch_size 16 there, 32 here", "--name")
    assert snapshot(run.parent) == before


def test_eval_writes_every_decode_and_split(run, world, quick):
    code, out, err = call("eval.py runs/good")
    report = json.loads((world / "runs/good/eval.json").read_text())
    assert code == 0 and err == ""
    assert set(report) == {"machine", "options", "test", "dense", "longer"}
    for split in ("test", "dense", "longer"):
        assert set(report[split]) == {"direct", "imagine", "oracle"}
    assert report["test"] == metrics_of(run)["test"]
    assert "exact images" in out
    code, out, _ = call("eval.py runs/good --splits longer --decode direct --n 10")
    report = json.loads((world / "runs/good/eval.json").read_text())
    assert code == 0 and set(report["longer"]) == {"direct"}
    assert report["longer"]["direct"]["n"] == 10


def test_replacement_test(world, quick):
    code, out, err = call("eval.py runs/good --replace")
    report = json.loads((world / "runs/good/replace.json").read_text())
    rows = {row["picture"]: row for row in report["rows"]}
    assert code == 0 and err == "" and report["split"] == "test" and len(rows) == 7
    assert all(name in out for name in rows) and OTHER_ANSWER in rows
    assert rows["own"]["n"] == rows["true"]["n"] == 48
    repeated = rows["one code repeated"]
    assert repeated["n_readable"] == 0 and repeated["follows"] is None
    assert rows["true"]["n_readable"] > rows["random codes"]["n_readable"]
    oracle = metrics_of(world / "runs/good")["test"]["oracle"]
    assert rows["true"]["accuracy"] == oracle["accuracy"]
    own = metrics_of(world / "runs/good")["test"]["imagine"]
    assert rows["own"]["accuracy"] == own["accuracy"]
    assert [row["decode"] for row in report["flips"]] == ["direct", "imagine"]
    assert "opposite question, direct" in out and all(row["n"] > 40 for row in report["flips"])


class Reader:
    """A stand-in for a run: its answer is what the rule reads off the picture that it gets, or
    always the same one. Its tokenizer's codes are the cells themselves."""
    task, n_codes = TASKS["pt"], len(NAMES)
    config = Config()
    answers = answer_ids(TASKS["pt"])

    def __init__(self, examples, reads):
        self.examples, self.reads, self.tokenizer = examples, reads, self

    def read(self, pixels):
        return pixels.numpy().astype(np.uint8)

    def decode(self, data, name=""):
        if torch.is_tensor(data):                      # as a tokenizer: codes -> pixels
            return data
        answer = torch.from_numpy(self.examples.answer)
        if self.reads:
            arrays = data.views.numpy(), data.query.numpy(), data.imagination.numpy()
            answer = torch.from_numpy(self.task.rule(*arrays))
        return Decoded(answer, None, data.imagination)


def test_replacement_and_flip_tell_a_reader_from_one_who_knows_by_heart():
    examples = make(TASKS["pt"], "test", 200)
    fields = (examples.views, examples.pose, examples.query, examples.imagination, examples.cot)
    data = Data(*(torch.from_numpy(part.astype(np.int64)) for part in fields),
                torch.from_numpy(examples.answer), imagining_order(5, 5))
    query, imagination = TASKS["pt"].flip(examples)
    for reads, right, follows in ((True, 0.0, 100.0), (False, 100.0, 0.0)):
        reader = Reader(examples, reads)
        rows = {row["picture"]: row for row in replacement_test(reader, data, examples)}
        other = rows[OTHER_ANSWER]
        assert (other["accuracy"], other["follows"]) == (right, follows) and 190 < other["n"] < 201
        assert other["by_kind"] == dict.fromkeys(TASKS["pt"].KINDS, follows)
        assert set(rows["one code repeated"]["by_kind"].values()) == {None}
        assert rows["true"]["accuracy"] == rows["true"]["follows"] == 100.0
        assert rows["one code repeated"]["n_readable"] == 0
        flipped = data._replace(imagination=torch.from_numpy(imagination.astype(np.int64)))
        for row in flip_test(reader, flipped, examples):
            assert row["accuracy"] == 100.0 - right and row["stays"] == right and row["n"] == 200


@pytest.mark.parametrize("task, supervision, decodes", [
    ("pet", "label", {"direct"}), ("pt", "text_cot", {"think"}),
    ("mvc", "ipt", {"imagine", "oracle"}), ("mvc", "think answer | answer", {"think", "direct"})])
def test_every_supervision_and_decode(world, quick, task, supervision, decodes):
    code, out, err = call(f"train.py --task {task} --supervision '{supervision}' {TINY}")
    name = supervision.replace(" | ", "-").replace(" ", "-")
    folder = world / f"runs/{task}-{name}-tiny-s0"
    assert code == 0 and err.count("\n") == 1 and str(folder.relative_to(world)) in out, err
    assert set(metrics_of(folder)["test"]) == decodes
    assert set(metrics_of(folder)["log"][0]["val"]) - {"codes", "nats"} == decodes
    code, out, err = call(f"eval.py {folder} --n 20")
    assert code == 0 and err == "" and all(f" {name}" in out for name in decodes)


def test_a_share_of_no_cells_is_no_number_that_json_lacks(recwarn):
    """Pictures without objects have no foreground; neither the true nor the imagined ones."""
    examples = make(TASKS["pt"], "test", 3)
    bare = examples._replace(imagination=np.ones_like(examples.imagination))
    figures = imagination_quality(TASKS["pt"], bare, bare.imagination, bare.answer)
    assert figures["cells"] == figures["exact_images"] == 100.0 and not recwarn.list
    json.dumps(figures, allow_nan=False)


def test_proportion_is_the_wilson_interval():
    assert proportion(np.array([True] * 90 + [False] * 10)) == dict(
        accuracy=90.0, low=82.6, high=94.5, n=100)     # Wilson 1927, by hand
    all_right = proportion(np.ones(10, bool))
    assert all_right["high"] == 100.0 and all_right["low"] == 72.2
    assert proportion(np.zeros(0, bool)) == dict(accuracy=None, low=None, high=None, n=0)


# ------------------------------------------------------------------------------------ same bits
def random_states():
    return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()


def test_same_bits_whatever_was_drawn_before_and_no_global_random_state(run, world):
    """Weights, figures and pictures of another process."""
    torch.rand(7)
    np.random.rand(7)
    random.random()
    before = random_states()
    code, _, err = call(f"{TRAIN} --out anew/again")     # its tokenizer, too
    assert code == 0 and random_states() == before
    assert "\r" not in err and err.count("\n") == 1    # no progress bar into a file
    assert contents(world / "anew/again") == contents(run)
    assert pictures(world / "anew/again") == pictures(run)
    load_run("anew/again").ask(make(TASKS["pt"], "test", 1))
    assert random_states() == before


class Killed(BaseException):
    """As sudden as kill -9: nothing catches it."""


def test_killed_in_the_middle_of_saves_and_resumed_it_ends_as_if_unbroken(
        run, world, quick, monkeypatch):
    """Each call of the script dies when its second file is about to get its name: that of the next
    checkpoint, twice, and then that of the figures, behind the last one."""
    replace, saves, deaths = os.replace, [], []

    def dying(source, target):
        saves.append(os.path.basename(target))
        if len(saves) == 2:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", dying)
    for _ in range(9):
        saves.clear()
        try:
            code, _, err = call(f"{TRAIN} --out runs/killed")
            assert code == 0, err
            break
        except Killed:
            deaths.append(saves[-1])
            (world / "runs/killed/checkpoint.pt.1.part").write_bytes(b"left behind, half")
    assert deaths == ["checkpoint.pt", "checkpoint.pt", "metrics.json"]
    assert contents(world / "runs/killed") == contents(run)


def test_killed_before_the_first_checkpoint(run, world, quick, monkeypatch):
    def dying(source, target):
        raise Killed

    with monkeypatch.context() as m:
        m.setattr(os, "replace", dying)
        with pytest.raises(Killed):
            call(f"{TRAIN} --out runs/killed")
    assert [p.suffix for p in (world / "runs/killed").iterdir()] == [".part"]
    code, _, err = call(f"{TRAIN} --out runs/killed")
    assert code == 0 and contents(world / "runs/killed") == contents(run), err


# ----------------------------------------------------------------------------- load_run and ask
def test_ask_one_question(world):
    run = load_run("runs/good")
    example = make(TASKS["pt"], "test", 3).take(slice(1, 2))
    answer = run.ask(example, "imagine")
    assert answer.question == text(example.query[0])
    assert set(answer.probabilities) == set(TASKS["pt"].ANSWERS)
    assert math.isclose(sum(answer.probabilities.values()), 1, abs_tol=1e-5)
    assert answer.answer == max(answer.probabilities, key=answer.probabilities.get)
    assert answer.picture.shape == (40, 40, 3) and answer.picture.dtype == np.uint8
    assert answer.views.shape == (1, 40, 40, 3)
    assert answer._repr_png_().startswith(b"\x89PNG")
    direct = run.ask(example, "direct")
    assert direct.picture is None and direct._repr_png_().startswith(b"\x89PNG")


def test_ask_imagines_by_itself_where_it_can(world):
    """A question in use has no true picture to read: never by the oracle, if it is not named."""
    run = load_run("runs/good")
    example = make(TASKS["pt"], "test", 1)
    other = example._replace(imagination=make(TASKS["pt"], "test", 2).imagination[1:])
    one, two = run.ask(example), run.ask(other)
    assert one.picture is not None and one.probabilities == two.probabilities


def test_ask_refuses_what_was_not_trained(world):
    run, example = load_run("runs/good"), make(TASKS["pt"], "test", 1)
    for name in ("think", "dream"):
        with pytest.raises(UserError, match=f"by: direct, imagine, oracle, not by '{name}'"):
            run.ask(example, name)
    config = replace(run.config, supervision="think imagine answer")
    with pytest.raises(UserError, match="none of DECODES"):
        run._replace(config=config).ask(example)


def test_load_run_gives_back_what_was_trained(run):
    loaded = load_run(str(run))
    saved = checkpoint_of(run)
    assert isinstance(loaded, Run) and loaded.config == Config(**saved["config"])
    assert not loaded.model.training and not loaded.tokenizer.training
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, saved["parts"][0][name])
    examples, data = loaded.prepare("test", 48)
    right = (loaded.decode(data, "imagine").answer == data.answer).float().mean().item()
    assert round(100 * right, 1) == metrics_of(run)["test"]["imagine"]["accuracy"]
    assert np.array_equal(examples.scene, make(TASKS["pt"], "test", 48).scene)


def test_load_run_refuses(world):
    for path, words in (("runs/none", "train.py"), ("runs", "no checkpoint.pt")):
        with pytest.raises(UserError, match=words):
            load_run(path)
    good = checkpoint_of(world / "runs/good")
    file = world / "runs/good/checkpoint.pt"
    for change, words in (
            (dict(step=4), "unfinished, at step 4 of 6"),
            (dict(config={**good["config"], "grid": 6}), "--grid 6"),
            (dict(config={"task": "pt"}), "not those of this version"),
            (dict(config={**good["config"], "task": "pet"}), "other tasks, words"),
            (dict(identity={**good["identity"], "fingerprint": "0"}), "other tasks, words"),
            (dict(config={**good["config"], "n_embd": 32}), "checkpoint.pt"),
            (dict(tokenizer={}), "checkpoint.pt"), (dict(format=FORMAT - 1), f"reads {FORMAT}")):
        content = {**good, **change}
        write(file, content)
        with pytest.raises(UserError, match=words):
            load_run("runs/good")
    save(file, **{k: v for k, v in good.items() if k != "format"})
    with pytest.raises(UserError, match="--task pet"):
        load_run("runs/good", task="pet")
    with pytest.raises(UserError, match="--tokenizer"):
        load_run("runs/good", tokenizer=f"{EXAMPLES}/fsq.py:FSQ")
    assert load_run("runs/good", task="pt", tokenizer="vq").config == Config(**good["config"])


def write(file, content):
    """Any content, a digest behind it: as `save`, but with a format of one's choice."""
    content, form = dict(content), checkpoint.FORMAT
    checkpoint.FORMAT = content.pop("format", form)
    try:
        save(file, **content)
    finally:
        checkpoint.FORMAT = form


MARKED = """
from pathlib import Path
with open(Path(__file__).with_name("executed"), "a") as file:
    file.write(__name__)
"""


def test_own_files_are_executed_only_when_they_are_named(world, quick):
    """A run that was trained with them does not bring them along."""
    mark = world / "executed"
    parts = ("turn_around.py", "losses.py", "scheduled_sampling.py", "fsq.py")
    for part in parts:
        shutil.copy(EXAMPLES / part, world / part)
        (world / part).write_text((world / part).read_text() + MARKED)
    code, _, err = call(f"train.py --task turn_around.py {TINY} --out runs/own "
                        "--loss +losses.py:latent=0.1 --inputs scheduled_sampling.py:random "
                        "--tokenizer fsq.py:FSQ")
    assert code == 0 and mark.exists(), err
    mark.unlink()
    refused("eval.py runs/own", 2, "runs/own", "--task turn_around.py")
    refused("eval.py runs/own --tokenizer fsq.py:FSQ", 2, "--task turn_around.py")
    refused("eval.py runs/own --task turn_around.py", 2, "--tokenizer fsq.py:FSQ")
    assert not mark.exists()                           # of two files, one was not named
    (world / "losses.py").unlink()
    (world / "scheduled_sampling.py").unlink()
    code, out, err = call("eval.py runs/own --task turn_around.py --tokenizer fsq.py:FSQ --n 20")
    assert code == 0 and mark.exists() and "dense imagine" in out, err
    mark.unlink()
    code, out, err = call("examples/compare.py runs/good runs/own")
    assert code == 0 and not mark.exists(), err


# --------------------------------------------------------------------- when the machine refuses
@contextmanager
def limit(what, n):
    """Lower a limit of this process for a while: not while pytest itself writes."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (n, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


def test_full_disk_keeps_the_last_good_checkpoint(world, quick):
    """A file may grow to 100 kB only: a checkpoint needs more. The line names it."""
    content = checkpoint_of(world / "runs/good")
    content.pop("format")
    before = snapshot(world)
    with limit(resource.RLIMIT_FSIZE, 100_000):
        with pytest.raises(OSError, match="checkpoint.pt"):
            save(world / "runs/good/checkpoint.pt", **content)
        refused(f"{TRAIN} --out runs/full", 1, "runs/full/checkpoint.pt", "room on the disk")
    assert all(p.suffix == ".part" for p in (world / "runs/full").iterdir())
    after = snapshot(world)
    assert {path: after[path] for path in before if path.is_file()} == {
        path: kept for path, kept in before.items() if path.is_file()}
    with limit(resource.RLIMIT_FSIZE, 10):
        refused("eval.py runs/good --splits test --n 10", 1, "runs/good/eval.json", "room on")
    code, _, err = call(f"{TRAIN} --out runs/full")    # room again: the same command goes on
    assert code == 0, err


SCARCE = """
import resource
import numpy.random
import data
from ipt_mini.errors import run_main
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2 ** 20, used + 2 ** 20))
run_main(data.main)
"""


def test_too_little_memory_says_what_to_lower(tmp_path):
    """In a process of its own: this one may hold memory that earlier tests have freed."""
    ran = subprocess.run(
        [sys.executable, "-c", SCARCE, *"--task mvc --grid 9 --n 10000000".split()], cwd=tmp_path,
        env={**ONE_THREAD, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 1 and ran.stderr.count("\n") == 1, ran.stderr
    assert "too little memory" in ran.stderr and "--n" in ran.stderr


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")])
def test_each_kind_of_it_is_one_line(error, capsys):
    def main():
        raise error
    with pytest.raises(SystemExit) as end:
        run_main(main)
    err = capsys.readouterr().err
    assert end.value.code == 1 and "--batch-size" in err and err.count("\n") == 1


@pytest.mark.parametrize("error", [
    RuntimeError("shapes (2, 3) and (4,)"), RuntimeError("out of memory is what this is about"),
    RuntimeError("CUDA error: an illegal memory access was encountered"), ValueError("memory"),
    KeyError("memory"), AssertionError("allocate")])
def test_a_bug_keeps_its_traceback(error):
    def main():
        raise error
    with pytest.raises(type(error)) as raised:
        run_main(main)
    assert raised.value is error


def test_each_mistake_is_one_line_whatever_is_in_it(capsys):
    """Line breaks and escape sequences, which a file may hold, are escaped."""
    def main():
        raise UserError("a\nerror: b\r\x1b[31mred\u2028\x00 é ✓", 1)
    with pytest.raises(SystemExit) as end:
        run_main(main)
    assert end.value.code == 1
    assert capsys.readouterr().err == "error: a\\nerror: b\\r\\x1b[31mred\\u2028\\x00 é ✓\n"


# ---------------------------------------------------------------------- what training may run into
BAD_TERMS = """
def root(batch):
    x = batch.logits.mean()
    return (x - x).sqrt()              # its gradient is no number

def nothing(batch):
    return batch.logits.mean() * float("nan")
"""


@pytest.mark.parametrize("term, says", [
    ("root", "weights: no number"), ("nothing", "nothing, weights: no number")])
def test_no_number_never_reaches_a_checkpoint(world, quick, term, says):
    (world / "bad.py").write_text(BAD_TERMS)
    refused(f"{TRAIN} --eval-every 1 --out runs/nan --loss answer=1,bad.py:{term}=1", 1, says,
            "before step 1", "--muon-lr")
    assert not (world / "runs/nan/checkpoint.pt").exists()


def test_no_number_after_a_good_checkpoint_leaves_it_as_it_is(world, quick):
    (world / "late.py").write_text(
        "calls = []\n\n\ndef late(batch):\n    calls.append(0)\n"
        "    bad = float('nan') if len(calls) > 3 else 1.0\n    return batch.logits.mean() * bad\n")
    command = f"{TRAIN} --out runs/late --loss answer=1,late.py:late=1"
    refused(command, 1, "before step 4", "runs/late")
    saved = checkpoint_of(world / "runs/late")
    assert saved["step"] == 2 and len(saved["log"]) == 1
    for state in saved["parts"][0].values():
        assert torch.isfinite(state).all()


def test_train_from_a_notebook_with_a_term_of_ones_own(world, quick, monkeypatch):
    def mine(batch):
        return batch.logits.square().mean()
    monkeypatch.setitem(LOSSES, "mine", mine)
    config = {**asdict(Config()), **checkpoint_of(world / "runs/good")["config"],
              "loss": "+mine=0.2@0.3:0.5@0.6", "name": "notebook"}
    folder = training.train(Config(**config))
    losses = metrics_of(world / folder)["log"][0]["losses"]
    assert set(losses) == {"answer", "imagination", "compass", "mine"}
    before = snapshot(world / folder)
    assert training.train(Config(**config)) == folder

    def mine(batch):  # noqa: F811: an edited cell
        return batch.logits.abs().mean()
    monkeypatch.setitem(LOSSES, "mine", mine)
    with pytest.raises(UserError, match="other settings or files.*'?mine"):
        training.train(Config(**config))
    assert snapshot(world / folder) == before


def test_freed_memory_is_kept_where_the_system_can(monkeypatch):
    asked = {}
    monkeypatch.setattr("sys.platform", "linux")
    for libc in (SimpleNamespace(), SimpleNamespace(mallopt=asked.__setitem__)):
        assert not asked
        monkeypatch.setattr("ctypes.CDLL", lambda name: libc)
        keep_freed_memory()
    assert asked == {-3: 2 ** 25, -1: 2 ** 31 - 1}


def test_into_a_full_device(world):
    with open("/dev/full", "w") as full:
        ran = script("data.py --n 200 --task mvc", world, code=1, capture_output=False,
                     stdout=full, stderr=-1)
    assert ran.stderr.count("\n") == 1 and "the output: No space left on device" in ran.stderr

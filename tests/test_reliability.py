"""Same command, same bits; two runs in one folder; a machine that refuses what is asked of it."""
import copy
import hashlib
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY
from test_bad_input import call, snapshot

import eval
import train
from ipt_mini import run as run_module
from ipt_mini.config import Config, run_main
from ipt_mini.run import FORMAT, locked, new_model, save

TRAIN = "train.py --task pt " + " ".join(TINY)


@pytest.fixture
def world(run, tmp_path, monkeypatch):
    """A folder with the tiny run's tokenizer, and the run itself as runs/good; we are in it."""
    (tmp_path / "runs").mkdir()
    shutil.copytree(run, tmp_path / "runs/good")
    for tokenizer in run.parent.glob("tokenizer-*.pt"):
        shutil.copy(tokenizer, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    """What must be equal in two runs: all but seconds, the machine, and where the run lies."""
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    metrics = json.loads((folder / "metrics.json").read_text())
    for d in (saved["config"], metrics["config"]):
        del d["name"], d["out"]
    for d, keys in ((saved, ["seconds"]), (metrics, ["minutes", "machine"])):
        for key in keys:
            del d[key]
    for row in saved["log"] + metrics["log"]:
        del row["seconds"]
    rows = [row.split(",") for row in (folder / "log.csv").read_text().splitlines()]
    pictures = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.png")}
    flat = {f"{part} {k}": v.numpy().tobytes() for part in ("model", "tokenizer") for k, v in saved.pop(part).items()}
    saved["sums"] = saved["sums"].tolist()
    return flat, saved, metrics, [row[:1] + row[2:] for row in rows], pictures


# ---------------------------------------------------------------------------------------- determinism
def random_states():
    return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()


def test_same_bits_whatever_was_generated_before_and_no_global_random_state(run, world, monkeypatch, capsys):
    torch.rand(7), np.random.rand(7), random.random()
    before = random_states()
    monkeypatch.setattr(sys, "argv", [*TRAIN.split(), "--out", "runs/again"])
    run_main(train.main)
    out, err = capsys.readouterr()
    assert random_states() == before
    assert "\r" not in out + err and len(err.splitlines()) == 1        # no progress bar into a file
    assert contents(world / "runs/again") == contents(run)


def test_first_weights_are_those_of_the_seed():
    torch.manual_seed(3)
    config = Config(seed=3)
    by_hand = run_module.Model(config, run_module.N_WORDS + run_module.Tokenizer.n_codes)
    model = new_model(config)
    for a, b in zip(by_hand.parameters(), model.parameters()):
        assert torch.equal(a, b)
    drawn = model.token.weight.std(), model.row.weight.std(), model.head.weight.std()
    assert [x.item() for x in drawn] == pytest.approx(
        [1, 0.3, config.n_embd ** -0.5], rel=0.1)
    assert not model.blocks[0].attention.out.weight.any()


class Killed(BaseException):
    """As sudden as kill -9: nothing catches it."""


def test_killed_in_the_middle_of_saves_and_continued_it_ends_as_if_unbroken(run, world, monkeypatch):
    replace, calls, deaths = os.replace, [], []

    def dying(source, target):
        calls.append(target.name)
        if len(calls) == 5:                                            # in every call of the script
            raise Killed
        replace(source, target)

    monkeypatch.setattr(train, "SAVE_EVERY", -1)                       # after every step
    monkeypatch.setattr(sys, "argv", [*TRAIN.split(), "--out", "runs/killed"])
    monkeypatch.setattr(os, "replace", dying)
    for _ in range(4):
        calls.clear()
        try:
            run_main(train.main)
        except Killed:
            deaths.append(calls[-1])
            (world / "runs/killed/checkpoint.pt.1.part").write_bytes(b"left behind")
    assert deaths == ["checkpoint.pt", "log.csv", "metrics.json"]
    assert contents(world / "runs/killed") == contents(run)
    assert not list((world / "runs/killed").glob("*.part"))


def test_figures_of_another_training_are_never_told_as_those_of_this_one(world):
    """Without the checkpoint that they belong to, they go; the same command trains anew."""
    (world / "runs/good/checkpoint.pt").unlink()
    (world / "runs/good/eval.json").write_text("{}")
    config = Config(**json.loads((world / "runs/good/config.json").read_text()))
    with run_module.open_folder(train.replace(config, out="runs/good")) as (folder, saved):
        assert saved is None and not (folder / "metrics.json").exists() and not (folder / "eval.json").exists()


# -------------------------------------------------------------------------------- two runs in one folder
def test_second_run_in_a_folder_is_refused(world, monkeypatch):
    before = snapshot(world)
    with locked(world / "runs/good"):
        for more in ("", " --force"):
            code, out, err = call(TRAIN + " --out runs/good" + more)
            assert code == 1 and out == "" and err.count("\n") == 1 and before == snapshot(world)
            assert "runs/good: another run is at work" in err and "--name" in err
    monkeypatch.setattr(sys, "argv", [*TRAIN.split(), "--out", "runs/good"])
    run_main(train.main)                                               # it is free again
    assert before == snapshot(world)


def test_a_killed_run_holds_its_folder_no_longer(world):
    code = ("import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); "
            "print(1, flush=True); time.sleep(99)")
    process = subprocess.Popen([sys.executable, "-c", code, "runs/good"], stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(run_module.UserError), locked(world / "runs/good"):
        pass
    process.kill()
    process.wait()
    with locked(world / "runs/good"):
        pass


# ---------------------------------------------------------------------------------------------- resources
@contextmanager
def limit(what, n):
    """Lower a limit of this process for a while: not while pytest itself writes."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (n, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


def test_full_disk_keeps_the_last_good_checkpoint(world, monkeypatch):
    """A file may grow to 100 kB only: a checkpoint needs more."""
    file = world / "runs/good/checkpoint.pt"
    good = torch.load(file, weights_only=True)
    config = {**good["config"], "name": "", "out": "runs/good"}
    save(file, **{k: v for k, v in {**good, "config": config}.items() if k != "format"})
    monkeypatch.setattr(train, "SAVE_EVERY", -1)
    before = snapshot(world)
    with limit(resource.RLIMIT_FSIZE, 100_000):
        with pytest.raises(OSError):
            save(file, **{k: v for k, v in good.items() if k != "format"})
        code, _, err = call(TRAIN + " --out runs/full")
    assert code == 1 and err.splitlines()[-1].startswith("error: ") and "room on the disk" in err
    assert "Traceback" not in err and {p.name for p in (world / "runs/full").iterdir()} == {"config.json"}
    with limit(resource.RLIMIT_FSIZE, 10):
        code, _, err = call("eval.py runs/good --splits test")
    assert code == 1 and err.count("\n") == 1 and "room on the disk" in err
    shutil.rmtree(world / "runs/full")
    assert before == snapshot(world)


def test_too_little_memory_says_what_to_lower(world):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    with limit(resource.RLIMIT_AS, used + 30 * 2 ** 20):
        code, _, err = call("data.py --n 10000000")
    assert code == 1 and err.count("\n") == 1 and "too little memory" in err and "--n" in err


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")])
def test_every_kind_of_it(error, capsys):
    def main():
        raise error
    with pytest.raises(SystemExit) as end:
        run_main(main)
    assert end.value.code == 1 and "--batch-size" in capsys.readouterr().err


def test_a_bug_is_no_mistake_of_the_user():
    def main():
        raise RuntimeError("shapes (2, 3) and (4,)")
    with pytest.raises(RuntimeError):
        run_main(main)


def test_gradient_that_is_no_number_never_reaches_the_checkpoint(world, monkeypatch):
    (world / "nan.py").write_text("def root(batch):\n    x = batch.logits.mean()\n    return (x - x).sqrt()\n")
    monkeypatch.setattr(train, "SAVE_EVERY", -1)
    code, _, err = call(TRAIN + " --out runs/nan --loss answer=1,nan.py:root=1")
    assert code == 1 and "a weight" in err and "step 1" in err and "--loss" in err
    assert not (world / "runs/nan/checkpoint.pt").exists()


def test_another_run_without_a_checkpoint_is_left_alone(world):
    folder = world / "another"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(asdict(Config(task="mvc", steps=7))))
    (folder / "metrics.json").write_text("{}")
    code, _, err = call(TRAIN + " --out another")
    assert code == 2 and "task mvc there, pt here" in err and "--force" in err
    assert (folder / "metrics.json").exists()


def test_foreign_tokenizer_is_left_alone(world):
    (world / "other").mkdir()
    file = world / "other/tokenizer-g5-s0-t320.pt"
    file.write_bytes(b"mine")
    code, out, err = call(TRAIN + " --out other/run")
    assert code == 1 and str(file.relative_to(world)) in err and "delete it" in err and file.read_bytes() == b"mine"
    torch.save(dict(format=FORMAT - 1, tokenizer={}), file)          # of an earlier version: --force would not help
    code, out, err = call(TRAIN + " --out other/run --force")
    assert code == 1 and f"format {FORMAT - 1}" in err and "delete it" in err and "--force" not in err


def test_terminal_without_unicode(world, monkeypatch):
    shutil.copytree("runs/good", "runs/seed1")
    metrics = (world / "runs/seed1/metrics.json").read_text().replace('"seed": 0', '"seed": 1')
    (world / "runs/seed1/metrics.json").write_text(metrics)
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["eval.py", "runs/good", "runs/seed1"])
    run_main(eval.main)
    assert b" ? " in out.buffer.getvalue() and " ± " in (world / "runs/compare.md").read_text("utf-8")


def real(command, world, **more):
    """The script in a process of its own."""
    name, *args = command.split()
    return subprocess.run([sys.executable, str(ROOT / name), *args], cwd=world, text=True, timeout=120, **{
        "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": {**os.environ, "OMP_NUM_THREADS": "1"}, **more})


def test_without_a_display_and_into_a_full_device(world):
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"MPLBACKEND": "TkAgg"}
    assert real("data.py --n 200 --task mvc", world, env=environment).returncode == 0
    assert (world / "preview-mvc.png").stat().st_size > 1000
    with open("/dev/full", "w") as full:
        ran = real("data.py --n 200 --task mvc", world, stdout=full)
    assert ran.returncode == 1 and ran.stderr == (
        "error: the output: No space left on device; choose a place that is there, with room on the disk, and yours "
        "to write\n")


@pytest.mark.parametrize("command, code, says", [
    ("train.py --task maze", 2, "--task 'maze'"), ("eval.py runs/none", 2, "runs/none"),
    ("data.py --grid 6", 2, "--grid 6")])
def test_in_a_process_of_its_own(world, command, code, says):
    before = snapshot(world)
    ran = real(command, world)
    assert ran.returncode == code and ran.stdout == "" and ran.stderr.count("\n") == 1 and says in ran.stderr
    assert before == snapshot(world)


# ------------------------------------------------------------------------------------ checkpoints tampered with
def entries(value, path=(), depth=3):
    """Paths to the entries of nested dicts and lists, a few of each."""
    keys = ()
    if isinstance(value, dict):
        keys = list(value)[:8 if depth == 3 else 2]
    elif isinstance(value, list):
        keys = range(min(2, len(value)))
    for key in keys if depth else ():
        yield (*path, key)
        yield from entries(value[key], (*path, key), depth - 1)


def test_no_wrong_entry_of_a_checkpoint_ends_in_a_traceback(world, monkeypatch):
    """Each entry in turn is replaced by something else, and the training called to go on from there."""
    middle = []
    monkeypatch.setattr(train, "SAVE_EVERY", -1)
    monkeypatch.setattr(train, "save", lambda path, **content: (
        middle.append(copy.deepcopy(content)), save(path, **content)))
    monkeypatch.setattr(train, "test", lambda *_: None)
    config = Config(**json.loads((world / "runs/good/config.json").read_text()) | {"out": "runs/tampered"})
    train.train(config)
    good, refused = middle[3], 0                                       # after step 4 of 6
    paths = [path for path in entries(good) if path[0] != "config"]
    assert len(paths) > 20 and len(middle) == 6
    for path in paths:
        for wrong in (None, "x", -1, [1], torch.zeros(3, 3)):
            content = entry = copy.deepcopy(good)
            for key in path[:-1]:
                entry = entry[key]
            entry[path[-1]] = wrong
            save(world / "runs/tampered/checkpoint.pt", **content)
            try:
                train.train(config)
            except run_module.UserError as error:
                assert "checkpoint.pt" in str(error) and error.code == 1
                refused += 1
    assert refused > 4 * len(paths)                                    # a number may stand in for another

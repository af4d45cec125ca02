"""Faults that were found once: each has a test, by the real scripts."""
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import EXAMPLES, ONE_THREAD, ROOT, TINY, TRAIN, call, refused, script, snapshot
from test_bad_input import sealed
from test_run import contents, limit, metrics_of

from ipt_mini.checkpoint import load
from ipt_mini.errors import UserError

pytestmark = pytest.mark.slow


# ------------------------------------------------------------- (a) nothing is ever deleted
def test_a_folder_that_is_no_run_is_left_alone(world, quick):
    (world / "mine/below").mkdir(parents=True)
    (world / "mine/below/notes.txt").write_text("mine")
    (world / "mine/checkpoint.pt.1.part").write_text("a film that is still coming")
    before = snapshot(world)
    refused(f"{TRAIN} --out mine", 2, "mine: not empty", "--out")
    refused("eval.py mine", 2, "mine")
    assert snapshot(world) == before


def test_a_damaged_tokenizer_leaves_the_run_beside_it(world, quick):
    """The run brings its own tokenizer; only a new run is refused."""
    (tokenizer,) = world.glob("runs/tokenizer-*.pt")
    tokenizer.write_bytes(tokenizer.read_bytes()[:-100])
    before = snapshot(world / "runs")
    assert call("eval.py runs/good --splits test --n 10")[0] == 0
    (world / "runs/good/eval.json").unlink()
    assert call(f"{TRAIN} --out runs/good")[0] == 0
    refused(f"{TRAIN} --out runs/new", 1, tokenizer.name, "move it away")
    after = snapshot(world / "runs")
    (world / "runs/new").rmdir()                       # nothing was in it
    assert {k: v for k, v in after.items() if k.name not in ("new", "good")} == {
        k: v for k, v in before.items() if k.name != "good"}


def test_a_damaged_checkpoint_is_never_advised_to_be_deleted(world, quick):
    file = world / "runs/good/checkpoint.pt"
    file.write_bytes(file.read_bytes()[:-1])
    before = snapshot(world)
    for command in ("eval.py runs/good", f"{TRAIN} --out runs/good", "eval.py runs/good --replace"):
        line = refused(command, 1, "runs/good/checkpoint.pt", "--name")
        assert "delete" not in line and "remove" not in line
    assert snapshot(world) == before


# ------------------------------------------------------------- (b) no damage is silent
def damages(content):
    """(what, damaged bytes): one bit at 200 places, the last bits, and a block of zeros."""
    rng = random.Random(0)
    places = [rng.randrange(len(content)) for _ in range(200)]
    for place in [*places, 0, len(content) - 1, len(content) - 32, len(content) - 33]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        yield f"bit at {place}", bytes(damaged)
    half = len(content) // 2
    for at in (0, half, len(content) - 4096):
        damaged = content[:at] + bytes(4096) + content[at + 4096:]
        assert damaged != content
        yield f"zeros at {at}", damaged


def test_one_flipped_bit_of_a_checkpoint_is_noticed(world, quick):
    file = world / "runs/good/checkpoint.pt"
    content = file.read_bytes()
    for number, (what, damaged) in enumerate(damages(content)):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            load(file, "")
        refused("eval.py runs/good", 1, "runs/good/checkpoint.pt", "damaged")
        if number % 20 == 0:
            refused(f"{TRAIN} --out runs/good", 1, "runs/good/checkpoint.pt", "damaged")
    file.write_bytes(content)
    assert call("eval.py runs/good --n 10")[0] == 0


def test_one_flipped_bit_of_a_tokenizer_is_noticed(world, quick):
    (file,) = world.glob("runs/tokenizer-*.pt")
    content = file.read_bytes()
    for number, (what, damaged) in enumerate(damages(content)):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            load(file, "")
        if number % 20 == 0:
            refused(f"{TRAIN} --out runs/new", 1, file.name, "damaged")
    assert file.read_bytes() == damaged


# ------------------------------------------------------------- (c) own files that change
TERM = "def term(batch):\n    return batch.logits.square().mean()\n"


def test_an_own_file_that_was_edited_is_noticed(world, quick, monkeypatch):
    """By a finished run and by one that is half-way; undone, both go on."""
    inputs = "def inputs(model, tokens, pose, layout, rng):\n    return tokens\n"
    (world / "term.py").write_text(TERM)
    (world / "inputs.py").write_text(inputs)
    task = (EXAMPLES / "turn_around.py").read_text()
    (world / "task.py").write_text(task)
    command = f"{TRAIN} --task task.py --loss +term.py:term=0.1 --inputs inputs.py:inputs"
    assert call(f"{command} --out runs/done")[0] == 0
    with monkeypatch.context() as m:
        replace, saves = os.replace, []

        def stop(*paths):
            replace(*paths)
            saves.append(paths)
            if len(saves) == 1:
                raise KeyboardInterrupt

        m.setattr(os, "replace", stop)
        refused(f"{command} --out runs/half", 130, "stopped")
    assert load(world / "runs/half/checkpoint.pt", "")["step"] == 2
    for name, text in (("term.py", TERM), ("inputs.py", inputs), ("task.py", task)):
        (world / name).write_text(text + "\n# edited\n")
        before = snapshot(world)
        for folder in ("runs/done", "runs/half"):
            refused(f"{command} --out {folder}", 2, name, "there", "here", "--name")
        assert snapshot(world) == before
        (world / name).write_text(text)
    for folder in ("runs/done", "runs/half"):
        assert call(f"{command} --out {folder}")[0] == 0
    assert contents(world / "runs/half") == contents(world / "runs/done")


def test_own_files_of_one_name_in_two_folders_stay_apart(world, quick):
    for folder, factor in (("a", 1), ("b", 2)):
        (world / folder).mkdir()
        (world / folder / "term.py").write_text(TERM.replace("mean()", f"mean() * {factor}"))
        task = (EXAMPLES / "turn_around.py").read_text()
        (world / folder / "task.py").write_text(f"{task}\n# {folder}\n")
    for kind, more in (("loss", "--loss +{}/term.py:term=0.1"), ("task", "--task {}/task.py")):
        assert call(f"{TRAIN} --out runs/{kind} {more.format('a')}")[0] == 0
        refused(f"{TRAIN} --out runs/{kind} {more.format('b')}", 2, kind, "--name")
    code, _, err = call(f"{TRAIN} --out runs/two --loss +a/term.py:term=0.1,b/term.py:term=0.1")
    assert code == 2 and "twice" in err                # one column of the log for each


def test_two_tokenizers_of_one_file_stay_apart(world, quick):
    """They have the same weights' shapes, and one of them must not get those of the other."""
    (world / "two.py").write_text(
        "from ipt_mini.tokenizer import Tokenizer\n\n\nclass A(Tokenizer):\n    beta = 0.25\n\n\n"
        "class B(Tokenizer):\n    beta = 2.0\n")
    states = {}
    for name in "AB":
        assert call(f"{TRAIN} --out runs/{name} --tokenizer two.py:{name}")[0] == 0
        states[name] = load(world / f"runs/{name}/checkpoint.pt", "")["tokenizer"]
    assert not all(torch.equal(states["A"][k], states["B"][k]) for k in states["A"])


# ------------------------------------------------------------- (d) code that has changed
@pytest.mark.parametrize("what, file, right, wrong", [
    ("a repainted glyph", "ipt_mini/tasks/grid.py", '"x": "c3e7', '"x": "c3e6'),
    ("a reordered vocabulary", "ipt_mini/tasks/words.py",
     "nothing left right", "left right nothing"),
    ("a longer vocabulary", "ipt_mini/tasks/words.py", "sees new", "sees new more")])
def test_changed_pictures_and_words_meet_an_old_run(world, what, file, right, wrong):
    """The run is refused; a tokenizer that would see other pictures is made anew under another
    name, one that only the words have changed for is kept."""
    copy = world / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "runs", "__pycache__"))
    source = (copy / file).read_text()
    assert source.count(right) == 1
    (copy / file).write_text(source.replace(right, wrong))
    before = snapshot(world / "runs")

    def changed(command, code):
        name, *args = command.split()
        ran = subprocess.run([sys.executable, str(copy / name), *args], cwd=world, text=True,
                             capture_output=True, env=ONE_THREAD)
        assert ran.returncode == code, ran.stderr
        return ran.stderr

    err = changed("eval.py runs/good", 1)
    assert err.count("\n") == 1 and "runs/good: trained by code with other" in err
    err = changed(f"{TRAIN} --out runs/good", 2)
    assert err.count("\n") == 1 and "fingerprint" in err and "--name" in err
    assert snapshot(world / "runs") == before
    changed(f"{TRAIN} --out runs/anew", 0)
    after = snapshot(world / "runs")
    assert {path: after[path] for path in before} == before
    tokenizers = list(world.glob("runs/tokenizer-*.pt"))
    assert len(tokenizers) == (2 if "grid.py" in file else 1)


# ------------------------------------------------------------- (f) JSON is JSON
def no_odd_number(text):
    raise AssertionError(f"{text} is no JSON")


def test_json_of_all_kinds_of_runs_has_no_odd_numbers(world, quick):
    """With so few questions that some kinds have none of them."""
    few = TINY.replace("--n-test 48", "--n-test 16")
    for supervision in ("mixed", "text_cot", "think imagine answer"):
        command = f"train.py --task pet --supervision '{supervision}' {few} --out runs/few"
        assert call(command)[0] == 0
        decode = f"--decode {EXAMPLES}/interleaved.py:interleaved" * (" imagine " in supervision)
        assert call(f"eval.py runs/few --n 1 {decode}")[0] == 0
        if supervision == "mixed":
            assert call("eval.py runs/few --replace --n 1")[0] == 0
        for file in (world / "runs/few").glob("*.json"):
            json.loads(file.read_text(), parse_constant=no_odd_number)
        shutil.move("runs/few", f"runs/few-{supervision.replace(' ', '-')}")
    for file in world.glob("runs/*/*.json"):
        assert "NaN" not in file.read_text() and "Infinity" not in file.read_text()


# ------------------------------------------------------------- (g), (h), (i) how it is told
def test_a_mention_of_memory_in_a_script_keeps_its_traceback(world):
    code = (f"import sys; sys.path.insert(0, {str(ROOT)!r}); import data\n"
            "def make(*args):\n    raise RuntimeError('an illegal memory access')\n"
            "data.make = make\nsys.argv = ['data.py']\ndata.run_main(data.main)\n")
    ran = subprocess.run([sys.executable, "-c", code], cwd=world, text=True, capture_output=True,
                         env=ONE_THREAD)
    assert ran.returncode == 1 and "Traceback" in ran.stderr
    assert "RuntimeError: an illegal memory access" in ran.stderr


def test_a_full_disk_names_the_file(world, quick):
    for tokenizer in world.glob("runs/tokenizer-*.pt"):
        tokenizer.unlink()
    with limit(resource.RLIMIT_FSIZE, 100_000):
        refused(f"{TRAIN} --out runs/full", 1, "runs/tokenizer-g5", "room on the disk")
    code, _, err = call(f"{TRAIN} --out runs/full")
    assert code == 0, err


def test_a_full_disk_names_the_picture(world):
    with limit(resource.RLIMIT_FSIZE, 5_000):
        refused("data.py --n 100", 1, "preview-pt.png", "room on the disk")


def test_text_of_files_is_told_in_one_line(world, quick):
    """Line breaks in names, settings and errors that come from files."""
    good = load(world / "runs/good/checkpoint.pt", "")
    evil = "a\nerror: all is well\r\x1b[2J"
    cases = [
        dict(config={**good["config"], "task": f"{evil}.py"}),
        dict(config={**good["config"], "grid": evil}),
        dict(config={**good["config"], "tokenizer": evil}),
        dict(identity={**good["identity"], "loss": evil}),
        dict(parts=[{**good["parts"][0], evil: torch.zeros(1)}])]
    for case in cases:
        (world / "runs/good/checkpoint.pt").write_bytes(sealed({**good, **case}))
        command = f"{TRAIN} --out runs/good" if "identity" in case else "eval.py runs/good"
        ended, out, err = call(command)
        assert ended in (1, 2) and err.count("\n") == 1 and err.startswith("error: "), err
        assert "\x1b" not in err and "\r" not in err
    (world / "evil.py").write_text(f"raise ValueError({evil!r})\n")
    refused("data.py --task evil.py", 1, "evil.py", "a\\nerror: all is well\\r\\x1b[2J")


# ------------------------------------------------------------- (j) signals, streams, odd files
def popen(command, cwd, **more):
    name, *args = command.split()
    settings = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ONE_THREAD)
    return subprocess.Popen([sys.executable, str(ROOT / name), *args], cwd=cwd,
                            **{**settings, **more})


def interrupted(process):
    """Send Ctrl-C; the end has to be one line and code 130, which for Python's own way out is
    death by the signal: a shell shows 130 for both."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGINT), (process.returncode, err)
    assert err.splitlines()[-1].startswith("error: stopped"), err
    assert "Traceback" not in err and err.count("error:") == 1, err


@pytest.mark.parametrize("name", ["train.py", "eval.py runs/good", "data.py"])
@pytest.mark.parametrize("library", ["numpy", "libtorch"])
def test_ctrl_c_while_importing(world, name, library):
    """As soon as the process has begun to load a library, early and late in its imports."""
    process = popen(name, world)
    maps, began = f"/proc/{process.pid}/maps", time.monotonic()
    while library not in open(maps).read() and time.monotonic() < began + 20:
        assert process.poll() is None
        time.sleep(0.002)
    interrupted(process)


@pytest.mark.parametrize("seconds", [0.2, 0.3])
def test_ctrl_c_in_the_first_moments(world, seconds):
    process = popen("train.py", world)
    time.sleep(seconds)
    interrupted(process)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("name", [
    "train.py --task maze", "data.py --n 100", "eval.py runs/good --n 10"])
def test_closed_streams(world, name, closed):
    """No traceback, and an exit code that says what happened."""
    script_name, *args = name.split()
    command = f"exec {sys.executable} {ROOT / script_name} {' '.join(args)} {closed}"
    ran = subprocess.run(["bash", "-c", command], cwd=world, text=True, capture_output=True,
                         env=ONE_THREAD, timeout=120)
    assert "Traceback" not in ran.stderr + ran.stdout
    if closed == ">&-":
        assert ran.returncode in (1, 2) and ran.stderr.count("\n") == 1, ran.stderr
    elif closed == "2>&-":
        assert ran.returncode == (2 if "maze" in name else 0)
    else:
        assert ran.returncode in (1, 2)


def test_a_reader_that_leaves_is_no_error(world):
    command = f"{sys.executable} {ROOT / 'data.py'} --n 100 | head -c 1; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], cwd=world, text=True, capture_output=True,
                         env=ONE_THREAD, timeout=120)
    assert ran.stderr == "" and ran.returncode in (0, 1)


@pytest.mark.parametrize("where", [
    "runs/good/checkpoint.pt", "runs/good/metrics.json", "tokenizer"])
def test_a_pipe_in_place_of_a_file_does_not_hang(world, where):
    (tokenizer,) = world.glob("runs/tokenizer-*.pt")
    path = tokenizer if where == "tokenizer" else world / where
    path.unlink()
    os.mkfifo(path)
    out = "runs/new" if where == "tokenizer" else "runs/good"
    for command in (f"{TRAIN} --out {out}", "eval.py runs/good --n 10",
                    "examples/compare.py runs/good runs/good"):
        name, *args = command.split()
        ran = subprocess.run([sys.executable, str(ROOT / name), *args], cwd=world, text=True,
                             capture_output=True, env=ONE_THREAD, timeout=60)
        assert "Traceback" not in ran.stderr
        if ran.returncode:
            assert ran.stderr.splitlines()[-1].startswith("error: ") and ran.returncode in (1, 2)


@pytest.mark.parametrize("inputs", ["", f"--inputs {EXAMPLES}/scheduled_sampling.py:own"])
def test_diverging_training_keeps_the_last_good_checkpoint(world, quick, inputs):
    """Weights that grow a hundredfold in each step. What was saved is finite."""
    command = (f"{TRAIN} --out runs/wild {inputs} --weight-decay 1e4 --steps 400 --eval-every 1 "
               "--cooldown 0")
    line = refused(command, 1, "no number any more", "runs/wild", "--muon-lr")
    saved = load(world / "runs/wild/checkpoint.pt", "")
    assert f"before step {saved['step'] + 1};" in line
    for tensor in saved["parts"][0].values():
        assert torch.isfinite(tensor).all()
    for row in saved["log"]:
        assert all(np.isfinite(list(row["losses"].values())))
    before = snapshot(world)
    assert refused(command, 1, "no number any more") == line           # and the same again
    assert snapshot(world) == before


LONGER = f"train.py --task pt {TINY} --steps 400 --eval-every 20 --out "


@pytest.fixture(scope="module")
def unbroken(run, tmp_path_factory):
    """The folder of a run of 400 steps that nothing interrupted."""
    here = tmp_path_factory.mktemp("unbroken")
    script(LONGER + "runs/unbroken", here)
    return here / "runs/unbroken"


def training(world, folder):
    """Start the longer run in this folder, and come back when it has saved a checkpoint."""
    file, began = world / folder / "checkpoint.pt", time.monotonic()
    before = file.stat().st_mtime_ns if file.exists() else 0
    process = popen(LONGER + folder, world)
    while not file.exists() or file.stat().st_mtime_ns == before:
        assert process.poll() is None and time.monotonic() < began + 120
        time.sleep(0.005)
    return process


def test_ctrl_c_in_training_then_the_same_command_gives_the_same_bits(world, unbroken):
    interrupted(training(world, "runs/stopped"))
    saved = load(world / "runs/stopped/checkpoint.pt", "")
    assert 0 < saved["step"] < 400 and not (world / "runs/stopped/metrics.json").exists()
    refused("eval.py runs/stopped", 2, f"unfinished, at step {saved['step']} of 400")
    script(LONGER + "runs/stopped", world)
    assert contents(world / "runs/stopped") == contents(unbroken)


def test_killed_again_and_again_it_ends_with_the_same_bits(world, unbroken):
    """kill -9, each time at another moment after a checkpoint."""
    for wait in (0.0, 0.02, 0.1):
        process = training(world, "runs/killed")
        time.sleep(wait)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert load(world / "runs/killed/checkpoint.pt", "")["step"] < 400
    script(LONGER + "runs/killed", world)
    assert contents(world / "runs/killed") == contents(unbroken)
    test = metrics_of(world / "runs/killed")["test"]
    assert test == metrics_of(unbroken)["test"]


def test_without_a_display_and_without_unicode(world):
    environment = {k: v for k, v in ONE_THREAD.items() if k != "DISPLAY"}
    environment.update(MPLBACKEND="TkAgg", PYTHONIOENCODING="ascii")
    script("data.py --n 200 --task mvc", world, env=environment)
    assert (world / "preview-mvc.png").read_bytes().startswith(b"\x89PNG")
    shutil.copytree("runs/good", "runs/été")
    ran = script("eval.py runs/été --n 10", world, env=environment)
    assert "runs/?t?" in ran.stdout


def test_unicode_and_spaces_in_paths(world, quick):
    code, out, err = call(f"{TRAIN} --out 'runs/été ✓'")
    assert code == 0 and "été ✓" in out, err
    code, out, err = call("eval.py 'runs/été ✓' --n 10")
    assert code == 0 and "été ✓" in out, err

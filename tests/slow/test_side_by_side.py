"""Seeds that are trained side by side, and one run in several processes."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ONE_THREAD, ROOT, TINY, call, script, stopped_at_save

from ipt_mini.checkpoint import load

pytestmark = pytest.mark.slow
COMMAND = f"train.py --task pet --supervision label {TINY}"


def test_a_run_that_fails_does_not_end_the_others(tmp_path):
    """With the same number of threads a run has the same bits as one alone."""
    other = tmp_path / "runs/pet-label-tiny-s1"
    other.mkdir(parents=True)
    (other / "mine.txt").write_text("not a run")
    ran = script(f"{COMMAND} --seeds 3 --jobs 2", tmp_path, code=1)
    assert ran.stderr.count("steps on cpu") == 2 and "Traceback" not in ran.stderr
    assert "not empty" in ran.stderr and "seed 1 (exit code 2)" in ran.stderr.splitlines()[-1]

    (other / "mine.txt").unlink()
    ran = script(f"{COMMAND} --seeds 3 --jobs 2", tmp_path)
    assert ran.stderr.count("steps on cpu") == 1 and ran.stdout.count("test direct") == 3
    script(f"{COMMAND} --seed 1 --out runs/alone", tmp_path)
    two, alone = (load(folder / "checkpoint.pt", "") for folder in (other, tmp_path / "runs/alone"))
    for name, tensor in alone["parts"][0].items():
        assert torch.equal(tensor, two["parts"][0][name]), name
    assert two["config"]["seed"] == 1 and len(list((tmp_path / "runs").glob("tokenizer-*"))) == 1


def test_ctrl_c_ends_all_in_one_line_and_keeps_what_they_saved(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), *COMMAND.split()[1:], "--seeds", "2",
               "--jobs", "2", "--steps", "2000", "--eval-every", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, env=ONE_THREAD, text=True,
                               stderr=subprocess.PIPE, start_new_session=True)
    files = [tmp_path / f"runs/pet-label-tiny-s{seed}/checkpoint.pt" for seed in (0, 1)]
    while not all(file.exists() for file in files):
        time.sleep(0.1)
        assert process.poll() is None, process.stderr.read()
    os.killpg(process.pid, signal.SIGINT)                # as a terminal does: to all of them
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert err.splitlines()[-1].startswith("error: stopped") and err.count("error:") == 1
    for file in files:
        assert 0 < load(file, "")["step"] < 2000


def torchrun(command, cwd, processes, code=0):
    """Run a script as `torchrun --nproc-per-node ...` does; its stderr."""
    script, *more = command.split()
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
             "--standalone", str(ROOT / script), *more]
    ran = subprocess.run(words, cwd=cwd, env=ONE_THREAD, text=True, capture_output=True,
                         timeout=300)
    assert bool(ran.returncode) == bool(code), f"exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout, ran.stderr


def test_two_processes_learn_what_one_does(tmp_path, monkeypatch):
    """The same loss curve within 1e-4 over 20 steps, with three terms of which one reads hidden
    states; stopped in the middle and resumed."""
    command = (f"train.py --task pt,mvc {TINY} --steps 20 --eval-every 5 "
               f"--loss +{ROOT}/examples/losses.py:latent=0.5")
    script(f"{command} --out runs/one", tmp_path)
    out, err = torchrun(f"{command} --out runs/two", tmp_path, 2)
    assert out.count("test-mvc imagine") == 1 and err.count("steps on cpu") == 1
    one, two = (json.loads((tmp_path / f"runs/{name}/metrics.json").read_text())["log"]
                for name in ("one", "two"))
    assert [row["step"] for row in two] == [5, 10, 15, 20]
    for a, b in zip(one, two):
        assert a["losses"] == pytest.approx(b["losses"], abs=1e-4)
        assert a["losses"].keys() == {"answer", "compass", "imagination", "latent"}
    assert one[-1]["losses"]["imagination"] < one[0]["losses"]["imagination"] - 0.5

    # What one process began, two bring to the same end.
    monkeypatch.chdir(tmp_path)
    with stopped_at_save(3):
        assert call(f"{command} --out runs/half")[0] == 130
    assert load(tmp_path / "runs/half/checkpoint.pt", "")["step"] == 10
    torchrun(f"{command} --out runs/half", tmp_path, 2)
    half = json.loads((tmp_path / "runs/half/metrics.json").read_text())["log"]
    assert half[-1]["losses"] == pytest.approx(one[-1]["losses"], abs=1e-4)


AVERAGES = """
import torch
from torch.nn import Parameter, ParameterList
from ipt_mini.parallel import average_gradients, join

rank, size = join("cpu")
model = ParameterList([Parameter(torch.zeros(n)) for n in (2, 3, 4)])
model[0].grad = torch.full((2,), 1.0 + 2 * rank)
if rank:                                      # as a term whose `if` depends on the rows
    model[1].grad = torch.full((3,), 2.0)
average_gradients(model)
found = [p.grad.tolist() for p in model]
assert found == [[2, 2], [1, 1, 1], [0, 0, 0, 0]], found
"""


def test_gradients_are_averaged_though_one_process_may_have_none(tmp_path):
    path = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
    (tmp_path / "averages.py").write_text(path + AVERAGES)
    torchrun(f"{tmp_path}/averages.py", tmp_path, 2)


def test_what_torchrun_cannot_do_is_said_in_one_line(tmp_path):
    for more, words in (("--seeds 2", "--seeds, --compare: one of them"),
                        ("--batch-size 15", "--batch-size 15: 2 processes cannot share it")):
        _, err = torchrun(f"{COMMAND} {more}", tmp_path, 2, code=2)
        assert f"error: {words}" in err

"""Seeds that are trained side by side."""
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ONE_THREAD, ROOT, TINY, script

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


def test_ctrl_c_ends_all_in_one_line_and_all_resume(tmp_path):
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

"""One tiny run for all tests of the scripts, made by the real command line."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)      # as in the scripts' own processes: bits are promised per thread count

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--steps 6 --eval-every 3 --n-train 64 --n-val 16 --n-test 48 --batch-size 16 --n-layer 1 "
        "--n-embd 16 --n-head 2 --tokenizer-steps 320 --name tiny").split()


def script(name, *args, cwd, code=0):
    ran = subprocess.run([sys.executable, str(ROOT / name), *map(str, args)], cwd=cwd, text=True,
                         capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert ran.returncode == code, f"exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran


@pytest.fixture(scope="session")
def here(tmp_path_factory):
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="session")
def run(here):
    """A tiny finished PT run."""
    script("train.py", "--task", "pt", *TINY, cwd=here)
    return here / "runs/pt-mixed-tiny-s0"

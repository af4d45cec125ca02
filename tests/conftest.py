"""What the tests share: a tiny finished run, and two ways to call a script."""
import importlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)      # as in `script`: bits are promised for one number of threads

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
sys.path.insert(0, str(ROOT))

TINY = ("--steps 6 --eval-every 2 --n-train 64 --n-val 16 --n-test 48 --batch-size 16 --n-layer 1 "
        "--n-embd 16 --n-head 2 --tokenizer-steps 100 --device cpu --name tiny")
TRAIN = f"train.py --task pt {TINY}"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


# ------------------------------------------------------------------------------ calling a script
def script(command, cwd, code=0, **more):
    """Run a script of the repository in a process of its own and check its exit code."""
    name, *args = shlex.split(command)
    settings = dict(capture_output=True, env=ONE_THREAD, timeout=300)
    ran = subprocess.run([sys.executable, str(ROOT / name), *args], cwd=cwd, text=True,
                         **{**settings, **more})
    assert ran.returncode == code, f"exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran


def call(command):
    """(exit code, stdout, stderr) of a script's main() in this process. A warning is a line of
    stderr, as it would be in a terminal."""
    from ipt_mini.errors import run_main
    name, *args = shlex.split(command)
    module = name.removesuffix(".py").replace("/", ".")
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    before, sys.argv, code = sys.argv, [name, *args], 0
    with redirect_stdout(out), redirect_stderr(err), \
            warnings.catch_warnings(record=True) as warned:
        try:
            run_main(importlib.import_module(module).main)
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv = before
    for warning in warned:
        err.write(f"warning: {warning.message}\n")
    out.flush()
    err.flush()
    return code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()


def refused(command, code, *words):
    """Call a script that has to end with this code and with one line on stderr that has these
    words in it; return the line."""
    ended, out, err = call(command)
    lines = [line for line in err.splitlines(True) if not line.endswith("steps on cpu\n")]
    assert ended == code and len(lines) == 1 and lines[0].endswith("\n"), (ended, out, err)
    assert lines[0].startswith("error: ") and "Traceback" not in out, err
    for word in words:
        assert word in lines[0], (word, err)
    return lines[0]


@contextmanager
def stopped_at_save(number):
    """Inside, Ctrl-C comes just before the file so many saves from now gets its name."""
    replace, saves = os.replace, []

    def dying(source, target):
        saves.append(target)
        if len(saves) == number:
            raise KeyboardInterrupt
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", dying)
        yield


def snapshot(folder):
    """All that is in a folder, for comparison: paths, sizes and times of change."""
    return {path: path.is_dir() or (path.stat().st_mtime_ns, path.stat().st_size)
            for path in folder.rglob("*")}


# -------------------------------------------------------------------------------------- the run
def pytest_collection_modifyitems(items):
    """Tests that need the run come last: by then it is finished, on a core of its own."""
    items.sort(key=lambda item: "run" in item.fixturenames)


def pytest_collection_finish(session):
    """Start the run as soon as it is known that a test needs it."""
    needed = any("run" in item.fixturenames for item in session.items)
    if needed and not session.config.option.collectonly:
        session.here = Path(tempfile.mkdtemp(prefix="ipt-mini-tests-"))
        session.process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *TRAIN.split()[1:]], cwd=session.here,
            env=ONE_THREAD, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def pytest_sessionfinish(session):
    if hasattr(session, "process"):
        session.process.kill()
        session.process.wait()
        shutil.rmtree(session.here)


@pytest.fixture(scope="session")
def run(request):
    """The folder of a tiny finished PT run, made by the real command line. Leave it as it is."""
    process = request.session.process
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, f"exit {process.returncode}\n{out}\n{err}"
    return request.session.here / "runs/pt-mixed-tiny-s0"


@pytest.fixture
def world(run, tmp_path, monkeypatch):
    """A folder with a copy of the tiny run, runs/good, and its tokenizer; we are in it."""
    shutil.copytree(run, tmp_path / "runs/good")
    for tokenizer in run.parent.glob("tokenizer-*.pt"):
        shutil.copy(tokenizer, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


_MADE, _REPORTS = {}, {}      # examples, and reports of tokenizers, by all that they depend on


@pytest.fixture
def quick(monkeypatch):
    """For tests of something else: examples of the three tasks are made once for all tests, each
    tokenizer is reported on once, and pictures are blank files. This is most of the time of a tiny
    run."""
    from ipt_mini import checkpoint, dataset, evaluate, plots
    from ipt_mini.tasks import TASKS, make

    def made(task, *key):
        if not any(task is known for known in TASKS.values()):
            return make(task, *key)
        key = (task.NAME, *key)
        if key not in _MADE:
            _MADE[key] = make(task, *key[1:])
        return _MADE[key]

    def blank(*what_and_path):
        *_, path = what_and_path
        Path(path).write_bytes(b"no picture")

    def report(run, path, real=evaluate.tokenizer_report):
        weights = [tensor.numpy().tobytes() for tensor in run.tokenizer.state_dict().values()]
        key = (run.config.task, run.config.grid, run.config.data_seed, *weights)
        if key not in _REPORTS:
            _REPORTS[key] = real(run, path)
        blank(path)
        return _REPORTS[key]

    monkeypatch.setattr(evaluate, "tokenizer_report", report)

    monkeypatch.setattr(dataset, "make", made)
    monkeypatch.setattr(checkpoint, "make", made)
    monkeypatch.setattr(plots, "blocks", blank)
    monkeypatch.setattr(plots, "curves", blank)

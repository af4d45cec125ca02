"""The real scripts, through the real command line, for a few steps."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--steps 6 --eval-every 3 --n-train 64 --n-val 16 --n-test 48 --batch-size 16 --n-layer 1 "
        "--n-embd 16 --n-head 2 --tokenizer-steps 320 --name tiny").split()


def script(name, *args, cwd, code=0):
    ran = subprocess.run([sys.executable, str(ROOT / name), *map(str, args)], cwd=cwd, text=True,
                         capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert ran.returncode == code, f"exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def run(here):
    """A tiny finished PT run."""
    script("train.py", "--task", "pt", *TINY, cwd=here)
    return here / "runs/pt-mixed-tiny-s0"


def test_run_folder_holds_what_it_should(run):
    names = {p.name for p in run.iterdir()}
    assert names == {"config.json", "checkpoint.pt", "log.csv", "metrics.json", "curve.png",
                     "samples.png", "tokenizer.png"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"direct", "imagine", "oracle", "shortcuts"} <= set(metrics["test"])
    assert metrics["test"]["imagine"]["n"] == 48 and metrics["machine"]["torch"] == torch.__version__
    log = (run / "log.csv").read_text().splitlines()
    assert log[0] == "step,seconds,answer,imagination,val_imagine,val_codes" and len(log) == 3


def test_same_command_prints_a_finished_run_and_refuses_another(run, here):
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    again = script("train.py", "--task", "pt", *TINY, cwd=here)
    assert "imagine" in again.stdout
    other = script("train.py", "--task", "pt", *TINY, "--muon-lr", "0.5", cwd=here, code=2)
    assert "muon_lr 0.02 there, 0.5 here" in other.stderr and "--force" in other.stderr
    assert before == {p.name: p.read_bytes() for p in run.iterdir()}


def test_eval_writes_every_decode_and_split(run, here):
    out = script("eval.py", run, cwd=here).stdout
    report = json.loads((run / "eval.json").read_text())
    assert set(report) == {"machine", "test", "dense", "longer"}
    assert set(report["longer"]) == {"shortcuts", "direct", "imagine", "oracle"}
    assert report["test"]["imagine"] == json.loads((run / "metrics.json").read_text())["test"]["imagine"]
    assert "mistake:" in out and "exact images" in out


@pytest.mark.parametrize("task, supervision, decodes", [
    ("pet", "label", {"direct"}), ("pt", "text_cot", {"think"}), ("pet", "ipt", {"imagine", "oracle", "direct"}),
    ("mvc", "mixed", {"direct", "imagine", "oracle"}), ("mvc", "text_cot", {"think"})])
def test_every_supervision_and_decode(here, task, supervision, decodes):
    script("train.py", "--task", task, "--supervision", supervision, *TINY, cwd=here)
    test = json.loads((here / f"runs/{task}-{supervision}-tiny-s0/metrics.json").read_text())["test"]
    assert set(test) == decodes | {"shortcuts"}
    assert test.get("direct", {}).get("untrained", False) == (supervision == "ipt")


OWN = "def my_loss(batch):\n    return batch.logits.square().mean()\n\n\n"
WRONG = "import torch\n\n\nbad = lambda batch: batch.logits.mean() * float('nan')\nshape = lambda batch: batch.logits\nnot_one = 3\n"


def test_own_loss_term_and_comparison_of_seeds(here):
    (here / "my_terms.py").write_text(OWN)
    (here / "wrong.py").write_text(WRONG)
    spec = "answer=1,imagination=1,"
    variants = ("my", spec + "my_terms.py:my_loss=0.5"), ("plain", spec[:-1])
    for name, loss in variants:
        script("train.py", "--task", "pet", *TINY, "--name", name, "--loss", loss, "--seeds", "2", cwd=here)
    folder = here / "runs/pet-mixed-my-s1"
    assert "my_loss" in (folder / "log.csv").read_text().splitlines()[0]
    assert (folder / "my_terms.py").read_text() == OWN
    names = [f"runs/pet-mixed-{name}-s{seed}" for name, _ in variants for seed in (0, 1)]
    table = script("eval.py", *names, cwd=here).stdout
    by_hand = [[json.loads((here / n / "metrics.json").read_text())["test"]["imagine"]["accuracy"] for n in names[i:i + 2]]
               for i in (0, 2)]
    mean = sum(by_hand[1]) / 2 - sum(by_hand[0]) / 2
    assert f"({mean:+.1f} ±" in table and "my_loss" in table and (here / "runs/compare.png").exists()
    for term, says in (("bad", "bad is no number at step 1"), ("shape", "shape returned")):
        ran = script("train.py", "--task", "pet", *TINY, "--name", term, "--loss", f"answer=1,wrong.py:{term}=1",
                     cwd=here, code=1)
        assert says in ran.stderr.splitlines()[-1] and "Traceback" not in ran.stderr


def test_replacement_test(run, here):
    out = script("eval.py", run, "--replace", cwd=here).stdout
    rows = {row["picture"]: row for row in json.loads((run / "replace.json").read_text())["rows"]}
    assert len(rows) == 7 and "picture with another answer" in out and (run / "replace.png").exists()
    assert rows["own"]["n"] == rows["true"]["n"] == 48 and rows["one code repeated"]["n_readable"] == 0
    (run / "replace.json").unlink(), (run / "replace.png").unlink()


def test_stopped_run_goes_on_to_the_same_end(run, here):
    command = [sys.executable, str(ROOT / "train.py"), "--task", "pt", *TINY, "--out", "runs/stopped",
               "--steps", "1500", "--eval-every", "100"]
    start = lambda: subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True,
                                     env={**os.environ, "OMP_NUM_THREADS": "1"})
    script("train.py", *command[2:], "--out", "runs/unbroken", cwd=here)
    process = start()
    while "config.json" not in os.listdir(here / "runs/stopped") if (here / "runs/stopped").exists() else True:
        time.sleep(0.1)
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error and "same command" in error
    assert start().wait(timeout=120) == 0
    ends = [torch.load(here / f"runs/{name}/checkpoint.pt", weights_only=True) for name in ("stopped", "unbroken")]
    assert ends[0]["step"] == ends[1]["step"] == 1500
    assert all(torch.equal(ends[0]["model"][k], ends[1]["model"][k]) for k in ends[0]["model"])
    drop = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    assert drop(ends[0]["log"]) == drop(ends[1]["log"])


BAD = [
    ("train.py --task maze", 2, "pt (path tracing)"), ("train.py --supervision both", 2, "mixed"),
    ("train.py --grid 6", 2, "--grid 6"), ("train.py --grid 4 --name a", 2, "at least 5"),
    ("train.py --n-head 3 --name a", 2, "--n-head 3"), ("train.py --steps 10", 2, "--name"),
    ("train.py --steps ten", 2, "--steps"), ("train.py --stepz 10", 2, "--stepz"),
    ("train.py --device tpu", 2, "cuda"), ("train.py --n-train 10 --name a", 2, "--n-train 10"),
    ("train.py --name a/b", 2, "--name"), ("train.py --muon-lr -1 --name a", 2, "--muon-lr"),
    ("train.py --batch-size 100 --n-train 64 --name a", 2, "--batch-size"), ("train.py --seed -1", 2, "--seed"),
    ("train.py --supervision label --loss imagination=1 --name a", 2, "imagination"),
    ("train.py --loss answr=1 --name a", 2, "answr"), ("train.py --loss answer=x --name a", 2, "answer=x"),
    ("train.py --loss answer=nan --name a", 2, "0 or more"),
    ("train.py --loss none.py:f=1 --name a", 2, "none.py"), ("train.py --loss wrong.py:f=1 --name a", 2, "no function 'f'"),
    ("train.py --loss wrong.py:not_one=1 --name a", 2, "not_one"), ("train.py --loss notes:f=1 --name a", 2, "notes:f"),
    ("train.py --supervision label --loss latent=1 --name a", 2, "latent"), ("train.py --seeds 2 --seed 1", 2, "--seeds"),
    ("eval.py {run} {run}", 2, "same settings"), ("eval.py {run} notes", 2, "notes"),
    ("eval.py", 2, "RUN"), ("eval.py runs/none", 2, "runs/none"), ("eval.py notes", 2, "checkpoint.pt"),
    ("eval.py unfinished", 2, "step 3 of 6"), ("eval.py {run} --splits far", 2, "longer"),
    ("eval.py {run} --decode think", 2, "oracle"), ("eval.py broken", 1, "broken/checkpoint.pt"),
    ("eval.py foreign", 1, "foreign/checkpoint.pt"), ("eval.py misfit", 1, "misfit/checkpoint.pt"),
    ("data.py --task maze", 2, "mvc (multiview counting)"), ("data.py --split far", 2, "longer"),
    ("data.py --grid 6", 2, "--grid"), ("data.py --n 0", 2, "--n"), ("data.py --n 100 --out no/x.png", 1, "no/x.png"),
    ("data.py --supervision all --show-sequence", 2, "text_cot"),
]


@pytest.mark.parametrize("command, code, says", BAD)
def test_a_mistake_is_told_in_one_line(run, here, command, code, says):
    good = torch.load(run / "checkpoint.pt", weights_only=True)
    for name, content in (("unfinished", {**good, "step": 3}), ("foreign", {"weights": 1}), ("broken", None),
                          ("misfit", {**good, "model": {}}), ("notes", ...)):
        (here / name).mkdir(exist_ok=True)
        if content is None:
            (here / name / "checkpoint.pt").write_bytes((run / "checkpoint.pt").read_bytes()[:5000])
        elif content is not ...:
            torch.save(content, here / name / "checkpoint.pt")
    before = {p: p.stat().st_mtime_ns for p in here.rglob("*")}
    name, *args = command.format(run=run).split()
    ran = script(name, *args, cwd=here, code=code)
    assert ran.stderr.count("\n") == 1 and ran.stderr.startswith("error: ") and says in ran.stderr, ran.stderr
    assert before == {p: p.stat().st_mtime_ns for p in here.rglob("*")}


def test_scripts_and_package_import_only_what_is_promised():
    allowed = {"torch", "numpy", "tqdm", "matplotlib", "torchvision", "ipt_mini", "eval"}
    for path in [*ROOT.glob("*.py"), *(ROOT / "ipt_mini").rglob("*.py")]:
        for name in re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text(), re.M):
            top = name.split(".")[0]
            assert top in allowed or top in sys.stdlib_module_names, (path, name)
            assert not (top == "eval" and "ipt_mini" in path.relative_to(ROOT).parts), path
        assert all(len(line) <= 100 for line in path.read_text().splitlines()), path


def test_default_run_can_be_loaded_and_continued(run, here):
    """Its settings are saved with the steps that the task asks for, and it has no name."""
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    config = {**saved["config"], "name": "", "out": "", "steps": 6}
    folder = here / "runs/renamed"
    folder.mkdir(exist_ok=True)
    torch.save({**saved, "config": config}, folder / "checkpoint.pt")
    assert "oracle" in script("eval.py", folder, "--splits", "test", cwd=here).stdout

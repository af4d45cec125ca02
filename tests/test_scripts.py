"""The real scripts, through the real command line, for a few steps."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from conftest import ROOT, TINY, script
from ipt_mini.tasks import TASKS


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
    assert set(report) == {"machine", "options", "test", "dense", "longer"}
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
WRONG = "bad = lambda batch: batch.logits.mean() * float('nan')\nshape = lambda batch: batch.logits\n"


def test_own_loss_term_and_comparison_of_seeds(here):
    (here / "my_terms.py").write_text(OWN)
    (here / "wrong.py").write_text(WRONG)
    spec = "answer=1,imagination=1,"
    variants = ("my", spec + "my_terms.py:my_loss=0.2@0.3:0.5@0.6"), ("plain", spec[:-1])
    for name, loss in variants:
        script("train.py", "--task", "pet", *TINY, "--name", name, "--loss", loss, "--seeds", "2", cwd=here)
    folder = here / "runs/pet-mixed-my-s1"
    assert "my_loss" in (folder / "log.csv").read_text().splitlines()[0]
    assert (folder / "my_terms.py").read_text() == OWN
    names = [f"runs/pet-mixed-{name}-s{seed}" for name, _ in variants for seed in (0, 1)]
    table = script("eval.py", *names, cwd=here).stdout
    figures = [json.loads((here / n / "metrics.json").read_text())["test"]["imagine"] for n in names]
    mean = sum(f["accuracy"] for f in figures[2:]) / 2 - sum(f["accuracy"] for f in figures[:2]) / 2
    for name, f in zip(names, figures):                      # and each run over its questions, apart
        line = next(line for line in table.splitlines() if line.startswith(f"- {name[5:]}:"))
        assert f"imagine {f['accuracy']} [{f['low']}, {f['high']}] n {f['n']}" in line
    assert f"({mean:+.1f} ±" in table and "my_loss" in table and (here / "runs/compare.png").exists()
    for term, says in (("bad", "bad is no number at step 1"), ("shape", "shape returned")):
        ran = script("train.py", "--task", "pet", *TINY, "--name", term, "--loss", f"answer=1,wrong.py:{term}=1",
                     cwd=here, code=1)
        assert says in ran.stderr.splitlines()[-1] and "Traceback" not in ran.stderr


def test_examples(run, here, tmp_path):
    shutil.copy(next((here / "runs").glob("tokenizer-*.pt")), tmp_path / "tokenizer-g5-s0-t800.pt")
    out = script("examples/masked.py", "--task", "pt", "--steps", 2, "--n-train", 64, "--n", 30,
                 "--out", tmp_path / "masked.json", cwd=here).stdout
    rows = json.loads((tmp_path / "masked.json").read_text())["rows"]
    assert [row["passes"] for row in rows] == [1, 2, 4, 8, 25] and "| 25 |" in out
    page = (ROOT / "docs/losses.md").read_text()
    own = (ROOT / "examples/compass.py").read_text().split('"""\n')[1]
    assert own in page and f"--loss answer={TASKS['pt'].ANSWER_WEIGHT},imagination=1," in page


def test_replacement_test(run, here):
    out = script("eval.py", run, "--replace", cwd=here).stdout
    rows = {row["picture"]: row for row in json.loads((run / "replace.json").read_text())["rows"]}
    assert len(rows) == 7 and "picture with another answer" in out and (run / "replace.png").exists()
    assert rows["own"]["n"] == rows["true"]["n"] == 48 and rows["one code repeated"]["n_readable"] == 0
    (run / "replace.json").unlink(), (run / "replace.png").unlink()


SAVE_OFTEN = (f"import sys; sys.path.insert(0, {str(ROOT)!r}); import train; train.SAVE_EVERY = 0.05; "
              "train.run_main(train.main)")


def test_stopped_run_goes_on_to_the_same_end(run, here):
    """Ctrl-C once a first checkpoint tells that the training is on; then the same command."""
    settings = ["--task", "pt", *TINY, "--steps", "400", "--eval-every", "100", "--out"]
    command = [sys.executable, "-c", SAVE_OFTEN, *settings, "runs/stopped"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True, env=environment)
    while not (here / "runs/stopped/checkpoint.pt").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error and "same command" in error
    subprocess.run(command, cwd=here, check=True, env=environment, timeout=300)
    script("train.py", *settings, "runs/unbroken", cwd=here)
    ends = [torch.load(here / f"runs/{name}/checkpoint.pt", weights_only=True) for name in ("stopped", "unbroken")]
    assert ends[0]["step"] == ends[1]["step"] == 400
    assert all(torch.equal(ends[0]["model"][k], ends[1]["model"][k]) for k in ends[0]["model"])
    drop = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    assert drop(ends[0]["log"]) == drop(ends[1]["log"])


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

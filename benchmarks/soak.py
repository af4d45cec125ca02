"""Kill a short run at 50 random moments of all its stages, continue it, and compare the ends.

    python benchmarks/soak.py [--kills 50]     about 15 minutes on one thread; called again, it goes
                                               on after the chains that soak.json holds already,
                                               if they were made by this very code

A chain is one run from nothing to its figures: killed where CHAIN says, each time continued by the same
command. STAGES are told by the run itself, through a pipe; the moment within a stage is drawn at random, up to
the time that it took in the unbroken run. Every fifth blow is Ctrl-C (SIGINT), the others are kill -9. A blow that
comes too late, when the run has ended, is not counted.
So that saves are a good part of the time, a checkpoint is written after every step.
"""
import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from report import ROOT, publish, stamp

import torch

SETTINGS = ("--task pt --out runs/soaked --steps 30 --eval-every 10 --n-train 1024 --n-val 64 --n-test 4000 "
            "--batch-size 32 --n-layer 2 --n-embd 32 --n-head 2 --tokenizer-steps 320").split()
STAGES = ("tokenizer", "data", "training", "saving", "evaluation")
CHAIN = ("tokenizer", "data", *("training", "saving") * 3, "evaluation")

# The real script, but that it saves after every step and says in a pipe where it is.
WRAPPER = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import train
from ipt_mini import run

def told(module, name, stage, after=None):
    function = getattr(module, name)
    def wrapped(*args, **more):
        os.write(1, (stage + "\\n").encode())
        try:
            return function(*args, **more)
        finally:
            if after:
                os.write(1, (after + "\\n").encode())
    setattr(module, name, wrapped)

told(train, "get_tokenizer", "tokenizer")
told(train, "training_set", "data")
told(train, "new_model", "training")
told(train, "save", "saving", "training")
told(train, "test", "evaluation")
train.SAVE_EVERY = -1
train.lines = lambda report: []
train.run_main(train.main)
"""


def start(folder):
    hear = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)      # a shell's `&` would make it deaf to Ctrl-C
    return subprocess.Popen([sys.executable, "-c", WRAPPER, *SETTINGS], cwd=folder, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, preexec_fn=hear)


def unbroken(folder):
    """Run to the end; the seconds spent in each stage, and how often it was entered."""
    process, seconds, entered = start(folder), dict.fromkeys(STAGES, 0), dict.fromkeys(STAGES, 0)
    stage, began = None, time.perf_counter()
    for line in process.stdout:
        now, line = time.perf_counter(), line.decode().strip()
        if line in STAGES:
            if stage:
                seconds[stage] += now - began
            stage, began = line, now
            entered[line] += 1
    seconds[stage] += time.perf_counter() - began
    assert process.wait() == 0, process.stderr.read().decode()
    return seconds, entered


def blow(folder, stage, enter, delay, which):
    """Start or continue the run; strike it `delay` seconds after it enters a stage for the n-th time.

    dict(stage: where it was when it died, code: how it ended, step: of its last checkpoint)."""
    process, left = start(folder), enter
    os.set_blocking(process.stdout.fileno(), False)
    last, strike = "start", None
    while process.poll() is None and (strike is None or time.perf_counter() < strike):
        for line in (process.stdout.read() or b"").decode().splitlines():
            last = line if line in STAGES else last
            left -= line == stage
            if line == stage and left == 0:
                strike = time.perf_counter() + delay
        time.sleep(0.0005)
    process.send_signal(which)
    error = process.communicate()[1].decode()
    assert "Traceback" not in error, error
    checkpoint = folder / "runs/soaked/checkpoint.pt"
    step = torch.load(checkpoint, weights_only=True)["step"] if checkpoint.exists() else 0
    parts = len([*(folder / "runs/soaked").glob("*.part")])
    return dict(aimed=stage, stage=last, signal=which.name, code=process.returncode, checkpoint=step, torn=parts)


def ends(folder):
    """{part of the run: hash} of all that must be equal: everything but seconds and the machine."""
    run = folder / "runs/soaked"
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    metrics = json.loads((run / "metrics.json").read_text())
    figures = {k: v for k, v in metrics.items() if k not in ("minutes", "machine", "log")}
    weigh = lambda state: b"".join(k.encode() + v.numpy().tobytes() for k, v in sorted(state.items()))
    rows = [row.split(",") for row in (run / "log.csv").read_text().splitlines()]
    tokenizer = next((folder / "runs").glob("tokenizer-*.pt"))
    parts = {
        "tokenizer": weigh(torch.load(tokenizer, weights_only=True)["tokenizer"]),
        "weights of the model": weigh(saved["model"]), "tokenizer in the checkpoint": weigh(saved["tokenizer"]),
        "log.csv, but its seconds": repr([row[:1] + row[2:] for row in rows]).encode(),
        "metrics.json, but times and machine": repr(figures).encode(),
        "config.json": (run / "config.json").read_bytes(),
        **{p.name: p.read_bytes() for p in sorted(run.glob("*.png"))},
        "names of the files": repr(sorted(p.name for p in run.iterdir())).encode()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}


def chain(seed, seconds, entered, folder):
    """One run, struck where CHAIN says, and its end."""
    rng, blows = random.Random(seed), []
    for i, stage in enumerate(CHAIN):
        # At most 3 steps further each time: the last blow of the training has to find one to do.
        enter = rng.randint(1, 3) if stage in ("training", "saving") else 1
        delay = 0.8 * rng.random() * seconds[stage] / max(1, entered[stage])
        which = signal.SIGINT if (seed + i) % 5 == 0 else signal.SIGKILL
        blows.append(blow(folder, stage, enter, delay, which))
    last = start(folder)
    error = last.communicate()[1].decode()
    return dict(seed=seed, blows=blows, code=last.returncode, error=error if last.returncode else "",
                hashes=ends(folder) if last.returncode == 0 else {})


def kills(results):
    """The blows that hit, each with what became of its chain."""
    fate = lambda c: "lost" if c["code"] else "same" if c["hashes"] == results["hashes"] else "different"
    return [dict(b, fate=fate(c)) for c in results["chains"] for b in c["blows"] if b["code"]]


def report(results):
    """Lines of the table, from soak.json."""
    blows = kills(results)
    count = lambda **wanted: sum(all(b[k] == v for k, v in wanted.items()) for b in blows)
    yield (f"{results['stamp']} {len(results['chains'])} runs, killed again and again and always continued by "
           f"the same command: {len(blows)} kills, {count(fate='lost')} lost, {count(fate='different')} different at the end.")
    yield from ("", "| killed in | kill -9 | Ctrl-C | left a half-written file | ended bit for bit as the unbroken "
                "run |", "|---|---|---|---|---|")
    for stage in STAGES:
        here = [b for b in blows if b["stage"] == stage]
        yield (f"| {stage} | {count(stage=stage, signal='SIGKILL')} | {count(stage=stage, signal='SIGINT')} | "
               f"{sum(b['torn'] for b in here)} | {count(stage=stage, fate='same')} of {len(here)} |")
    yield from ("", "The unbroken run, twice (SHA-256, first 16 digits):", "", "| | first | second |", "|---|---|---|")
    for name, digest in results["hashes"].items():
        yield f"| {name} | `{digest[:16]}` | `{results['again'][name][:16]}` |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    wanted, path = parser.parse_args().kills, ROOT / "benchmarks/soak.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    torch.set_num_threads(1)

    def fresh(do, *args):
        folder = Path(tempfile.mkdtemp())
        result = do(*args, folder)
        shutil.rmtree(folder)
        return result

    sources = [*sorted(ROOT.glob("ipt_mini/**/*.py")), ROOT / "train.py", ROOT / "eval.py"]
    code = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
    if results.get("code") != code:
        results = dict(stamp=stamp(f"python benchmarks/soak.py --kills {wanted}"), code=code, chains=[])
        results["seconds"], results["entered"], results["hashes"] = fresh(
            lambda folder: (*unbroken(folder), ends(folder)))
        results["again"] = fresh(lambda folder: (unbroken(folder), ends(folder))[1])
    while len(kills(results)) < wanted:
        seed = len(results["chains"])
        results["chains"].append(fresh(chain, seed, results["seconds"], results["entered"]))
        path.write_text(json.dumps(results, indent=1) + "\n")
        print(seed, [(b["stage"], b["signal"], b["code"]) for b in results["chains"][-1]["blows"]],
              results["chains"][-1]["hashes"] == results["hashes"], flush=True)
    publish("soak", report(results), results)


if __name__ == "__main__":
    main()

"""Kill a short run at random moments of all stages, resume it, and compare the ends bit for bit.

    python benchmarks/soak.py --kills 50        about 15 minutes, on one thread

A chain is one run from nothing to its figures, killed once for each entry of CHAIN and resumed by
the same command. Where the run is, it says itself, through a pipe; the moment within a stage is
random. Every fifth blow is Ctrl-C (SIGINT), the others are kill -9. A blow that comes after the run
has ended is not counted. A checkpoint is written after every step, so that saves are a good part of
the time.
"""
import os

os.environ["OMP_NUM_THREADS"] = "1"

from report import ROOT, arguments, run_main, write  # noqa: E402: after the line above

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ipt_mini.checkpoint import load, read_metrics

SETTINGS = ("--task pt --out runs/soaked --steps 30 --eval-every 1 --n-train 1024 --n-val 64 "
            "--n-test 2000 --batch-size 32 --n-layer 1 --n-embd 32 --n-head 2 "
            "--tokenizer-steps 320").split()
CHAIN = ("tokenizer", "data", *("training", "saving") * 3, "test")
STAGES = tuple(dict.fromkeys(CHAIN))

# train.py as it is, but that it says where it is.
WRAPPER = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import train
from ipt_mini import training

def told(name, stage, after=""):
    function = getattr(training, name)
    def wrapped(*args, **more):
        os.write(1, (stage + "\\n").encode())
        result = function(*args, **more)
        os.write(1, (after + "\\n").encode())
        return result
    setattr(training, name, wrapped)

told("get_tokenizer", "tokenizer")
told("training_set", "data")
told("fit", "training")
told("save", "saving", after="training")
told("test_run", "test")
train.lines = lambda report: []
train.run_main(train.main)
"""


def start(folder):
    def hear():                        # a shell's `&` would make the run deaf to Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([sys.executable, "-c", WRAPPER, *SETTINGS], cwd=folder, preexec_fn=hear,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def unbroken(folder):
    """Run to the end: {stage: seconds of one visit, on average}."""
    process, seconds, visits = start(folder), dict.fromkeys(STAGES, 0), dict.fromkeys(STAGES, 0)
    stage, began = None, time.perf_counter()
    for line in process.stdout:
        now = time.perf_counter()
        if stage:
            seconds[stage] += now - began
        name = line.decode().strip()
        stage, began = name if name in STAGES else stage, now
        if name in STAGES:
            visits[name] += 1
    error = process.stderr.read().decode()
    assert process.wait() == 0, error
    return {stage: seconds[stage] / max(1, visits[stage]) for stage in STAGES}


def blow(folder, aimed, visit, delay, which):
    """Start or resume the run; strike it `delay` seconds after its n-th visit of a stage began."""
    process, stage, moment = start(folder), "start", None
    os.set_blocking(process.stdout.fileno(), False)
    while process.poll() is None and (moment is None or time.perf_counter() < moment):
        for name in (process.stdout.read() or b"").decode().splitlines():
            stage = name if name in STAGES else stage
            visit -= name == aimed
            if name == aimed and visit == 0:
                moment = time.perf_counter() + delay
        time.sleep(0.0005)
    process.send_signal(which)
    error = process.communicate()[1].decode()
    assert "Traceback" not in error, error
    torn = [*(folder / "runs").rglob("*.part")]
    for part in torn:
        part.unlink()                                  # so that none counts twice
    return dict(stage=stage, signal=which.name, code=process.returncode, torn=len(torn))


def weights(state):
    parts = sorted(state.items())
    return b"".join(name.encode() + value.numpy().tobytes() for name, value in parts)


def ends(folder):
    """{part of the run: SHA-256} of all that must be equal: everything but seconds and machine."""
    run = folder / "runs/soaked"
    saved, metrics = load(run / "checkpoint.pt", ""), read_metrics(run)
    tokenizer = next((folder / "runs").glob("tokenizer-*.pt"))
    log = [{k: v for k, v in row.items() if k != "seconds"} for row in saved["log"]]
    figures = {k: v for k, v in metrics.items() if k not in ("minutes", "machine", "log")}
    parts = {"tokenizer": weights(load(tokenizer, "")["tokenizer"]),
             "tokenizer in the checkpoint": weights(saved["tokenizer"]),
             "weights of the model": weights(saved["parts"][0]),
             "log": repr(log).encode(),
             "figures": repr(figures).encode(),
             "names of the files": repr(sorted(path.name for path in run.iterdir())).encode()}
    for picture in sorted(run.glob("*.png")):
        parts[picture.name] = picture.read_bytes()
    return {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}


def chain(seed, seconds, stages, folder):
    """One run, struck in each of the stages, and its end."""
    rng, blows = random.Random(seed), []
    for i, stage in enumerate(stages):
        # At most 3 visits further each time: the last blow has to find some training to do.
        visit = rng.randint(1, 3) if stage in ("training", "saving") else 1
        delay = 0.8 * rng.random() * seconds[stage]
        which = signal.SIGINT if (seed + i) % 5 == 0 else signal.SIGKILL
        blows.append(blow(folder, stage, visit, delay, which))
    last = start(folder)
    error = last.communicate()[1].decode()
    if last.returncode:
        return dict(seed=seed, blows=blows, error=error, hashes={})
    return dict(seed=seed, blows=blows, error="", hashes=ends(folder))


def in_new_folder(function, *args):
    with tempfile.TemporaryDirectory() as folder:
        return function(*args, Path(folder))


def stage_row(stage, hits):
    """Kills in one stage; hits: (blow, did its chain end as the unbroken run?)."""
    here = [(blow, same) for blow, same in hits if blow["stage"] == stage]
    kills = sum(blow["signal"] == "SIGKILL" for blow, _ in here)
    torn = sum(blow["torn"] for blow, _ in here)
    same = sum(same for _, same in here)
    return [stage, kills, len(here) - kills, torn, f"{same} of {len(here)}"]


def main():
    options = arguments(__doc__, kills=50)
    quick = 3, ("training", "saving", "test")
    wanted, stages = quick if options.quick else (options.kills, CHAIN)
    seconds, hashes = in_new_folder(lambda folder: (unbroken(folder), ends(folder)))
    again = in_new_folder(lambda folder: (unbroken(folder), ends(folder))[1])
    chains, hits = [], []
    while len(hits) < wanted and len(chains) < wanted:
        chains.append(in_new_folder(chain, len(chains), seconds, stages))
        same = chains[-1]["hashes"] == hashes
        hits += [(blow, same) for blow in chains[-1]["blows"] if blow["code"]]
        print(len(hits), "kills; same end:", same, file=sys.stderr)
    lost = sum(not c["hashes"] for c in chains)
    different = sum(c["hashes"] not in ({}, hashes) for c in chains)
    parts = ", ".join(hashes)
    write("soak", options, [(
        ["killed in", "kill -9", "Ctrl-C", "half-written files", "same end, bit for bit"],
        [stage_row(stage, hits) for stage in ("start", *STAGES)])],
        dict(seconds=seconds, hashes=hashes, again=again, chains=chains),
        [f"{len(chains)} runs, {len(hits)} kills: {lost} lost, {different} different at the end. "
         f"Two unbroken runs are {'equal' if hashes == again else 'DIFFERENT'}. "
         f"Compared: {parts}."])


if __name__ == "__main__":
    run_main(main)

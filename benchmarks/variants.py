"""The built-in loss variants on PT: default size, the same data and tokenizer, seeds 0 to 2.

    python benchmarks/variants.py [--seeds 3]     resumable: finished runs are kept, an unfinished one goes on
                                                  where it was; two runs side by side, one thread each

Writes benchmarks/variants.md. The minutes of these runs are not to be quoted: they shared the machine.
"""
import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from report import ROOT, publish, stamp

BASE = "answer=0.2@0.4:1@0.6,imagination=1"
VARIANTS = {
    "plain": BASE, "label": None,
    "discrepancy": BASE + ",discrepancy=0.5", "smoothed": BASE.replace("imagination=1", "imagination=0.5,smoothed=0.5"),
    "soft": BASE + ",soft_decode=1", "latent": BASE + ",latent=0.5",
    "dropped": BASE.replace("imagination=1", "imagination=1@0.6:0@0.8"),
}


def command(name, loss, seed):
    what = ["--loss", loss] if loss else ["--supervision", "label"]
    return [sys.executable, "train.py", "--task", "pt", "--name", name, "--seed", str(seed), *what]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    jobs = [command(name, loss, seed) for seed in range(seeds) for name, loss in VARIANTS.items()]
    run = lambda job: subprocess.run(job, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                     env={**os.environ, "OMP_NUM_THREADS": "1"})
    run(jobs[0])                                     # alone: it trains the tokenizer that the others share
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, jobs[1:]))
    folders = [f"runs/pt-{'mixed' if loss else 'label'}-{name}-s{seed}"
               for name, loss in VARIANTS.items() for seed in range(seeds)]
    table = subprocess.run([sys.executable, "eval.py", *folders], cwd=ROOT, check=True, capture_output=True, text=True)
    publish("variants", [stamp(f"python benchmarks/variants.py --seeds {seeds}") + " Test split; ± is the 95% t interval "
                         "over seeds, in brackets the seed-paired difference to the first row.", "",
                         *table.stdout.splitlines()])


if __name__ == "__main__":
    main()

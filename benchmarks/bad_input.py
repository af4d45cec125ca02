"""What each bad input of tests/test_bad_input.py is answered with.

    python benchmarks/bad_input.py        trains a tiny run, writes benchmarks/bad_input.md; a minute
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from report import ROOT, publish, stamp

sys.path.insert(0, str(ROOT / "tests"))

from test_bad_input import BAD, TRAIN, call, make_zoo, snapshot


def main():
    lines = [stamp("python benchmarks/bad_input.py") + f" {len(BAD)} inputs; exit code 2: something named on the "
             "command line is wrong, 1: its content, or the machine. `TRAIN` is the command of a finished run.", "",
             "| input | exit | said, in one line |", "|---|---|---|"]
    folder = Path(tempfile.mkdtemp())
    subprocess.run([sys.executable, str(ROOT / "train.py"), *TRAIN.split()[1:]], cwd=folder, check=True)
    make_zoo(next((folder / "runs").glob("*/")), folder)
    os.chdir(folder)
    for command, code, culprit, way_out in BAD:
        before = snapshot(folder)
        ended, _, said = call(command.replace("TRAIN", TRAIN))
        assert ended == code and said.count("\n") == 1 and culprit in said and way_out in said, (command, said)
        assert before == snapshot(folder), command
        lines.append(f"| `{command}` | {code} | {said.strip().removeprefix('error: ')} |")
    os.chdir(ROOT)
    publish("bad_input", lines)


if __name__ == "__main__":
    main()

"""What the benchmarks share: medians of interleaved timings, and where the tables go."""
import json
import re
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def publish(name, lines, results=None):
    """Write benchmarks/NAME.md (and .json), and the table between its two marks on the pages."""
    table = "\n".join(lines) + "\n"
    (ROOT / f"benchmarks/{name}.md").write_text(table)
    if results is not None:
        (ROOT / f"benchmarks/{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    block = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    for page in (ROOT / "README.md", ROOT / "docs/reliability.md"):
        page.write_text(block.sub(lambda m: m[1] + table + m[2], page.read_text()))
    print(table)


def interleaved(functions, rounds=10):
    """{name: median seconds of one call}: every round calls each once, so all see the same noise."""
    for f in functions.values():
        f()
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, f in functions.items():
            began = time.perf_counter()
            f()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(t) for name, t in times.items()}


def stamp(command, **more):
    """One line: the command, the machine and the versions."""
    from ipt_mini.run import machine
    m = machine()
    versions = "".join(f", {k} {v}" for k, v in more.items())
    return (f"`{command}`: {m['gpu'] or m['cpu']}, {m['threads']} threads, Python {m['python']}, torch "
            f"{m['torch']}{versions}, {m['date']}.")

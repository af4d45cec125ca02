"""Where benchmarks leave their tables: benchmarks/NAME.md, and the README between its two marks."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def publish(name, lines):
    table = "\n".join(lines) + "\n"
    (ROOT / f"benchmarks/{name}.md").write_text(table)
    readme = (ROOT / "README.md").read_text()
    block = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    (ROOT / "README.md").write_text(block.sub(lambda m: m[1] + table + m[2], readme))
    print(table)

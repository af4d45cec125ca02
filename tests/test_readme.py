"""The README tells the truth: its file tree, its commands and its figures."""
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_bad_input import BAD, NO_GPU

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_file_tree_is_complete_and_true():
    told = set(re.findall(r"^([\w/]+\.py) {2,}\S", README, re.M))
    there = {str(p.relative_to(ROOT)) for p in [*ROOT.glob("*.py"), *(ROOT / "ipt_mini").rglob("*.py")]}
    assert told == there - {"ipt_mini/__init__.py"}


def test_line_counts_are_true():
    count = lambda paths: f"{sum(len(path.read_text().splitlines()) for path in paths):,}"
    package = [*ROOT.glob("*.py"), *(ROOT / "ipt_mini").rglob("*.py")]
    after = ("run.py", "config.py", "compare.py", "measure.py", "plots.py")
    method = [path for path in package if path.parent != ROOT and path.name not in after]
    assert f"{count(package)} lines in all" in README
    assert f"has {count(method)}." in README


def test_flags_and_pictures_exist():
    commands = re.findall(r"python ((?:train|eval|data)\.py)([^\n`]*)", README)
    assert len(commands) > 5
    for name in {name for name, _ in commands}:
        help = subprocess.run([sys.executable, ROOT / name, "--help"], capture_output=True, text=True).stdout
        for _, arguments in (c for c in commands if c[0] == name):
            for flag in re.findall(r"--[\w-]+", arguments):
                assert flag in help, (name, flag)
    for path in re.findall(r"\]\(((?:docs|benchmarks)/[^)]+)\)|`(docs/[^`]+)`", README):
        assert (ROOT / (path[0] or path[1])).exists(), path


PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
MARKED = [(page, name) for page in PAGES for name in re.findall("<!-- (\\w+) -->", page.read_text())]


@pytest.mark.parametrize("page, name", MARKED, ids=[f"{page.name}-{name}" for page, name in MARKED])
def test_tables_of_the_pages_are_those_of_the_benchmarks(page, name):
    told = re.search(f"<!-- {name} -->\n(.*?)<!-- /{name} -->", page.read_text(), re.S).group(1)
    assert told == (ROOT / f"benchmarks/{name}.md").read_text()


def test_every_table_of_the_benchmarks_is_shown():
    tables = {path.stem for path in ROOT.glob("benchmarks/*.md")} - {"bad_input"}     # a list of its own
    assert tables == {name for _, name in MARKED}


def test_bad_inputs_are_told_as_they_are_tested():
    rows = (ROOT / "benchmarks/bad_input.md").read_text().splitlines()[4:]
    told = [(row.split("`")[1], row.split("|")[2].strip()) for row in rows]
    assert told == [(command.replace(NO_GPU, "cuda"), str(code)) for command, code, *_ in BAD]
    assert f"{len(BAD)} bad inputs" in (ROOT / "docs/reliability.md").read_text()

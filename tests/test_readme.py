"""The pages tell the truth: the file tree, the commands and the links. And the house rules."""
import re
import sys

import pytest
from conftest import EXAMPLES, ROOT, call

README = (ROOT / "README.md").read_text()
CODE = (ROOT / "docs/code.md").read_text()
LISTED = re.compile(r"^([\w/]+\.py) {2,}\S", re.M)      # in its file trees
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
SCRIPTS = ("train.py", "eval.py", "data.py")
SOURCES = [*ROOT.glob("*.py"), *(ROOT / "ipt_mini").rglob("*.py"), *EXAMPLES.glob("*.py")]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def commands_of(text):
    """(script, arguments) of the commands for our scripts in a text."""
    return re.findall(r"python ((?:[\w-]+/)*\w+\.py)([^\n`]*)", text)


def test_file_tree_is_complete_and_true():
    """One line a file, `path.py   what it is`."""
    listed = LISTED.findall(CODE)
    there = {str(path.relative_to(ROOT)) for path in SOURCES if EXAMPLES not in path.parents}
    assert len(listed) == len(set(listed))
    assert there - {"ipt_mini/__init__.py"} <= set(listed)
    assert [path for path in listed if not (ROOT / path).exists()] == []


def test_the_length_of_the_method_and_of_the_rest_is_true():
    parts = re.findall(r"about ([\d,]+) lines:\n\n```\n(.*?)```", CODE, re.S)
    assert len(parts) == 2
    for said, files in parts:
        length = sum(len((ROOT / path).read_text().splitlines()) for path in LISTED.findall(files))
        assert abs(int(said.replace(",", "")) - length) <= 60, (said, length)


@pytest.fixture(scope="module")
def help_of():
    return {name: call(f"{name} --help")[1] for name in SCRIPTS}


WITH_COMMANDS = [path for path in [*PAGES, *SOURCES] if path.name != "lessons.md"]   # bygone ones


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_name_scripts_flags_and_files_that_exist(path, help_of):
    """Those of the pages, and of the docstrings of scripts and examples."""
    for name, arguments in commands_of(path.read_text()):
        assert (ROOT / name).exists(), name
        arguments = re.split(r" {3,}|#|\|\s*tee", arguments)[0]
        for flag in re.findall(r"--[a-z][\w-]*", arguments):
            if name in SCRIPTS:
                assert re.search(rf"{flag}\b(?!-)", help_of[name]), (name, flag)
            else:
                source, setting = (ROOT / name).read_text(), flag[2:].replace("-", "_")
                assert f'"{flag}"' in source or f"{setting}=" in source, (name, flag)
        for example in re.findall(r"examples/\w+\.py(?::\w+)?", arguments):
            file, _, there = example.partition(":")
            assert (ROOT / file).exists(), example
            assert re.search(rf"^(def |class )?{there}\b", (ROOT / file).read_text(), re.M), example


def test_the_readme_is_short():
    assert len(README.split()) <= 1000


def test_the_readme_shows_how_to_train_and_to_evaluate():
    assert {name for name, _ in commands_of(README)} >= {"train.py", "eval.py"}
    assert "python -m pytest" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target, anchor in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
            assert not anchor or anchor in anchors(page.parent / target), (target, anchor)


def anchors(page):
    """What a link to a part of the page is called: its heading without capitals and marks."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.M)
    return [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def test_files_of_the_repository_that_pages_name_exist():
    pattern = r"`((?:docs|examples|ipt_mini|tests|benchmarks)/[\w/.-]+)`"
    for page in PAGES:
        for name in re.findall(pattern, page.read_text()):
            assert page.name == "lessons.md" or (ROOT / name).exists(), (page.name, name)


def test_help_says_every_choice_and_default(help_of):
    words = " ".join(help_of["train.py"].split())
    for part in ("pt (path tracing)", "pet (perspective taking)", "mvc (multiview counting)",
                 "(default: mixed)", "(default: 0.02)", "imagine answer | answer"):
        assert part in words, part


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_are_short_and_files_say_what_they_are(path):
    text = path.read_text()
    assert text.removeprefix("r").startswith('"""')
    assert [line for line in text.splitlines() if len(line) > 100] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_those_of_requirements_and_errors_lies_below_all(path):
    allowed = {"torch", "numpy", "tqdm", "matplotlib", "PIL", "ipt_mini"}
    if EXAMPLES in path.parents:                       # libraries that write a folder of pictures
        allowed |= {"minigrid", "maze_dataset", "skimage"}
    imported = re.findall(r"^ *(?:from ([\w.]+) import|import ([\w.]+))", path.read_text(), re.M)
    imported = [name for pair in imported for name in pair if name]
    for name in imported:
        top = name.split(".")[0]
        assert top in allowed or top in sys.stdlib_module_names, name
        assert f"{top}.py" not in SCRIPTS, "a script is not imported"
    if path.name == "errors.py":
        assert not any(name.startswith("ipt_mini") for name in imported)


def test_requirements_are_those_of_the_mission():
    names = re.findall(r"^([\w-]+)", (ROOT / "requirements.txt").read_text(), re.M)
    assert set(names) == {"torch", "torchvision", "numpy", "matplotlib", "tqdm", "pytest"}

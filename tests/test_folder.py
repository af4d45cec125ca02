"""A folder of pictures as a task: its format, what is refused, and a tiny run from end to end."""
import io
import json
import os
import re
import shutil
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY, call, refused, snapshot, stopped_at_save
from PIL import Image

from data import question_only
from ipt_mini.checkpoint import folder_of, load
from ipt_mini.config import Config
from ipt_mini.dataset import prepare, tasks_of, tokenizer_pictures
from ipt_mini.evaluate import other_answers, reading
from ipt_mini.run import load_run, new_model
from ipt_mini.tasks import load_task, make, splits
from ipt_mini.tasks.folder import TYPES, UNKNOWN, Folder
from ipt_mini.reader import nearest_glyph
from ipt_mini.tasks.words import NOTHING, UNREADABLE, text, vocabulary
from ipt_mini.tokenizer import Tokenizer

ANSWERS = ("top left", "top right", "bottom left", "bottom right")
TRAIN = f"train.py --data pictures {TINY} --codes 32"
COUNTS = {"train": 70, "val": 6, "test": 8, "darker": 3}


def write_folder(root, cot=True):
    """Squares of 16 x 16 noise with one bright quarter, and the same turned by 90 degrees."""
    root.mkdir()
    rng, rows = np.random.default_rng(0), []
    for split, count in COUNTS.items():
        for e in range(count):
            pixels = rng.integers(0, 80, (2, 8, 2, 8, 3))
            pixels[rng.integers(2), :, rng.integers(2)] += 120
            turn = int(rng.integers(2))
            pixels = pixels.reshape(16, 16, 3).astype(np.uint8)
            turned = np.rot90(pixels, 1 - 2 * turn)
            quarter = turned.reshape(2, 8, 2, 8, 3).mean((1, 3, 4)).argmax()
            name = f"{split}{e}"
            Image.fromarray(pixels).save(root / f"{name}.png")
            Image.fromarray(turned).save(root / f"{name}-turned.png")
            row = dict(split=split, views=[f"{name}.png"], imagination=f"{name}-turned.png",
                       query="Turn " + ("LEFT", "right please")[turn], answer=ANSWERS[quarter])
            rows.append(dict(row, cot="it moves") if cot else row)
    write_rows(root, rows)
    return rows


def write_rows(root, rows):
    (root / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """We are in a folder with `pictures` in it; its rows."""
    monkeypatch.chdir(tmp_path)
    return write_folder(tmp_path / "pictures")


# ------------------------------------------------------------------------------ format
def test_a_folder_has_what_a_task_has(here):
    folder = Folder("pictures")
    assert splits(folder) == ("train", "val", "test", "darker")
    assert folder.ANSWERS == folder.KINDS == tuple(sorted(ANSWERS)) and folder.CHANCE == 0.25
    words = vocabulary(folder)
    assert words.count("left") == 1 and {"please", "top left", UNKNOWN} <= set(words)
    assert "LEFT" not in words
    for split, count in COUNTS.items():
        examples = make(folder, split, 1000, 0)
        rows = {row["imagination"]: row for row in here if row["split"] == split}
        assert len(examples.answer) == count == len(rows)
        for e in range(count):
            name = folder.paths[examples.imagination[e, 0, 0]].name
            row = rows.pop(name)
            assert folder.paths[examples.views[e, 0, 0, 0]].name == row["views"][0]
            assert words[examples.answer[e]] == row["answer"]
            assert folder.ANSWERS[examples.kind[e]] == row["answer"]
            query = row["query"].lower()
            assert text(examples.query[e], words) == query + " nothing" * ("left" in query)
            assert not examples.pose.any()


def test_a_sample_is_a_part_of_the_split_in_random_order(here):
    folder = Folder("pictures")
    some, all_ = make(folder, "train", 20, 3), make(folder, "train", 70, 3)
    assert np.array_equal(some.imagination, all_.imagination[:20])
    assert not np.array_equal(some.imagination, make(folder, "train", 20, 4).imagination)
    assert len(np.unique(all_.imagination)) == 70


def test_words_that_training_lacks_are_one_token(here):
    here[-1]["query"] = "turn around please"
    write_rows(Path("pictures"), here)
    folder = Folder("pictures")
    examples = make(folder, "darker", 3, 0)
    queries = [text(query, vocabulary(folder)) for query in examples.query]
    assert f"turn {UNKNOWN} please" in queries and "around" not in vocabulary(folder)


def test_poses_and_thoughts_are_optional(here):
    here[0]["pose"] = [[2, 0, -1]]
    del here[1]["cot"]
    write_rows(Path("pictures"), here)
    examples = make(Folder("pictures"), "train", 70, 0)
    assert sorted(map(tuple, examples.pose[:, 0]))[-1] == (3, 1, 0)
    assert sum(pose.any() for pose in examples.pose) == 1
    assert (examples.cot == NOTHING).all(1).sum() == 1 and examples.cot.shape == (70, 2)


def test_pictures_become_codes_as_they_are(here):
    config = Config(data="pictures", batch_size=16, codes=32)
    folder, = tasks_of(config).values()
    torch.manual_seed(0)
    tokenizer = Tokenizer("pictures", 32).eval()
    torch.nn.init.normal_(tokenizer.codebook)
    examples, data = prepare(config, folder, "val", tokenizer, 6)
    for e in range(6):
        name = folder.paths[examples.imagination[e, 0, 0]]
        pixels = torch.from_numpy(np.array(Image.open(name)))
        assert torch.equal(data.imagination[e], tokenizer.encode(pixels))
    assert data.views.shape == (6, 1, 2, 2)


def test_the_tokenizer_learns_from_training_pictures_alone(here):
    config = Config(data="pictures", batch_size=16)
    folder, = tasks_of(config).values()
    pictures, = tokenizer_pictures(config, [folder], "train", 40).values()
    assert pictures.pixels.shape == (40, 16, 16, 3)
    assert torch.equal(pictures.pixels, pictures.again)
    names = [folder.paths[number].name for number in pictures.cells.flat]
    assert all(name.startswith("train") for name in names) and len(set(names)) == 40


def test_views_and_imaginations_may_differ_in_size(here):
    for row in here:
        path = Path("pictures") / row["views"][0]
        Image.open(path).resize((32, 24)).save(path)
    config = Config(data="pictures", batch_size=16)
    folder, = tasks_of(config).values()
    groups = tokenizer_pictures(config, [folder], "train", 30).values()
    assert [tuple(group.pixels.shape[1:3]) for group in groups] == [(16, 16), (24, 32)]
    resized = Folder("pictures", size=8, patch=4)
    assert resized.sides_of == {"views": (8, 8), "imagination": (8, 8)}


def test_the_same_content_elsewhere_is_the_same_folder_and_a_pixel_makes_another(here):
    shutil.copytree("pictures", "copy")
    assert Folder("pictures").DIGEST == Folder("copy").DIGEST
    path = "copy/val3.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    assert Folder("pictures").DIGEST != Folder("copy").DIGEST


@pytest.mark.parametrize("mode, suffix", [("RGBA", "png"), ("L", "png"), ("P", "png"),
                                          ("RGB", "jpg")])
def test_pictures_of_any_mode_are_read_as_rgb(here, mode, suffix):
    source = Image.open("pictures/val0.png")
    source.convert(mode).save(f"pictures/other.{suffix}")
    read = Folder("pictures").read(Path(f"pictures/other.{suffix}").resolve())
    assert read.shape == (16, 16, 3) and read.dtype == np.uint8
    wanted = np.array(source.convert(mode).convert("RGB")).astype(int)
    assert np.abs(read - wanted).mean() < 25 * (suffix == "jpg") + 0.5


def test_a_photograph_is_read_as_its_camera_was_held(here):
    source, held = Image.open("pictures/val0.png").convert("RGB"), Image.Exif()
    held[0x0112] = 6                                   # turned to the right by 90 degrees
    source.save("pictures/turned.jpg", quality=100, exif=held)
    read = Folder("pictures").read(Path("pictures/turned.jpg").resolve()).astype(int)
    turned = np.rot90(np.array(source), -1)
    assert np.abs(read - turned).mean() < np.abs(read - np.array(source)).mean() / 4


# ---------------------------------------------------------------------- measures without a rule
def test_another_answer_is_of_the_same_query(here):
    folder = Folder("pictures")
    examples = make(folder, "train", 70, 0)
    donor, found = other_answers(folder, examples, np.random.default_rng(0))
    assert found.all() and (examples.query[donor] == examples.query).all()
    assert (examples.answer[donor] != examples.answer).all()
    alone = examples._replace(query=np.arange(140).reshape(70, 2))
    assert not other_answers(folder, alone, np.random.default_rng(0))[1].any()


def test_a_picture_implies_the_answer_of_its_example(here):
    class AnyRun:
        task = Folder("pictures")
    examples = make(AnyRun.task, "train", 4, 0)
    examples.query[:] = 7
    examples.query[3] = 8
    answers = examples.answer[:] = np.array([1, 2, 1, 3])

    class AnyData:
        imagination = torch.tensor([[[1]], [[2]], [[3]], [[1]]])
    implied = reading(AnyRun, examples, AnyData)
    assert implied(AnyData.imagination).tolist() == answers.tolist()
    swapped = torch.tensor([[[2]], [[3]], [[4]], [[2]]])
    assert implied(swapped).tolist() == [2, 1, UNREADABLE, UNREADABLE]
    AnyData.imagination = torch.tensor([[[1]], [[1]], [[3]], [[1]]])       # 1 and 2 contradict
    implied = reading(AnyRun, examples, AnyData)
    assert implied(AnyData.imagination).tolist() == [UNREADABLE, UNREADABLE, 1, 3]


# ------------------------------------------------------------------------------ a tiny run
def figures(path):
    return json.loads(Path(path).read_text())


def test_trained_resumed_evaluated_and_moved(here, quick):
    with stopped_at_save(3):                              # tokenizer, step 2, step 4
        assert call(TRAIN)[0] == 130
    code, out, err = call(TRAIN)
    assert code == 0 and "test imagine" in out, err
    run = Path("runs/pictures-mixed-tiny-s0")
    assert call(f"{TRAIN} --out runs/unbroken")[0] == 0
    once, twice = (load(path / "checkpoint.pt", "")["parts"][0]
                   for path in (run, Path("runs/unbroken")))
    assert all(torch.equal(once[name], twice[name]) for name in once)
    metrics = figures(run / "metrics.json")
    assert metrics["test"]["imagine"]["n"] == 8
    assert set(metrics["test"]["imagine"]["imagination"]) == {"codes", "exact_images", "psnr"}
    assert set(metrics["test"]["direct"]["by_kind"]) == set(ANSWERS)
    assert metrics["tokenizer"]["pictures_psnr"] > 10
    assert {path.name for path in run.glob("*.png")} == {"curve.png", "samples.png",
                                                         "tokenizer.png"}
    code, out, err = call(f"eval.py {run} --replace")
    assert code == 0 and "one with another answer" in out and "opposite" not in out, err
    rows = {row["picture"]: row for row in figures(run / "replace.json")["rows"]}
    assert rows["true"]["n_readable"] == 8 and rows["random codes"]["n_readable"] < 8
    assert rows["true"]["follows"] == rows["true"]["accuracy"]
    assert figures(run / "replace.json")["flips"] == []
    os.rename("pictures", "elsewhere")
    refused(f"eval.py {run}", 2, "--data pictures")
    code, out, err = call(f"eval.py {run} --data elsewhere")
    assert code == 0 and "darker imagine" in out, err
    example = make(load_run(run, data="elsewhere").task, "test", 1, 0)
    assert load_run(run, data="elsewhere").ask(example).answer in ANSWERS
    (Path("elsewhere") / "val0.png").write_bytes((Path("elsewhere") / "val1.png").read_bytes())
    refused(f"eval.py {run} --data elsewhere", 1, "pictures")


def test_statistics_and_preview(here):
    shutil.copy("pictures/train0.png", "pictures/test0.png")
    code, out, err = call("data.py --data pictures")
    assert code == 0 and "views that training has, too: 12.5%" in out, (out, err)
    assert "imagination that training has, too: 0.0%" in out and "darker: 3 examples" in out
    assert Path("preview-pictures.png").read_bytes().startswith(b"\x89PNG")


def test_a_query_that_tells_the_answer_is_found_out(here):
    for row in here:
        row["query"] += " " + row["answer"]
    write_rows(Path("pictures"), here)
    _, out, _ = call("data.py --data pictures")
    assert "by the words of the question alone: 100.0%" in out


def test_a_word_that_often_tells_the_answer_is_found_among_rare_answers():
    """Words that an answer has never had are no reason to guess it."""
    rng = np.random.default_rng(0)
    kind = rng.choice(7, 2000, p=[0.5, 0.25, 0.12, 0.06, 0.03, 0.03, 0.01])
    query = rng.integers(7, 40, (2000, 8))
    told = rng.random(2000) < 0.9
    query[:, 3] = np.where(told, kind, rng.integers(0, 7, 2000))
    examples = SimpleNamespace(query=query[:1000], kind=kind[:1000])
    right = question_only(examples, 40)(query[1000:]) == kind[1000:]
    assert right.mean() > 0.75                         # the usual answer: 0.5


def test_a_built_in_task_is_exported_as_it_is(here):
    code, _, err = call("data.py --task mvc --export mvc --n 30")
    assert code == 0, err
    folder, mvc = Folder("mvc"), load_task("mvc")
    assert splits(folder) == splits(mvc) and folder.OWN_WORDS == (UNKNOWN,)
    there = make(folder, "val", 3, 0)
    known = make(mvc, "val", 3, 0)
    order = [folder.paths[number].name for number in there.imagination.flat]
    known = known.take([int(name.split("-")[0]) for name in order])
    for field in ("pose", "query", "answer", "cot"):
        assert np.array_equal(getattr(there, field), getattr(known, field)), field
    assert np.array_equal(nearest_glyph(folder.paint(there.views)), known.views)
    assert np.array_equal(nearest_glyph(folder.paint(there.imagination)), known.imagination)
    refused("data.py --task mvc --export mvc", 2, "--export mvc", "not empty")


# ------------------------------------------------------------------------------ what is refused
def huge_png(side):
    """The first bytes of a PNG of side x side pixels, with none in it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 10)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (header, data, b"IEND"))


def deep_png():
    """A picture of 16 bits a pixel, all of them above what 8 bits hold."""
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16), 20_000, np.uint16)).save(file, "PNG")
    return file.getvalue()


def with_row(**changes):
    """A change of the row in line 3."""
    return lambda root, rows: rows[2].update(changes)


def with_file(content):
    """A change of the picture that line 3 names first."""
    return lambda root, rows: (root / rows[2]["views"][0]).write_bytes(content(root))


def resized(root, rows):
    Image.new("RGB", (24, 16)).save(root / rows[2]["views"][0])


def linked(root, rows):
    Image.new("RGB", (16, 16)).save(root.parent / "secret.png")
    (root / "link.png").symlink_to((root.parent / "secret.png").resolve())
    rows[2]["views"] = ["link.png"]


def one_answer(root, rows):
    for row in rows:
        row["answer"] = "left"


def new_answer(root, rows):
    rows[-1]["answer"] = "Middle"


def no_val(root, rows):
    rows[:] = [row for row in rows if row["split"] != "val"]


def few(root, rows):
    del rows[10:70]


def odd_sides(root, rows):
    for row in rows:
        Image.new("RGB", (20, 20)).save(root / row["views"][0])


BAD = {
    "missing": (with_row(views=["none.png"]), "line 3", "none.png"),
    "truncated": (with_file(lambda root: (root / "val0.png").read_bytes()[:-200]), "line 3",
                  "train2.png", "truncated"),
    "no picture": (with_file(lambda root: b"GIF89a?"), "line 3", "train2.png"),
    "empty": (with_file(lambda root: b""), "line 3", "train2.png"),
    "huge": (with_file(lambda root: huge_png(20000)), "line 3", "20000 x 20000", "4096"),
    "large": (with_file(lambda root: huge_png(10000)), "line 3", "10000 x 10000", "4096"),
    "other size": (resized, "line 3", "16 x 24", "16 x 16", "--size"),
    "odd sides": (odd_sides, "line 1", "20 x 20", "multiple of 8", "--size"),
    "leaves": (with_row(views=["../other/a.png"]), "line 3", "../other/a.png leaves the folder"),
    "absolute": (with_row(imagination="/etc/hostname"), "line 3", "leaves the folder"),
    "link": (linked, "line 3", "link.png leaves the folder"),
    "null byte": (with_row(imagination="a\0b"), "line 3"),
    "no text": (with_row(query=3), "line 3", '"query" has to be a text'),
    "no list": (with_row(views="a.png"), "line 3", '"views" has to be a list'),
    "no views": (with_row(views=[]), "line 3", "1 to 16"),
    "two views": (with_row(views=["train2.png", "train2.png"]), "line 3", "2 views, before 1"),
    "number": (with_row(views=[3]), "line 3", "no picture"),
    "no answer": (with_row(answer=" "), "line 3", "empty"),
    "long": (with_row(query="a " * 300), "line 3", "300 words"),
    "one too long": (with_row(cot="a " * 256), "line 3", "256 words, and 255 fit"),
    "deep colours": (with_file(lambda root: deep_png()), "line 3", "16 or more bits"),
    "bad pose": (with_row(pose=[[4, 0, 0]]), "line 3", '"pose"', "heading"),
    "odd pose": (with_row(pose=[7]), "line 3", '"pose"'),
    "two poses": (with_row(pose=[[0, 0, 0]] * 2), "line 3", '"pose"'),
    "one answer": (one_answer, "one answer only", "'left'"),
    "new answer": (new_answer, f"line {sum(COUNTS.values())}", "'middle'"),
    "no val": (no_val, "no line has the split val"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders(here, name):
    """One line before any training, and nothing is written. The same of data.py."""
    change, *words = BAD[name]
    root = Path("pictures")
    change(root, here)
    write_rows(root, here)
    before = snapshot(Path())
    refused(TRAIN, 1, "pictures/examples.jsonl", *words)
    refused("data.py --data pictures", 1, *words)
    assert snapshot(Path()) == before


BAD_TEXT = {
    "broken": ('{"split": "train",', "line 2", "JSON"),
    "list": ("[1, 2]", "line 2", "no JSON object"),
    "deep": ("[" * 10 ** 5, "line 2"),
    "bytes": (b"\xff\xfe{", "line 2"),
    "blank": ("", "line 2"),
    "lacking": ('{"split": "train"}', "line 2", '"views"'),
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_lines(here, name):
    line, *words = BAD_TEXT[name]
    file = Path("pictures/examples.jsonl")
    first, _, *others = file.read_bytes().split(b"\n")
    line = line if isinstance(line, bytes) else line.encode()
    file.write_bytes(b"\n".join([first, line, *others]))
    refused(TRAIN, 1, "pictures/examples.jsonl", *words)


def test_an_empty_file(here):
    Path("pictures/examples.jsonl").write_text("")
    refused(TRAIN, 1, "pictures/examples.jsonl", "split train")


def test_a_pipe_for_a_picture_is_no_picture(here):
    os.remove("pictures/train2.png")
    os.mkfifo("pictures/train2.png")
    refused(TRAIN, 1, "line 3", "train2.png")


@pytest.mark.parametrize("options, words", [
    ("--data none", ("--data none", "examples.jsonl")),
    ("--data pictures/val0.png", ("--data pictures/val0.png",)),
    ("--data pictures --task pet", ("--task", "not with --data")),
    ("--data pictures --grid 7", ("--grid", "not with --data")),
    ("--size 16", ("--size", "only with --data")),
    ("--data pictures --size 20", ("20", "multiple of 8")),
    ("--data pictures --patch 4 --size 128", ("128", "up to 64")),
    ("--data pictures --patch 5", ("--patch 5", "4, 8, 16")),
    ("--data pictures --batch-size 71 --n-train 80", ("--batch-size 71", "70 training")),
    ("--data pictures --supervision text_cot", ("--supervision text_cot", '"cot"')),
])
def test_bad_options(here, options, words):
    del here[0]["cot"]
    write_rows(Path("pictures"), here)
    before = snapshot(Path())
    refused(f"{TRAIN.replace('--data pictures', '')} {options}", 2, *words)
    assert snapshot(Path()) == before


@pytest.mark.parametrize("options, words", [
    ("--data pictures --task pet", ("--task", "not with --data")),
    ("--data pictures --views first-person", ("--views", "not with --data")),
    ("--size 16", ("--size", "only with --data")),
    ("--data pictures --export written", ("--export", "not with --data")),
])
def test_bad_options_of_data(here, options, words):
    refused(f"data.py --n 64 {options}", 2, *words)
    assert not Path("written").exists()


def test_folders_that_differ_behind_a_dot_have_runs_of_their_own():
    assert {folder_of(Config(data=f"photos.{v}")).name for v in ("v1", "v2")} == {
        "photos.v1-mixed-s0", "photos.v2-mixed-s0"}


def test_a_run_of_a_task_has_no_folder(run, here):
    refused(f"eval.py {run} --data pictures", 2, "--data pictures", "trained with pt")


def test_only_the_model_of_a_folder_has_room_for_larger_pictures(here):
    config = Config(data="pictures", batch_size=16)
    tokenizer = Tokenizer("pictures")
    large = new_model(config, tasks_of(config).values(), tokenizer)
    small = new_model(Config(), [load_task("pt")], Tokenizer())
    assert large.row.weight.shape[0] == 17 and small.row.weight.shape[0] == 11


def test_the_folder_of_the_guide_can_be_read(here):
    page = (ROOT / "docs/extend.md").read_text()
    script = re.search(r"```python\n(# squares.py.*?)```", page, re.S)[1]
    exec(script.replace("1200", "120").replace("1000", "100").replace("1100", "110"), {})
    folder = Folder("squares")
    assert [len(folder.of(split)) for split in ("train", "val", "test")] == [100, 10, 10]
    assert folder.ANSWERS == ("left", "right")
    line = re.search(r'^{"split".*}$', page, re.M)[0]
    assert set(json.loads(line)) <= set(TYPES)

"""The pictures of the pages show the present code and the published results."""
import json

import numpy as np
import pytest
from conftest import ROOT, TINY, call

from docs import pictures
from ipt_mini import plots


def test_no_picture_is_stale():
    assert pictures.stale() == [], "run python docs/pictures.py"


def test_every_picture_of_a_page_is_drawn_by_the_script():
    there = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".png", ".gif")}
    assert there == set(pictures.PICTURES) == set(pictures.record())


def test_the_animation_is_small():
    assert (ROOT / "docs/imagining.gif").stat().st_size < 1_000_000


def test_a_dollar_in_a_text_is_a_dollar(tmp_path):
    """Not the beginning of a formula, which may be no formula."""
    tile = "a $", np.zeros((8, 8, 3), np.uint8), "black"
    plots.blocks([plots.Block("which costs $x_$ ?", [tile], [("answer", "$5_$", False)])],
                 tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 1000


@pytest.fixture
def check(monkeypatch):
    def called():
        monkeypatch.setattr("sys.argv", ["pictures.py", "--check"])
        pictures.main()
    return called


def test_another_mask_or_a_changed_file_makes_pictures_stale(check, monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "DOCS", tmp_path)
    monkeypatch.setattr(pictures.report, "defaults", lambda views: "the same")
    (tmp_path / "mask.png").write_bytes(b"drawn")
    monkeypatch.setattr(pictures, "PICTURES", {"mask.png": pictures.PICTURES["mask.png"]})
    (tmp_path / "pictures.json").write_text(json.dumps(pictures.facts(["mask.png"])))
    check()
    (tmp_path / "mask.png").write_bytes(b"painted over")
    with pytest.raises(pictures.UserError, match="mask.png") as refused:
        check()
    assert refused.value.code == 1
    (tmp_path / "mask.png").write_bytes(b"drawn")
    real = pictures.layout
    monkeypatch.setattr(pictures, "layout", lambda *args: real(*args, answer_sees_views=True))
    with pytest.raises(pictures.UserError, match="mask.png"):
        check()


def test_blocks_of_a_mask_are_its_segments():
    config = pictures.Config(task="mvc")
    task = pictures.TASKS["mvc"]
    data = pictures.to_data(config, task, pictures.make(task, "train", 1), pictures.Tokenizer(),
                            np.random.default_rng(0))
    parts = pictures.blocks_of(pictures.layout(data, config.branches))
    lengths = {"views": 75, "query": data.query.shape[1], "<imagine>": 1, "imagined": 25}
    assert [(name, end - first) for name, first, end in parts] == [
        *lengths.items(), ("<answer>", 1), ("<answer>", 1)]


@pytest.mark.parametrize("names", [(), ("direct",), ("direct-pt", "imagine-pt", "nats-pt")])
def test_curves_of_any_way_of_answering(names, tmp_path):
    """None at all: a run whose branches fit to no built-in decode."""
    val = dict.fromkeys(names, 0.5)
    log = [dict(step=step, losses=dict(answer=1.0), val=val) for step in (1, 2)]
    plots.curves(log, dict(chance=0.25), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def tiny_runs(tmp_path_factory):
    """Inside, the pictures show tiny runs."""
    root = tmp_path_factory.mktemp("drawn")

    def trained(task, views="cells"):
        folder = root / f"{task}-{views}"
        code, _, err = call(f"train.py --task {task} --views {views} {TINY} --out {folder}")
        assert code == 0, err
        return folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "trained", trained)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", pictures.PICTURES)
def test_every_picture_can_be_drawn(name, tiny_runs, tmp_path):
    pictures.PICTURES[name].draw(tmp_path / name)
    assert (tmp_path / name).read_bytes()[:3] in (b"\x89PN", b"GIF")

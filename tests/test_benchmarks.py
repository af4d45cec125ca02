"""The benchmarks, each in its quick form: they run, and leave what is published as it is."""
import json
from types import SimpleNamespace

import pytest
from conftest import ROOT, refused, script, snapshot

from ipt_mini.config import Config
from ipt_mini.sequential import Comparison
from ipt_mini.tasks import TASKS

SCRIPTS = {"main_job": "--seeds 1 --tasks pt", "soak": "", "speed": "", "probes": "",
           "laboratory": "--task pt --views cells", "quantizers": "",
           "results": "--families mvc", "growth": "", "own_pictures": "--folders minigrid"}
NEEDS = {"probes": "sklearn", "results": "scipy", "own_pictures": "minigrid"}
LONG = "growth", "laboratory", "soak"     # left out of CI


def published():
    return [path.read_bytes() for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))] + [
        snapshot(ROOT / "benchmarks/results")]


def test_every_script_is_tested():
    names = {path.stem for path in ROOT.glob("benchmarks/*.py")} - {"report", "wrong_codes"}
    assert names == set(SCRIPTS)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.long if name in LONG else pytest.mark.slow)
    for name in SCRIPTS])
def test_quick_form(name, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    before = published()
    ran = script(f"benchmarks/{name}.py --quick {SCRIPTS[name]}", tmp_path, timeout=600)
    assert published() == before
    name = {"laboratory": "laboratory_cells", "results": "claims_mvc"}.get(name, name)
    result = json.loads((tmp_path / f"results-quick/{name}.json").read_text())
    assert result["tables"] and all(part["rows"] for part in result["tables"])
    for part in result["tables"]:
        assert all(len(row) == len(part["head"]) for row in part["rows"])
        assert "| " + " | ".join(map(str, part["head"])) + " |" in ran.stdout
    assert "--quick" in result["stamp"]["command"]


@pytest.mark.slow
@pytest.mark.parametrize("flags, name, run, columns", [
    ("--tasks mvc --answer-sees-views", "sees_views", "mvc-mixed-sees_views-s0", ["MVC"]),
    ("--tasks pet,mvc --joint", "joint", "pet-mvc-mixed-joint-s0", ["PET", "MVC"])])
def test_other_settings_are_a_result_of_their_own(tmp_path, flags, name, run, columns):
    script(f"benchmarks/main_job.py --quick --seeds 1 {flags}", tmp_path)
    assert (tmp_path / f"runs/{run}/metrics.json").exists()
    result = json.loads((tmp_path / f"results-quick/{name}.json").read_text())
    assert result["tables"][0]["head"] == ["", *columns]


@pytest.mark.parametrize("command, words", [
    ("main_job.py --seedz 3", "--seedz"), ("results.py --families maze", "--families maze"),
    ("laboratory.py --score odd", "--score odd"),
    ("laboratory.py --variants few", "--variants few"),
    ("laboratory.py --variants 1:2:3:4", "--variants 1:2:3:4"),
    ("laboratory.py --variants 0", "--variants 0"), ("laboratory.py --variants ::2", "::2")])
def test_a_mistake_is_one_line(monkeypatch, tmp_path, command, words):
    if command.startswith("results.py"):
        pytest.importorskip("scipy")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    refused(command, 2, words)
    assert not list(tmp_path.iterdir())


def test_a_score_judges_the_variants_and_has_a_file_of_its_own(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    import laboratory
    asked = []

    def compared(config, text, minutes, score):
        asked.append((text, score))
        return Comparison("nats", [1.0, 1.1, 1.2], [0.5, 0.6, 0.8], [200, 190], 3.0, 3)
    monkeypatch.setattr(laboratory, "compare_settings", compared)
    monkeypatch.setattr(laboratory, "learnt", lambda config, seeds: [
        SimpleNamespace(seconds=dict(data=1, training=2))] * seeds)
    options = SimpleNamespace(quick=True, views="cells", task="pet", score="nats", minutes=3.0)
    laboratory.decide(options, Config(task="pet"), "nats", slice(11, 13))
    result = json.loads((tmp_path / "results-quick/variants_cells_nats_11.json").read_text())
    (shown,) = result["tables"]
    (weighty, first), (halves, second) = asked
    assert weighty == "loss=answer=0.2@0.2:5@0.3,imagination=1.5" and first == second == "nats"
    assert halves.count("half.py:half_") == 2 and "half_answer=0.2@0.2:5@0.3," in halves
    assert shown["head"][2] == "nats" and result["tasks"] == "pet"
    assert [row[:2] for row in shown["rows"]] == [["imagination weight 1.5", "better"],
                                                  ["halves", "better"]]


def test_the_cost_of_a_way_to_teach_counts_the_steps_that_its_task_takes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import results
    monkeypatch.setattr(results, "step_of", lambda config: None)
    monkeypatch.setattr(results, "interleaved", lambda steps, rounds: dict.fromkeys(steps, 2))
    cost = results.cost({"alone": Config(task="pt"), "short": Config(task="pt", steps=5)})
    assert cost == {"alone": 2 * TASKS["pt"].STEPS["cells"], "short": 10}

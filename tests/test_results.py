"""What the pages show of results/: the present figures, and none that were measured with other
defaults."""
import json
from functools import cache
from statistics import mean

import pytest
from conftest import ROOT

from benchmarks import report

RESULT = dict(stamp=dict(command="python benchmarks/some.py", where="a machine", date="2026-01-02"),
              views="cells", notes=["A note."], figures={},
              tables=[dict(head=["", "PT"], rows=[["right, %", 99.5]])])
TABLE = ("`python benchmarks/some.py`: a machine, 2026-01-02.\nA note.\n\n"
         "|  | PT |\n|---|---|\n| right, % | 99.5 |\n")


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A repository with one page and one result, measured with the present defaults."""
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "defaults", lambda views="cells", of="runs", tasks="": "now")
    (tmp_path / "results").mkdir()
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- some -->\n<!-- /some -->\nafter\n")
    put(fingerprint="now")
    return page


def put(fingerprint):
    path = report.RESULTS / "some.json"
    path.write_text(json.dumps(dict(RESULT, fingerprint=fingerprint)))


def call(monkeypatch, *options):
    monkeypatch.setattr("sys.argv", ["report.py", *options])
    report.main()


def test_every_block_is_what_the_results_say_and_none_is_stale():
    assert report.stale() == []
    for path, text in report.pages().items():
        assert report.MISSING not in text, path
        assert path.read_text("utf-8") == text, f"{path}: run python benchmarks/report.py"


def test_published_results_are_whole():
    for path in (ROOT / "benchmarks/results").glob("*.json"):
        result = report.read(path.stem)
        assert result["tables"] and result["stamp"]["command"].startswith("python benchmarks/")
        assert "--quick" not in result["stamp"]["command"]
        assert len(result["fingerprint"]) == 8


def test_the_readme_quotes_the_published_claims():
    readme = " ".join((ROOT / "README.md").read_text().split())
    mixed, label, words_first = (report.read("claims_pt")["figures"][arm]
                                 for arm in ("mixed", "label-only", "text CoT"))

    def of(runs, way):
        return [run["splits"]["test"][way]["accuracy"] for run in runs]
    direct = of(mixed, "direct")
    controls = {arm: of(runs, "direct")
                for arm, runs in report.read("claims_pt_controls")["figures"].items()}
    for words in (f"over five seeds in cells {mean(direct):.0f}% are right ({min(direct):.0f} to "
                  f"{max(direct):.0f}), label-only stays at chance, "
                  f"{mean(of(label, 'direct')):.0f}%",
                  f"blank {mean(controls['a blank picture']):.1f}%",
                  f"another question's {mean(controls[ANOTHERS]):.1f}%",
                  f"the input map {min(controls['the map again']):.0f} to "
                  f"{max(controls['the map again']):.0f}%",
                  f"answering after words, has {mean(of(words_first, 'think')):.1f}%"):
        assert words in readme, words
    assert len(direct) == 5


def test_the_readme_says_what_imagining_in_training_brings_to_pet_and_mvc():
    rows = rows_of("first_person")
    pet_seen, _, mvc_seen = (float(more.split()[0]) - float(less.split()[0])
                             for more, less in zip(rows["direct, %"], rows["label-only, %"]))
    pet, mvc, *again = (report.read(f"claims_{name}")["tables"][1]["rows"][0][2].split()[0]
                        for name in ("pet", "mvc", "pet_first_person", "mvc_first_person"))
    assert (f"PET gains {pet[1:]} points, MVC {mvc[1:]}; in first person {pet_seen:.1f} and "
            f"{mvc_seen:.1f}, trained anew {again[0]} and {again[1]}: undecided (three seeds)"
            ) in page("README.md")
    for task in ("pet", "mvc", "pet_first_person", "mvc_first_person"):
        (claim, split, *_, verdict), *_ = report.read(f"claims_{task}")["tables"][1]["rows"]
        assert claim.startswith("imagining in training helps") and split == "test"
        assert verdict == "undecided"
    follows = rows_of("sees_views")["follows another picture, %"][0].split()[0]
    assert f"a PET model follows another picture in {follows}%" in page("README.md")


def test_the_pages_quote_label_only_with_large_batches():
    def right_in_90(run):
        return next((row["step"] for row in run["log"] if row["val"]["direct"] >= 0.9), None)
    arms = report.read("claims_pt_large")["figures"]
    label, mixed = ([run["splits"]["test"]["direct"]["accuracy"] for run in arms[arm]]
                    for arm in ("label-only", "mixed"))
    assert sum(share > 90 for share in label) == 1 and min(mixed) > 90
    assert (f"learns PT in one seed of three: {label[0]}, {label[1]}, {label[2]}%"
            in page("README.md"))
    late, soon = ([right_in_90(run) for run in arms[arm]] for arm in ("label-only", "mixed"))
    assert late[1:] == [None, None]
    for words in (f"label-only is right in {label[0]}, {label[1]} and {label[2]}%, `mixed`, "
                  f"directly, in {mixed[0]}, {mixed[1]} and {mixed[2]}%.",
                  f"after {soon[0]}, {soon[1]} and {soon[2]} steps, label-only after {late[0]},"):
        assert words in page("docs/results.md"), words
    others = {row[0]: float(row[3]) for row in report.read("claims_pt_label")["tables"][0]["rows"]}
    assert others.pop("batches of 256") > 99 and len(others) == 8 and max(others.values()) < 27


def test_the_readme_quotes_the_claims_in_first_person():
    readme = " ".join((ROOT / "README.md").read_text().split())
    arms = report.read("claims_pt_first_person")["figures"]
    mixed, label, words_first = (
        mean(run["splits"]["test"][way]["accuracy"] for run in arms[arm])
        for arm, way in (("mixed", "direct"), ("label-only", "direct"), ("text CoT", "think")))
    assert f"in first person {words_first:.1f}% ([claims]" in readme
    assert (f"brings as much as in cells: {mixed - label:.1f} points."
            in page("docs/results.md"))
    assert mixed - label > 70


ANOTHERS = "another's picture"


def page(name):
    return " ".join((ROOT / name).read_text().split())


def rows_of(name, part=0):
    """{first cell: the others} of a table of a result."""
    return {row[0]: row[1:] for row in report.read(name)["tables"][part]["rows"]}


def test_the_pages_quote_the_main_job_in_first_person():
    rows = rows_of("first_person")
    (pet, _, mvc), alone, oracle, label, follows = (
        [float(cell.split()[0]) for cell in rows[f"{name}, %"]] for name in (
            "imagine", "direct", "oracle", "label-only", "follows another picture"))
    splits = report.read("first_person_details")["tables"][0]["rows"]
    far = {row[2]: row[3].split()[0] for row in splits if row[:2] == ["PET", "farther"]}
    in_cells = [float(rows_of("main_job")[f"{name}, %"][2].split()[0])
                for name in ("imagine", "direct")]
    direct = rows_of("main_job")["direct, %"][1].split()[0]
    readable = {task: report.followed(runs[0]["replaced"])["n"]
                for task, runs in report.read("first_person")["figures"].items()}
    for words in (f"In MVC yes: {in_cells[0]} against {in_cells[1]}%, in first person {mvc} "
                  f"against {alone[2]}%.",
                  f"In PET in first person {pet} against {alone[0]}%: undecided.",
                  f"In PT direct is right in {direct}%, in first person {alone[1]}%:"):
        assert words in page("README.md"), words
    for words in (f"oracle {oracle[0]}, {oracle[1]}, {oracle[2]}%.",
                  f"its own picture {pet}%, without one {alone[0]}%.",
                  f"the answer follows the picture, in {follows[0]}%.",
                  f"after its own map {mvc}%, without one {alone[2]}%, label-only {label[2]}%.",
                  f"{far['imagine']}% after its own picture, {far['direct']}% without, "
                  f"{far['oracle']}% after the true one.",
                  f"{readable['pet']:,} of 2,000 questions a seed in PET, {readable['pt']:,} in "
                  "PT."):
        assert words in page("docs/results.md"), words


def test_the_results_quote_the_views_in_sight_and_the_laboratory():
    text = page("docs/results.md")
    follows = rows_of("sees_views")["follows another picture, by seed"]
    assert f"its seeds differ: {follows[2]}%." in text
    scores, planted = (rows_of("laboratory_first_person", part) for part in (0, 1))
    seen, share = 100 * float(scores["codes"][3]), scores["nats"][4]
    wrong = planted["10% of the target codes wrong"]
    for words in (f"find a difference of {seen:.1f} points of right codes in 80% of the "
                  f"comparisons, and one of {share}% of the loss",
                  f"falls by {-100 * float(wrong[0]):.1f} points, and all comparisons see it"):
        assert words in text, words
    assert wrong[1] == "100.0" and all(4 < float(row[2]) < 6 for row in scores.values())


def test_the_results_quote_the_laboratory_in_cells():
    scores, planted = (rows_of("laboratory_cells", part) for part in (0, 1))
    text, found = page("docs/results.md"), [row[1] for row in planted.values()]
    more = rows_of("variants_cells_6")
    brings, sees = more["answer weight 1"][1], [float(row[3]) for row in more.values()]
    low, high, lowest, highest = (
        f"{100 * end(log[-1]['val']['codes'] for log in report.read(name)['figures']['logs']):.0f}"
        for name in ("laboratory_cells", "laboratory_first_person") for end in (min, max))
    for words in (f"between {low} and {high}% right codes, in first person between {lowest} and "
                  f"{highest}%.",
                  f"a difference of {100 * float(scores['codes'][3]):.1f} points or more",
                  f"in {found[0]}, {found[1]} and {found[2]}% of the comparisons",
                  f"and {scores['codes'][2]}% of comparisons of equals",
                  f"({100 * float(planted['10% of the target codes wrong'][0]):+.1f} points)",
                  "finds all three in 100%", "ends with at least 99.9% right codes",
                  f"answer weight 1, by {100 * float(brings):.1f} points",
                  f"below {100 * min(sees):.0f} to {100 * max(sees):.0f} points would not"):
        assert words in text, words
    assert [row[4] for row in planted.values()] == ["100.0"] * 3         # by nats
    codes = rows_of("main_job")["codes right in validation, by seed"]
    assert min(float(x) for cell in codes for x in cell.split(", ")) >= 99.9


@pytest.mark.parametrize("name, part, begin", [
    ("variants_first_person", 0, "**In first person** no variant is better"),
    ("variants_first_person_6", 0, "**Seven more**, on another CPU"),
    ("variants_cells", 0, "By right codes, better"),
    ("variants_cells_6", 0, "**Seven more in cells**"),
    ("variants_cells_nats", 0, "The same by the loss of the true codes")])
def test_the_pages_quote_the_verdicts_on_variants(name, part, begin):
    rows, text = rows_of(name, part), page("docs/results.md")
    said = text[text.index(begin):].partition("<!--")[0].lower()
    for verdict in ("better", "worse", "undecided"):
        sentence = said.partition(f"{verdict}: ")[2].partition(". ")[0]     # empty if not said
        assert [variant for variant in rows if variant in sentence] == [
            variant for variant, row in rows.items() if row[0] == verdict], verdict


def test_the_guide_quotes_a_comparison():
    rows, text = rows_of("variants_first_person"), page("docs/results.md")
    most = [f"{100 * (float(row[1]) + float(row[2])):.1f}" for row in rows.values()
            if row[0] == "undecided"]
    assert f"at most {most[0]}, {most[1]} and {most[2]} points" in text
    _, difference, half, visible, steps, pairs, minutes = rows["rare 0.5"]
    points = [abs(100 * float(number)) for number in (difference, half, visible)]
    for words in (f"codes {difference} +- {half}, {pairs} pairs of seeds (300 and {steps} steps), "
                  f"{minutes} minutes; visible were differences of {visible}, with a power of 0.8",
                  "fell by {:.1f} points, the 95% interval is {:.1f} points wide on each side, "
                  "and a difference of {:.1f} points".format(*points)):
        assert words in page("docs/extend.md"), words


def test_the_results_quote_what_comes_late():
    shown = report.over_training([report.read("main_job"), report.read("first_person")])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines()
            if "imagine" in line or "oracle" in line]
    own, oracle = ({row[0]: [float(cell) for cell in row[2:]] for row in rows if row[1] == name}
                   for name in ("imagine", "oracle"))
    gap = {name: max(oracle[name][i] - own[name][i] for i in range(1, 7)) for name in own}
    most = max(gap.pop(name) for name in ("PET, cells", "MVC, cells"))
    assert len(gap) == 4 and min(gap.values()) > 10              # drawing is late
    assert min(oracle["PT, cells"][0], oracle["PT, first person"][0]) >= 90
    assert max(oracle["MVC, first person"][:2]) < 35             # reading is late, too
    runs = report.read("main_job")["figures"]["mvc"]
    codes = mean(next(row["val"]["codes"] for row in run["log"] if row["step"] == 200)
                 for run in runs)
    for words in (f"{100 * codes:.0f}% of the codes are right, but only "
                  f"{oracle['MVC, cells'][1]:.0f}% of the answers after true pictures",
                  f"by about {most:.0f} points at most from 20% on"):
        assert words in page("docs/results.md"), words


def test_the_results_quote_pet_in_first_person():
    shown, claims = report.read("claims_pet_first_person")["tables"]
    rows = {(row[0], row[1]): row for row in shown["rows"]}
    words, own, alone, oracle = (rows[arm] for arm in (
        ("text CoT", "think"), ("mixed", "imagine"), ("mixed", "direct"), ("mixed", "oracle")))
    helps, *_, bias = [row[2].split()[0] for row in claims["rows"]]
    before = rows_of("first_person")["label-only, by seed"][0]
    for said in (f"Label-only has {rows['label-only', 'direct'][3]}%, in the main job {before}%",
                 f"nothing that three seeds can show, {helps} points.",
                 f"A chain of thought in words has {words[2].split()[0]}%",
                 f"on *farther* {words[5]} against {oracle[5]}%",
                 f"After its own picture the model has {own[2].split()[0]}%, less than without "
                 f"one, {alone[2].split()[0]}%, and {bias[1:]} points less than after the true one",
                 f"by the verdict that is {claims['rows'][-1][-1]}"):
        assert said in page("docs/results.md"), said


def test_the_results_quote_mvc_in_first_person():
    shown, claims = report.read("claims_mvc_first_person")["tables"]
    right = {(row[0], row[1]): float(row[2].split()[0]) for row in shown["rows"]}
    own, alone = right["mixed", "imagine"], right["mixed", "direct"]
    found = {row[0]: row for row in claims["rows"] if row[1] == "test"}
    worse, bias = (found[claim] for claim in (
        "a chain of thought is worse than labels alone",
        "the true picture is better than the model's (exposure bias)"))
    helps = claims["rows"][0][2].split()[0]
    assert worse[-1] == bias[-1] == "holds"
    for said in (f"it has {right['text CoT', 'think']}%, labels alone "
                 f"{right['label-only', 'direct']}% (*holds*, by {worse[2].split()[0][1:]} points)",
                 f"nothing that three seeds can show, {helps} points. After its own map",
                 f"the model has {own}%, {bias[2].split()[0][1:]} points less than after the true "
                 f"one (*holds*), and {own - alone:.1f} more than without one, {alone}%"):
        assert said in page("docs/results.md"), said


def test_the_results_quote_how_many_codes_are_needed():
    shown, claims = report.read("claims_pet_codes")["tables"]
    right = {name: [row[2].split()[0] for row in shown["rows"] if row[1] == name]
             for name in ("direct", "imagine", "oracle")}
    own = right["imagine"]
    for said in (f"right after its own picture in {own[0]}%, with 128 in {own[1]}%, with 32 in "
                 f"{own[2]}% (both differences *hold*)",
                 f"After the true picture it is right in {', '.join(right['oracle'])}%, without "
                 f"one in {', '.join(right['direct'])}%"):
        assert said in page("docs/results.md"), said
    assert [row[-1] for row in claims["rows"]] == ["holds", "holds"]


def test_the_results_quote_the_controls():
    rows = report.read("claims_pt_controls")["tables"][0]["rows"]
    direct = {row[0]: row[2].split()[0] for row in rows if row[1] == "direct"}
    by_seed = {row[0]: row[3] for row in rows if row[1] == "direct"}
    mvc = {row[0]: row[2].split()[0] for row in report.read("claims_mvc")["tables"][0]["rows"]
               if row[1] in ("think", "direct")}
    assert (f"it has {mvc['text CoT']}%, labels alone {mvc['label-only']}%"
            in page("docs/results.md"))
    for words in (f"a blank picture {direct['a blank picture']}%",
                  f"another question's {direct[ANOTHERS]}%",
                  f"the map again {by_seed['the map again']}%",
                  f"with four blocks {direct['label-only, 4 blocks']}%"):
        assert words in page("docs/results.md"), words


def test_the_results_quote_how_many_cells_are_needed():
    rows = report.read("claims_pt_cells")["tables"][0]["rows"]
    by_seed, after = ({row[0]: row[3] for row in rows if row[1] == way}
                      for way in ("direct", "imagine"))
    for words in (f"with the compass alone {by_seed['the compass alone']}%",
                  f"where no candidate is, {by_seed['the first 10 cells']}%",
                  f"the five cells behind them {by_seed['the first 13 cells']}%",
                  f"with all {by_seed['mixed']}%",
                  f"which lacks two cells, it is right in {after['the first 13 cells']}% only"):
        assert words in page("docs/results.md"), words


def test_the_results_quote_how_many_examples_are_needed():
    rows = report.read("claims_pt_examples")["tables"][0]["rows"]
    by_seed, after = ({row[0]: row[3] for row in rows if row[1] == way}
                      for way in ("direct", "imagine"))
    read = next(row[2].split()[0] for row in rows if row[:2] == ["1,000 examples", "oracle"])
    for words in (f"with 80,000 {by_seed['80,000 examples']}%",
                  f"with 10,000 {by_seed['10,000 examples']}%, after their own pictures "
                  f"{after['10,000 examples']}%",
                  f"with 1,000 {by_seed['1,000 examples']}%",
                  f"only true pictures are read ({read}%)"):
        assert words in page("docs/results.md"), words


def test_the_results_quote_the_other_families_and_quantizers():
    rows = {(row[0], row[1]): row[2:] for name in ("claims_pt_ipt", "claims_pt_half")
            for row in report.read(name)["tables"][0]["rows"]}
    lost = [float(x) < 35 for x in rows["half", "imagine"][1].split(", ")]
    assert (sum(lost), len(lost)) == (2, 5)                  # two seeds of five
    assert (f"On longer routes IPT has {rows['IPT', 'imagine'][3]}%, mixed "
            f"{rows['mixed', 'imagine'][3]}%") in page("docs/results.md")
    helps = report.read("claims_pt_first_person")["tables"][1]["rows"][0][2].split()[0]
    assert f"as much as in cells: {helps[1:]} points" in page("docs/results.md")
    claims = {row[0]: row for row in report.read("claims_mvc")["tables"][1]["rows"]}
    worse = claims["a chain of thought is worse than labels alone"]
    assert worse[-1] == "holds"
    assert f"by {worse[2].split()[0][1:]} points" in page("docs/results.md")
    decibels = {name: float(row[1]) for name, row in rows_of("quantizers").items()}
    cost = decibels["the same without codes"] - decibels["ours, 512 codes"]
    assert f"Codes cost {cost:.1f} dB" in page("docs/results.md")


def test_the_results_quote_the_model_of_all_tasks():
    rows, alone, text = rows_of("joint"), rows_of("main_job"), page("docs/results.md")
    own, theirs = ([cell.split()[0] for cell in found["imagine, %"]] for found in (rows, alone))
    direct, directly = (found["direct, %"][2].split()[0] for found in (rows, alone))
    longer, longest, farther, farthest = (
        next(row[3].split()[0] for row in report.read(f"{name}_details")["tables"][0]["rows"]
             if row[:3] == [*split, "imagine"])
        for split in (("PT", "longer"), ("PET", "farther")) for name in ("joint", "main_job"))
    for words in (f"it is right in {own[0]}, {own[1]} and {own[2]}% (PET, PT, MVC), models of "
                  f"their own in {theirs[0]}, {theirs[1]} and {theirs[2]}%.",
                  f"direct answers of MVC right, {direct} against {directly}%",
                  f"*farther* of PET ({farther} against {farthest}%)",
                  f"*longer* of PT ({longer} against {longest}%)"):
        assert words in text, words


def test_the_pages_quote_what_grows():
    rows = rows_of("growth")
    steps, direct, own, oracle = ({name: row[place] for name, row in rows.items()}
                                  for place in (4, 6, 7, 8))
    memory = [float(row[3]) for row in rows.values()]
    assert f"between {min(memory)} and {max(memory)} GiB" in page("docs/speed.md")
    assert steps["default"] == 400 and steps["grid 9"] == "never"
    assert {steps[name] for name in ("n_embd 256", "n_layer 4", "n_train 200000")} == {1300}
    again = [next(row["step"] for row in run["log"] if row["val"]["imagine"] >= 0.9)
             for run in report.read("claims_pt")["figures"]["mixed"]]
    for words in ("need 1300 steps for 90% after their own pictures, the default 400 here, but "
                  f"{min(again)} to {max(again)} in five seeds on another CPU",
                  f"{own['grid 7']}% after its own picture, and {direct['grid 7']}% directly",
                  f"not learnt**: {own['grid 9']}% after its own picture. True pictures are read "
                  f"in {oracle['grid 9']}%"):
        assert words in page("docs/speed.md"), words


def test_the_guide_quotes_what_own_pictures_gave():
    rows, text = rows_of("own_pictures"), page("docs/extend.md")
    minigrid, photos, mazes = (cell.split()[0] for cell in rows["imagine, %"])
    follows = sorted(map(float, rows["follows another picture, %"]))
    codes, drawn, mean_colour = (
        [float(cell) for cell in rows[name]] for name in (
            "imagined codes right, %", "true pictures from their codes, PSNR",
            "with each patch in its mean colour, PSNR"))
    for words in (f"after their own pictures {minigrid}% and {mazes}% are right",
                  f"yet the corner is found in {photos}%",
                  f"follows another one in {follows[0]:.0f} to {follows[-1]:.0f}%)"):
        assert words in text, words
    assert 45 < codes[1] < 55                                # half of them
    assert drawn[0] > 30 and drawn[1] > mean_colour[1] + 3   # what a tokenizer has to reach
    assert min(float(cell.split()[0]) for cell in rows["label-only, %"]) > 90


def test_a_page_gets_the_table_between_its_marks(house, monkeypatch):
    call(monkeypatch)
    assert house.read_text() == f"before\n<!-- some -->\n{TABLE}<!-- /some -->\nafter\n"
    call(monkeypatch, "--check")


def test_a_mark_may_name_rows_of_several_results_to_show_as_columns(house, monkeypatch):
    rows = [["right, %", 99.5, 98], ["minutes", 2, 3], ["wrong, %", 0.5, 2]]
    for name, views in (("some", "cells"), ("more", "first-person")):
        result = dict(RESULT, fingerprint="now", views=views,
                      tables=[dict(head=["", "PET", "PT"], rows=rows)])
        (report.RESULTS / f"{name}.json").write_text(json.dumps(result))
    mark = "<!-- some+more: wrong, %; right, % -->\n"
    house.write_text(f"{mark}old\n<!-- /some+more -->\n")
    call(monkeypatch)
    assert house.read_text().startswith(mark) and house.read_text().count("a machine") == 1
    shown = [line for line in house.read_text().splitlines() if line.startswith("|")]
    assert shown == ["||wrong, %|right, %|", "|---|---|---|",
                     "|PET, cells|0.5|99.5|", "|PT, cells|2|98|",
                     "|PET, first person|0.5|99.5|", "|PT, first person|2|98|"]
    put(fingerprint="then")
    call(monkeypatch)
    assert house.read_text() == f"{mark}{report.STALE}<!-- /some+more -->\n"


def test_a_mark_may_ask_for_the_verdicts_of_families(house, monkeypatch):
    claims = {"claims_pt": [["helps", "test", "+5 [4, 6]", "5, 5, 5", "0.01", "holds"],
                            ["helps", "dense", "+1 [0, 2]", "1, 1, 1", "0.2", "undecided"]],
              "claims_pt_few": [["helps", "test", "+5 [4, 6]", "5, 5", "0.01", "holds"],
                                ["is deeper", "test", "-3 [-4, -2]", "-3, -3", "0.1", "not here"]],
              "claims_pet_large": [["helps", "test", "+0 [-1, 1]", "0, 0, 0", "1", "undecided"]]}
    for name, rows in claims.items():
        result = dict(RESULT, fingerprint="now", tables=[{}, dict(head=[], rows=rows)])
        (report.RESULTS / f"{name}.json").write_text(json.dumps(result))
    house.write_text(f"<!-- {'+'.join(claims)}: verdicts -->\n<!-- /{'+'.join(claims)} -->\n")
    call(monkeypatch)
    assert [line for line in house.read_text().splitlines() if line.startswith("| ")] == [
        "| claim | split | holds | undecided | not here |",
        "| helps | test | PT +5 [4, 6] | PET large +0 [-1, 1] |  |",
        "| helps | dense |  | PT +1 [0, 2] |  |",
        "| is deeper | test |  |  | PT few -3 [-4, -2] |"]
    assert house.read_text().count("some.py") == 1       # one command, named once


def test_check_changes_nothing_and_names_the_page(house, monkeypatch):
    before = house.read_text()
    with pytest.raises(report.UserError, match="README.md") as refused:
        call(monkeypatch, "--check")
    assert refused.value.code == 1 and house.read_text() == before


def test_a_stale_result_is_not_shown(house, monkeypatch):
    call(monkeypatch)
    put(fingerprint="then")
    assert report.stale() == ["some"]
    with pytest.raises(report.UserError):
        call(monkeypatch, "--check")
    call(monkeypatch)
    assert report.STALE in house.read_text() and "99.5" not in house.read_text()


def test_a_missing_result_is_said_in_one_line(house, monkeypatch):
    (report.RESULTS / "some.json").unlink()
    call(monkeypatch)
    assert house.read_text().count(report.MISSING) == 1


KINDS = "data", "tokenizer", "runs"          # what a result depends on
defaults = report.defaults.__wrapped__       # what is kept of an earlier call is not looked at


@pytest.fixture(scope="module")
def present():
    return [defaults(of=of) for of in KINDS]


def test_the_fingerprint_is_the_same_twice(present):
    assert defaults() == defaults(tasks="pet,pt,mvc") == present[-1]
    assert len(set(present)) == len(KINDS)


def test_a_result_depends_on_the_tasks_that_it_names_alone(monkeypatch):
    monkeypatch.setattr(report, "seen", lambda name, views: name)
    before = {names: defaults(tasks=names) for names in ("pt", "pt,mvc", "mvc")}
    assert len(set(before.values())) == 3
    change_steps(monkeypatch)
    assert [names for names in before if defaults(tasks=names) != before[names]] == [
        "pt,mvc", "mvc"]


def change_config(monkeypatch):
    from ipt_mini.config import Config
    monkeypatch.setattr(report, "Config", lambda **more: Config(**{"muon_lr": 0.01, **more}))


def change_world(monkeypatch):
    world = dict(report.TASKS["pt"].WORLDS["longer"], objects=7)
    monkeypatch.setitem(report.TASKS["pt"].WORLDS, "longer", world)


def change_steps(monkeypatch):
    monkeypatch.setattr(report.TASKS["mvc"], "STEPS", {"cells": 10})


def change_supervision(monkeypatch):
    monkeypatch.setitem(report.SUPERVISION, "mixed", "imagine answer")


def change_tokenizer(monkeypatch):
    monkeypatch.setattr(report.Tokenizer, "warmup", 0.5)


def change_glyph(monkeypatch):
    from ipt_mini.tasks import grid
    monkeypatch.setattr(grid, "_LIT", grid._LIT[:, ::-1])
    monkeypatch.setattr(report, "seen", cache(report.seen.__wrapped__))     # of the new glyphs


@pytest.mark.parametrize("change, stale", [
    (change_config, "runs"), (change_steps, "runs"), (change_supervision, "runs"),
    (change_tokenizer, "tokenizer runs"), (change_world, "data tokenizer runs"),
    (change_glyph, "data tokenizer runs")])
def test_another_default_makes_results_stale_that_depend_on_it(
        change, stale, present, monkeypatch):
    change(monkeypatch)
    changed = [of for of, before in zip(KINDS, present) if defaults(of=of) != before]
    assert changed == stale.split()

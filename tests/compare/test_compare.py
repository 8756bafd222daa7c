"""Comparing: what is trained, resumed and taken as it is; a failing run takes no other along; what the table says."""

import csv
import json
import os
import shlex
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support.runs import studio

from studio.atomic import write_json
from studio.compare.compare import compare, plan
from studio.compare.launch import Ending, LaunchTemplate, TrainingJob, lock_folder, run_jobs
from studio.compare.summary import collect_numbers, desired_direction, notes, summarise
from studio.compare.sweep import Variant, resolve_variants
from studio.compare.table import show_comparison, tables, write_comparison
from studio.config import resolve
from studio.errors import StudioError
from studio.evaluate.probes import ProbeOptions, probe
from studio.runs import checkpoint
from studio.training import session

BASE = """
data: {name: digits}
nets: {width: 4}
method: {name: dig, z: 4, s: 3}
train: {images: 64, batch: 16, threads: 1, grid_every: 0, log_every: 16}
paper:
  {source: Table 1, protocol: carton, eval: authors, images: 1000,
   attributes: {digit: {salient: {best: 0.9, average: 0.8, worst: 0.7}}}}
"""
# As studio/train.py, but without the pictures.
QUICK = f"""
import sys
sys.path[0] = {str(Path(__file__).parent.parent.parent)!r}
from studio import cli
from studio.render import registry
registry.PICTURES.clear()
cli.train_main()
"""


@pytest.fixture
def rows() -> list[Variant]:
    """Two rows of two seeds each."""
    Path("base.yaml").write_text(BASE)
    return resolve_variants(["base.yaml"], ["method.s=3,2"], seeds=2)


@pytest.fixture
def quick() -> str:
    """A launcher that trains as studio/train.py does, without its pictures."""
    Path("quick.py").write_text(QUICK)
    return f"{shlex.quote(sys.executable)} quick.py {{args}}"


def trained(row: Variant, seed: int, out: Path, **options: object) -> Path:
    """Trains one run of a row in this process."""
    folder = out / f"{row.folder}-seed{seed}"

    def finish(done: session.TrainingSession) -> None:
        measured = probe(done.engine.ema.method, done.dataset, ProbeOptions(limit=100))
        write_json(folder / "probe.json", {"images_seen": done.engine.images_seen, **measured})

    session.train(row.at(seed), folder, finish=finish, **options)
    return folder


def states(result: list) -> list[str]:
    return [f"{member.variant.label}/{member.seed}: {member.state}" for member in result]


def test_what_is_missing_is_trained_what_is_half_done_resumed_and_a_failure_stays_alone(
    rows: list[Variant], quick: str
) -> None:
    out, (a, b) = Path("out"), rows
    done = trained(a, 0, out)
    half = trained(b, 0, out, stop_after=0.0)
    strange = out / f"{b.folder}-seed1"
    strange.mkdir()
    (strange / "photo.jpg").touch()
    before = [(c.path, c.path.stat().st_mtime_ns) for c in checkpoint.every(done)]
    assert [member.state for member in plan(rows, out)] == ["done", "half", "missing", "failed"]

    words = [
        "compare",
        "base.yaml",
        "--set",
        "method.s=3,2",
        "--seeds",
        2,
        "--out",
        out,
        "--launcher",
        quick,
        "--jobs",
        2,
    ]
    printed, _ = studio(*words, "--json", code=1)
    result = json.loads(printed)  # nothing else on stdout
    first, second = result["rows"]
    assert [run["state"] for row in result["rows"] for run in row["runs"]] == [
        "done",
        "done",
        "done",
        "failed",
    ]
    assert "not empty and not a run" in second["runs"][1]["error"]
    assert [p.name for p in strange.iterdir()] == ["photo.jpg"]
    assert [(c.path, c.path.stat().st_mtime_ns) for c in checkpoint.every(done)] == before
    assert "resumed at 16 images" in Path(f"out/logs/{half.name}.log").read_text()
    assert not Path(f"out/logs/{done.name}.log").exists()

    value = json.loads((done / "probe.json").read_text())["rows"][0]["salient"]
    digit = first["numbers"]["digit.salient"]
    assert digit["values"]["0"] == value
    assert digit["n"] == 2
    assert digit["mean"] == pytest.approx(sum(digit["values"].values()) / 2)
    assert digit["paper"] == {"best": 0.9, "average": 0.8, "worst": 0.7}
    assert second["numbers"]["digit.salient"]["n"] == 1
    assert second["paper"] is None  # s = 2 is not what the paper measured
    assert first["parameters"] > second["parameters"] > 1000
    assert first["images_per_second"] > 0
    written = json.loads(Path("out/compare.json").read_text())
    assert written == result
    assert [
        run["state"] for row in compare(rows, out, log=print)["rows"] for run in row["runs"]
    ].count("done") == 3


def test_a_bigger_budget_resumes_and_another_config_in_the_folder_is_refused_for_that_run_only(
    rows: list[Variant],
) -> None:
    out, a = Path("out"), rows[0]
    folder = trained(a, 0, out)
    bigger = resolve_variants(["base.yaml"], ["method.s=3,2"], seeds=1, budget=96)
    assert bigger[0].folder == a.folder
    assert [member.state for member in plan(bigger, out)] == ["half", "missing"]
    smaller = resolve_variants(["base.yaml"], ["method.s=3,2"], seeds=1, budget=32)
    assert [member.state for member in plan(smaller, out)] == ["done", "missing"]
    Path("base.yaml").write_text(BASE.replace("z: 4", "z: 5"))
    found = plan(resolve_variants(["base.yaml"], ["method.s=3,2"], seeds=1), out)
    assert [member.state for member in found] == ["failed", "missing"]
    assert "method.z: 4 in the run, 5 now" in found[0].error
    Path("base.yaml").write_text(
        BASE.replace("Table 1", "Table 2")
    )  # documentation: nothing that is learnt
    assert plan(resolve_variants(["base.yaml"], ["method.s=3,2"], seeds=1), out)[0].state == "done"
    (folder / "probe.json").write_text(
        '{"images_seen": 48, "rows": []}'
    )  # of an earlier checkpoint
    assert plan(rows, out)[0].state == "half"
    (folder / "probe.json").write_text('{"images_s')
    assert plan(rows, out)[0].state == "half"


def test_a_scheduler_takes_the_runs_and_calling_again_collects_them(rows: list[Variant]) -> None:
    Path("queue.py").write_text(
        "import json, sys\nopen('queue.jsonl', 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
    )
    launcher = LaunchTemplate.parse(
        f"{shlex.quote(sys.executable)} queue.py {{name}} {{train}} {{args}}"
    )
    out, one = Path("out"), rows[:1]
    queue = Path("queue.jsonl")
    result = compare(one, out, launcher)
    assert [run["state"] for run in result["rows"][0]["runs"]] == ["submitted", "submitted"]
    jobs = [json.loads(line) for line in queue.read_text().splitlines()]
    assert [job[0] for job in jobs] == [f"{one[0].folder}-seed0", f"{one[0].folder}-seed1"]
    assert all(job[1].endswith("train.py") and "--cfg" in job for job in jobs)
    assert [run["state"] for run in compare(one, out, launcher)["rows"][0]["runs"]] == [
        "submitted",
        "submitted",
    ]
    assert len(queue.read_text().splitlines()) == 2  # nothing is submitted twice
    trained(one[0], 0, out)  # what the scheduler does in its own time
    result = compare(one, out, launcher)
    assert [run["state"] for run in result["rows"][0]["runs"]] == ["done", "submitted"]
    assert result["rows"][0]["numbers"]["digit.salient"]["n"] == 1
    write_comparison(result, tables(result))
    assert f"{one[0].folder}-seed1: submitted: 0 of 64 images" in Path("out/compare.md").read_text()
    compare(one, out, launcher, resubmit=True)
    assert [json.loads(line)[0] for line in queue.read_text().splitlines()[2:]] == [
        f"{one[0].folder}-seed1"
    ]
    # Once collected it is forgotten: a bigger budget is launched, not waited for.
    longer = resolve_variants(["base.yaml"], ["method.s=3,2"], seeds=1, budget=96)[:1]
    assert plan(longer, out)[0].state == "half"


def test_another_protocol_is_measured_once_and_kept_beside_the_runs(
    rows: list[Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, one = Path("out"), resolve_variants(["base.yaml"], seeds=1)
    folder = trained(one[0], 0, out)
    calls = []

    def measured(method: object, dataset: object, options: ProbeOptions) -> dict:
        calls.append((options.protocol, options.eval_mode))
        return probe(method, dataset, replace(options, limit=100))

    monkeypatch.setattr("studio.compare.compare.measure", measured)
    told: list[str] = []
    for _ in range(2):
        result = compare(
            one, out, options=ProbeOptions("carton", eval_mode="authors"), log=told.append
        )
        assert result["protocol"] == "carton"
        assert result["rows"][0]["attributes"]["digit"]["metric"] == "accuracy"
    assert calls == [("carton", "authors")]
    assert len(told) == 1
    assert compare(one, out)["rows"][0]["attributes"]["digit"]["metric"] == "balanced_accuracy"
    assert {p.name for p in folder.iterdir()} == {
        "config.yaml",
        "log.jsonl",
        "tensorboard",
        "checkpoints",
        "probe.json",
    }


def test_the_most_central_training_is_named_for_each_row_or_why_there_is_none(
    rows: list[Variant],
) -> None:
    out, two = Path("out"), resolve_variants(["base.yaml"], seeds=2)
    for seed in (0, 1):
        trained(two[0], seed, out)
    said: list[str] = []
    result = compare(two, out, central=True, log=said.append)
    found = result["rows"][0]["centrality"]
    assert set(found["scores"]) == {"seed 0", "seed 1"}
    assert found["winner"] in found["scores"]
    assert any("most central, without labels: seed" in note for note in result["notes"])
    assert len(said) == 1
    alone = compare(resolve_variants(["base.yaml"], seeds=1), out, central=True, log=said.append)
    assert "winner" not in alone["rows"][0]["centrality"]
    assert any("no most central training" in note for note in alone["notes"])
    assert "centrality" not in compare(two, out)["rows"][0]


# What is summed up, from made-up measurements.


def measured(salient: float, common: float, images: int = 64, **more: object) -> dict:
    row = {
        "attribute": "digit",
        "belongs": "salient",
        "metric": "balanced_accuracy",
        "chance": 0.1,
        "salient": salient,
        "common": common,
        "whole": None,
    }
    texture = {**row, "attribute": "texture", "belongs": "common"}
    return {"images_seen": images, "rows": [row, texture], **more}


def summed(probes: dict[int, dict], assignments: tuple = ()) -> dict:
    config = resolve(yaml.safe_load(BASE), "base", "base", assignments)
    failed = {"state": "failed", "error": "not finite at iteration 7"}
    runs = [
        {
            "row": "a",
            "seed": s,
            "run": f"out/a-seed{s}",
            "state": "done",
            "images_seen": 64,
            "images": 64,
            "error": None,
        }
        | (failed if s not in probes else {})
        for s in range(3)
    ]
    return summarise(
        Variant("a", "a", "base.yaml", assignments, config, 3),
        runs,
        probes,
        {"parameters": 12345, "images_per_second": 321.5},
    )


def whole(*rows: dict) -> dict:
    result = {
        "name": "n",
        "out": "out",
        "protocol": "held-out",
        "eval": "clean",
        "stopped": "",
        "rows": list(rows),
    }
    return {**result, "notes": notes(result)}


def test_best_and_worst_know_where_an_attribute_belongs() -> None:
    row = summed({0: measured(0.5, 0.2), 1: measured(0.9, 0.6), 2: measured(0.7, 0.1)})
    read = {key: (n["best"], n["worst"]) for key, n in row["numbers"].items()}
    assert read["digit.salient"] == (0.9, 0.5)
    assert read["digit.common"] == (0.1, 0.6)
    assert read["texture.salient"] == (0.5, 0.9)
    assert read["texture.common"] == (0.6, 0.1)
    number = row["numbers"]["digit.salient"]
    assert number["mean"] == pytest.approx(0.7)
    assert number["sd"] == pytest.approx(0.2)  # of a sample of three
    assert "digit.whole" not in row["numbers"]  # not measured is not zero
    assert summed({0: measured(0.5, 0.2)})["numbers"]["digit.salient"]["sd"] is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("digit.salient", "higher"),
        ("digit.common", "lower"),
        ("digit.whole", "higher"),
        ("texture.common", "higher"),
        ("reconstruction.target", "lower"),
        ("separation.w2_common", "lower"),
        ("separation.attributes.digit.silhouette_salient", "higher"),
        ("separation.attributes.digit.silhouette_common", "lower"),
        ("separation.attributes.texture.tsne.clustering_accuracy_salient", "lower"),
        ("disentangle.factorvae", "higher"),
        ("separation.w2_floor", None),
        ("disentangle.votes_train", None),
    ],
)
def test_each_number_has_a_direction_or_none(key: str, expected: str | None) -> None:
    assert desired_direction(key, {"digit": "salient", "texture": "common"}) == expected


def test_whatever_a_probe_measured_has_a_key_and_only_finite_numbers_count() -> None:
    separation = {
        "w2_common": 1.5,
        "salient_variance_ratio": None,
        "attributes": {"digit": {"silhouette_salient": 0.25, "n": 7}},
    }
    found = collect_numbers(
        measured(
            0.5,
            float("nan"),
            separation=separation,
            reconstruction={"target": 0.125},
            note="x",
            ok=True,
        )
    )
    assert found == {
        "digit.salient": 0.5,
        "texture.salient": 0.5,
        "separation.w2_common": 1.5,
        "reconstruction.target": 0.125,
        "separation.attributes.digit.silhouette_salient": 0.25,
        "separation.attributes.digit.n": 7,
    }


def test_tables_csv_and_json_hold_the_same_numbers(capsys: pytest.CaptureFixture) -> None:
    more = {"reconstruction": {"target": 0.125}, "disentangle": {"factorvae": 0.5, "mig": 0.25}}
    result = whole(summed({0: measured(0.5, 0.2, **more), 1: measured(0.7, 0.4, **more)}))
    laid_out = tables(result, ["disentangle.mig"], wide=True)
    write_comparison(result, laid_out)
    show_comparison(result, laid_out)
    screen, markdown = capsys.readouterr().out, Path("out/compare.md").read_text()
    lines = list(csv.DictReader(Path("out/compare.csv").read_text().splitlines()))
    assert json.loads(Path("out/compare.json").read_text()) == result
    by_key = {line["key"]: line for line in lines}
    for key, number in result["rows"][0]["numbers"].items():
        assert float(by_key[key]["mean"]) == number["mean"]
        assert [by_key[key][f"seed{s}"] for s in range(3)] == [
            *map(str, number["values"].values()),
            "",
        ]
    assert by_key["digit.salient"]["paper_average"] == "0.8"
    assert by_key["parameters"]["mean"] == "12345"
    assert (
        "| a | digit | balanced accuracy | 0.600 ± 0.141 ↑ | 0.700 | 0.500 | 0.800 (0.900, 0.700) |"
        in markdown
    )
    for text in (screen, markdown):
        for part in (
            "0.600 ± 0.141 ↑",
            "0.800 (0.900, 0.700)",
            "disentangle.mig",
            "reconstruction.target",
            "12,345",
            "322",
            "a-seed2: failed: not finite at iteration 7",
        ):
            assert part in text
        assert "disentangle.factorvae" not in text  # not asked for
    columns = {
        len(line)
        for title, names, cells in laid_out
        for line in [names, *cells]
        if title.endswith("(held-out, clean)")
    }
    assert len(columns) == 1


def test_a_row_without_a_run_still_has_the_papers_value() -> None:
    result = whole(summed({}))
    cells = tables(result)[0][2]
    assert cells == [["a", "digit", "", "-", "0.800 (0.900, 0.700)", "-", "-", "0"]]
    assert result["rows"][0]["numbers"]["digit.salient"]["mean"] is None


def test_what_makes_rows_hard_to_compare_is_said() -> None:
    a = summed({0: measured(0.5, 0.2, images=64), 1: measured(0.5, 0.2, images=96)})
    b = summed(
        {0: measured(0.5, 0.2)}, ("train.images=128", "paper.attributes={colour: {common: 0.5}}")
    )
    text = "\n".join(whole(a, b)["notes"])
    assert "a: measured at 64, 96 images, its budget is 64" in text
    assert "budgets differ: 64, 128 images" in text
    assert "the paper measured by carton, this table by held-out: --protocol carton" in text
    assert "the paper measured by authors, this table by clean: --eval authors" in text
    assert "the paper trained on 1,000 images, this comparison on 64" in text
    assert "paper.attributes.colour: not measured here" in text
    assert tables(whole(a, b))[-1][2][0][4] == "64, 96 *"
    plain = summed({0: measured(0.5, 0.2)}, ("paper=null",))
    assert whole(plain)["notes"] == []


# Processes.


def job(name: str, script: str) -> TrainingJob:
    Path(f"{name}.py").write_text(script)
    return TrainingJob(
        name, name, Path("runs") / name, [f"{name}.py"], Path("logs") / f"{name}.log"
    )


PYTHON = LaunchTemplate((sys.executable, "{args}"))


def test_endings_say_why_and_only_the_last_training_in_a_log_counts() -> None:
    jobs = [
        job("good", "print('fine')"),
        job(
            "bad",
            "import sys\nprint('working')\nsys.exit('error: the file\\n  is missing\\nTraceback of a launcher')",
        ),
        job("killed", "import os\nos.kill(os.getpid(), 9)"),
        job("silent", "raise SystemExit(3)"),
        job("crashed", "raise ValueError('odd')"),
    ]
    endings, stopped = run_jobs(jobs, PYTHON, 2, print)
    assert stopped == ""
    assert [endings[one.name].code for one in jobs] == [0, 1, -9, 3, 1]
    assert endings["bad"].message == "the file; is missing"
    assert endings["killed"].message == "killed by SIGKILL"
    assert endings["silent"].message == "exit code 3, no output"
    assert endings["crashed"].message == "ValueError: odd"
    Path("bad.py").write_text("raise SystemExit('another reason')")
    assert run_jobs(jobs[1:2], PYTHON, 1, print)[0]["bad"].message == "another reason"
    assert "the file" in Path("logs/bad.log").read_text()  # appended


def test_an_interrupt_is_handed_on_once_and_no_more_are_started() -> None:
    script = (
        "import signal, sys, time\ncount = []\nsignal.signal(signal.SIGINT, lambda *_: count.append(1))\n"
        "open('ready', 'w').close()\n"
        "while not count: time.sleep(.02)\ntime.sleep(.3)\nprint('saved after', len(count))\nsys.exit(130)"
    )

    def interrupt() -> None:
        while not Path("ready").exists():
            threading.Event().wait(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    threading.Thread(target=interrupt).start()
    endings, stopped = run_jobs(
        [job("first", script), job("second", "print('never')")], PYTHON, 1, print
    )
    assert stopped == "SIGINT"
    assert endings["first"].code == 130
    assert endings["first"].message == "saved after 1"
    assert "second" not in endings
    assert not Path("logs/second.log").exists()
    assert (
        signal.getsignal(signal.SIGINT) is before
    )  # which is not the default where a shell started this in the background


def test_a_stopped_comparison_says_so_and_exits_as_a_training_does(
    rows: list[Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(jobs: list[TrainingJob], *_: object) -> tuple[dict, str]:
        trained(rows[0], 0, Path("out"), stop_after=0.0)
        return {
            jobs[0].name: Ending(130, "stopped by SIGINT at 16 images; saved, --resume continues")
        }, "SIGINT"

    monkeypatch.setattr("studio.compare.compare.run_jobs", interrupted)
    out, _ = studio(
        "compare",
        "base.yaml",
        "--set",
        "method.s=3,2",
        "--seeds",
        1,
        "--out",
        "out",
        "--json",
        code=130,
    )
    result = json.loads(out)
    assert [run["state"] for row in result["rows"] for run in row["runs"]] == ["stopped", "missing"]
    assert result["rows"][0]["runs"][0]["images_seen"] == 16


def test_a_launcher_puts_arguments_where_the_template_says() -> None:
    one = TrainingJob("a-seed0", "a", Path("out dir/a-seed0"), ["--cfg", "a b.yaml"], Path("log"))
    whole = LaunchTemplate.parse("env {train} {args}").command(one)
    assert whole[0] == "env"
    assert Path(whole[1]).name == "train.py"
    assert whole[2:] == ["--cfg", "a b.yaml"]
    wrapped = LaunchTemplate.parse("env --job={name} --wrap 'python {train} {args}' {run}").command(
        one
    )
    assert wrapped[1] == "--job=a-seed0"
    assert shlex.split(wrapped[3])[2:] == ["--cfg", "a b.yaml"]
    assert wrapped[4] == "out dir/a-seed0"
    assert LaunchTemplate().command(one)[0] == sys.executable


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("env {train}", "expected {args}"),
        ("env {train} {arg}", "no such place {arg}; did you mean 'args'?"),
        ("no-such-program {args}", "no program is called 'no-such-program'"),
        ("env 'open {args}", "no closing quotation"),
    ],
)
def test_a_wrong_launcher_is_refused_before_anything_is_trained(
    template: str, expected: str
) -> None:
    _, error = studio("compare", "digits_dig", "--launcher", template, code=2)
    assert expected in error
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--protocol", "cartoon"], "--protocol cartoon: no such protocol; did you mean 'carton'?"),
        (["--eval", "author"], "--eval author: no such eval mode; did you mean 'authors'?"),
        (["--set", "train.lrr=1,2"], "did you mean 'lr'?"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_trained(
    options: list[str], expected: str
) -> None:
    _, error = studio("compare", "digits_dig", *options, code=2)
    assert expected in error
    assert not Path("runs").exists()


def test_dry_run_says_what_would_happen_and_writes_nothing(rows: list[Variant]) -> None:
    trained(rows[0], 0, Path("out"))
    trained(rows[1], 0, Path("out"), stop_after=0.0)
    before = sorted(Path("out").rglob("*"))
    words = [
        "compare",
        "base.yaml",
        "--set",
        "method.s=3,2",
        "--seeds",
        2,
        "--out",
        "out",
        "--dry-run",
    ]
    text, _ = studio(*words)
    assert [line.split(": ")[0] for line in text.splitlines()] == [
        "take as it is",
        "resume",
        "train",
        "train",
    ]
    assert "16 of 64 images" in text
    assert [run["state"] for run in json.loads(studio(*words, "--json")[0])["runs"]] == [
        "done",
        "half",
        "missing",
        "missing",
    ]
    assert sorted(Path("out").rglob("*")) == before
    studio("compare", "digits_dig", "--dry-run")
    assert not Path("runs").exists()


def test_a_key_that_no_run_has_is_named_after_the_results_are_safe(rows: list[Variant]) -> None:
    one = resolve_variants(["base.yaml"], seeds=1)
    trained(one[0], 0, Path("out"))
    _, error = studio(
        "compare", "base.yaml", "--seeds", 1, "--out", "out", "--show", "digit.saliant", code=2
    )
    assert "--show digit.saliant: no run has such a number; did you mean 'digit.salient'?" in error
    assert Path("out/compare.csv").is_file()


def test_two_comparisons_do_not_train_in_one_folder() -> None:
    with (
        lock_folder(Path("out")),
        pytest.raises(StudioError, match="out: another comparison"),
        lock_folder(Path("out")),
    ):
        pass
    with lock_folder(Path("out")):  # free again
        pass
    Path("file").touch()
    with pytest.raises(StudioError, match="cannot be written"), lock_folder(Path("file/out")):
        pass

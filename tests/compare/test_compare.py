"""Comparisons: missing runs are trained, incomplete ones resumed, complete ones kept.

A failing run leaves the others alone.
"""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.comparisons import BASE
from support.runs import studio

from studio.atomic import write_json
from studio.compare import compare as comparison
from studio.compare.compare import compare, plan
from studio.compare.launch import Ending, LaunchTemplate, TrainingJob
from studio.compare.sweep import resolve_variants
from studio.compare.table import tables, write_comparison
from studio.compare.variant import Variant
from studio.evaluate.probes import ProbeOptions, probe
from studio.method import Method
from studio.runs import checkpoint
from studio.runs.run import Run
from studio.training import session

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


def test_compare_trains_missing_runs_resumes_others_and_survives_failures(
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
    assert second["paper"] is None  # the paper did not measure s = 2
    assert first["parameters"] > second["parameters"] > 1000
    assert first["images_per_second"] > 0
    written = json.loads(Path("out/compare.json").read_text())
    assert written == result
    assert [
        run["state"] for row in compare(rows, out, log=print)["rows"] for run in row["runs"]
    ].count("done") == 3


def test_plan_resumes_for_a_bigger_budget_and_refuses_another_config(
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


def test_compare_collects_runs_submitted_to_a_scheduler(rows: list[Variant]) -> None:
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
    trained(one[0], 0, out)  # the scheduler runs it later
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


def test_compare_measures_another_protocol_once(
    rows: list[Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, one = Path("out"), resolve_variants(["base.yaml"], seeds=1)
    folder = trained(one[0], 0, out)
    calls = []

    def measured(method: Method, dataset: object, options: ProbeOptions) -> dict:
        calls.append((options.protocol, options.eval_mode))
        last, found = Run.open(folder, ema=False).method.state_dict(), method.state_dict()
        assert all(torch.equal(value, found[name]) for name, value in last.items())
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
        "data.json",
        "log.jsonl",
        "tensorboard",
        "checkpoints",
        "probe.json",
    }


def test_compare_names_the_most_central_training_or_the_reason(
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


def test_compare_verb_exits_like_a_training_when_stopped(
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


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--protocol", "cartoon"], "--protocol cartoon: no such protocol; did you mean 'carton'?"),
        (["--eval", "author"], "--eval author: no such eval mode; did you mean 'authors'?"),
        (["--set", "train.lrr=1,2"], "did you mean 'lr'?"),
    ],
)
def test_compare_verb_refuses_wrong_options_before_training(
    options: list[str], expected: str
) -> None:
    _, error = studio("compare", "digits_dig", *options, code=2)
    assert expected in error
    assert not Path("runs").exists()


def test_compare_verb_dry_run_states_the_plan_and_writes_nothing(rows: list[Variant]) -> None:
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


def test_compare_verb_refuses_an_unknown_key_after_writing_results(rows: list[Variant]) -> None:
    one = resolve_variants(["base.yaml"], seeds=1)
    trained(one[0], 0, Path("out"))
    _, error = studio(
        "compare", "base.yaml", "--seeds", 1, "--out", "out", "--show", "digit.saliant", code=2
    )
    assert "--show digit.saliant: no run has such a number; did you mean 'digit.salient'?" in error
    assert Path("out/compare.csv").is_file()


@pytest.mark.parametrize("report", [True, False])
def test_compare_verb_passes_no_report_to_every_training(
    report: bool, rows: list[Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[TrainingJob] = []

    def collect(jobs: list[TrainingJob], *_: object) -> tuple[dict[str, Ending], str]:
        given.extend(jobs)
        return {}, "SIGINT"

    monkeypatch.setattr(comparison, "run_jobs", collect)
    words = ["compare", "base.yaml", "--seeds", 2, "--out", "out"]
    studio(*words, *([] if report else ["--no-report"]), code=130)
    assert len(given) == 2
    assert all(("--no-report" in job.arguments) is not report for job in given)

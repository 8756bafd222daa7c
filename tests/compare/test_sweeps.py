"""Rows of a comparison: sweep files, values on the command line, labels, folders, paper values."""

from pathlib import Path

import pytest
from support.experiments import tiny

from studio import build
from studio.compare import sweep
from studio.compare.sweep import comparison_name, list_sweeps, parse_values, resolve_variants
from studio.compare.variant import Variant
from studio.config import find_config, load, read_yaml
from studio.data import DATASETS, PairStream
from studio.errors import StudioError
from studio.method import Pair
from studio.training.engine import Engine

BASE = "data: {name: digits}\nmethod: {name: dig, z: 4, s: 3}\ntrain: {images: 640}\n"
PAPER = 'paper: {source: "Table 1", attributes: {digit: {salient: 0.9, common: 0.2}}}\n'


def existing(name: str) -> list[Variant]:
    """Resolves a shipped sweep. Skips the test if a method does not exist yet."""
    raw, root = read_yaml(sweep.find_config_or_sweep(name)), []
    for base in [raw["base"]] if isinstance(raw["base"], str) else raw["base"]:
        try:
            data = read_yaml(find_config(base))["data"]["name"]
        except StudioError:
            pytest.skip(f"{name}: its base config {base} does not exist yet")
        if DATASETS[data].Config.model_fields["root"].annotation is not type(None):
            root = ["data.root=somewhere"]
    return resolve_variants([name], root)


def fault(*arguments: object, **options: object) -> str:
    with pytest.raises(StudioError) as caught:
        resolve_variants(*arguments, **options)
    return str(caught.value)


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


@pytest.mark.parametrize("name", list_sweeps())
def test_every_shipped_sweep_resolves(name: str) -> None:
    rows = existing(name)
    assert len(rows) > 1
    assert len({row.label for row in rows}) == len({row.folder for row in rows}) == len(rows)
    without = [row.config.model_copy(update={"paper": None, "name": ""}) for row in rows]
    assert all(a != b for i, a in enumerate(without) for b in without[:i]), (
        "two rows are the same experiment"
    )
    assert read_yaml(sweep.find_config_or_sweep(name))["about"]
    for row in rows:
        assert (
            load(row.cfg, row.assignments) == row.config
        )  # `studio train` resolves it to the planned config


def test_ablation_sweep_has_the_papers_eight_rows_and_values() -> None:
    rows = {row.label: row.config for row in existing("carton_table3")}
    assert len(rows) == 8
    read = {name: config.paper.attributes for name, config in rows.items()}
    assert [
        read["no class"]["digit"].salient.average,
        read["no class"]["digit"].common.average,
    ] == [0.48, 0.83]
    assert [read["full"]["object"].salient.average, read["full"]["object"].common.average] == [
        0.18,
        0.42,
    ]
    for name, config in rows.items():
        zero = {term for term, weight in config.method.weights.items() if weight == 0} - {"cr"}
        assert zero == {
            term
            for loss, terms in {
                "class": ["class"],
                "image": ["image"],
                "info": ["info_z", "info_s", "info_real"],
            }.items()
            for term in terms
            if f"no {loss}" in name
        }
        assert config.paper.source.endswith("Table 3")
    digits = {row.label: row.config for row in existing("digits_table3")}
    assert {name: config.method.weights for name, config in digits.items()} == {
        n: c.method.weights for n, c in rows.items()
    }
    assert all(
        config.train.images == 100_032 for config in digits.values()
    )  # 100,000 in whole steps of 64
    assert all(config.paper is None for config in digits.values())


@pytest.mark.parametrize("row", existing("digits_table3"), ids=lambda row: row.label)
def test_ablation_sweep_rows_can_be_trained(row: Variant) -> None:
    method = tiny().method.model_copy(update={"weights": row.config.method.weights})
    config = tiny().model_copy(update={"method": method})
    engine = Engine(config, build.build_dataset(config))
    pairs = PairStream(engine.dataset, 8, 0, 0, 1)
    before = {name: value.clone() for name, value in engine.method.G.named_parameters()}
    for i in range(2):
        engine.advance(Pair(*pairs[i]))
    assert any(not value.equal(before[name]) for name, value in engine.method.G.named_parameters())


@pytest.mark.parametrize(
    ("assignment", "values"),
    [
        ("a.b=1", [1]),
        ("a.b=1,2.5,x", [1, 2.5, "x"]),
        ("a.b=[0, 0.9],[1, 2]", [[0, 0.9], [1, 2]]),
        ("a.b={c: [1, 2]}, {}", [{"c": [1, 2]}, {}]),
        ("a.b='x,y',z", ["x,y", "z"]),
        ('a.b=["x]", 1],2', [["x]", 1], 2]),
        ('a.b="say \\"a,b\\"",2', ['say "a,b"', 2]),
        ("a.b=it's,its", ["it's", "its"]),
        ("a.b=", [None]),
        ("a.b=no,off", ["no", "off"]),
        ("a.b=1e-4,0.0001", [1e-4, 1e-4]),
    ],
)
def test_parse_values_splits_at_commas_outside_brackets_and_quotes(
    assignment: str, values: list
) -> None:
    assert parse_values(assignment) == ("a.b", values)


def test_resolve_variants_makes_a_row_of_every_combination() -> None:
    rows = resolve_variants(
        ["digits_dig"],
        ["train.lr=1e-4,1e-3", "method.s=2,3", "nets.width=8", "train.threads=1"],
        seeds=2,
    )
    assert [row.label for row in rows] == [
        f"digits_dig train.lr={lr} method.s={s}" for lr in ("0.0001", "0.001") for s in (2, 3)
    ]
    assert [(row.config.train.lr, row.config.method.s) for row in rows] == [
        (1e-4, 2),
        (1e-4, 3),
        (1e-3, 2),
        (1e-3, 3),
    ]
    assert {row.config.nets.width for row in rows} == {8}
    assert (
        rows[0].folder == "digits_dig_train.lr=0.0001_method.s=2_nets.width=8"
    )  # threads change nothing that is learnt
    assert {row.seeds for row in rows} == {2}
    assert rows[0].at(1).seed == 1


def test_resolve_variants_gives_every_row_the_budget() -> None:
    write("a.yaml", BASE)
    write("b.yaml", BASE.replace("640", "64_000"))
    write("s.yaml", "base: [a.yaml, b.yaml]\nbudget: 1280\nseeds: 5\n")
    assert {row.config.train.images for row in resolve_variants(["s.yaml"])} == {1280}
    assert {row.config.train.images for row in resolve_variants(["s.yaml"], budget=2560)} == {2560}
    assert {row.config.train.images for row in resolve_variants(["a.yaml", "b.yaml"])} == {
        640,
        64_000,
    }
    assert {
        row.config.train.images for row in resolve_variants(["s.yaml"], ["train.images=128,256"])
    } == {
        128,
        256,
    }
    assert {row.seeds for row in resolve_variants(["s.yaml"])} == {5}
    assert {row.seeds for row in resolve_variants(["s.yaml"], seeds=1)} == {1}
    assert [row.label for row in resolve_variants(["s.yaml"])] == ["a", "b"]
    assert [row.label for row in resolve_variants(["s.yaml", "digits_dig"])] == [
        "s a",
        "s b",
        "digits_dig",
    ]


def test_resolve_variants_finds_the_base_in_the_sweeps_folder() -> None:
    Path("own").mkdir()
    write("own/mine.yaml", BASE)
    write(
        "own/sweep.yaml",
        "base: mine.yaml\ngrid: {method.s: [2, 3], train.betas: [[0, 0.9], [0.5, 0.999]]}\n",
    )
    rows = resolve_variants(["own/sweep.yaml"])
    assert len(rows) == 4
    assert load(rows[0].cfg, rows[0].assignments).train.betas == (0, 0.9)
    assert rows[1].label == "method.s=2 train.betas=[0.5,0.999]"
    assert comparison_name(["own/sweep.yaml", "digits_dig"]) == "sweep+digits_dig"


def test_variant_folder_is_stable_and_distinguishes_odd_letters() -> None:
    write("a.yaml", BASE)
    write(
        "s.yaml",
        'base: a.yaml\nrows: {"a/b": {method.s: 2}, "a?b": {method.s: 3}, plain: {method.s: 4}}\n',
    )
    folders = [row.folder for row in resolve_variants(["s.yaml"])]
    assert folders == [row.folder for row in resolve_variants(["s.yaml"], budget=100)]
    assert len(set(folders)) == 3
    assert folders[2] == "s_plain"
    assert all(set(folder) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for folder in folders)
    many = resolve_variants(
        ["a.yaml"], [f"method.weights.{name}=0.125" for name in tiny().method.weights]
    )
    assert len(many[0].folder) < 150


def test_each_gives_every_training_its_own_value_and_the_row_its_paper_values() -> None:
    write("a.yaml", BASE + PAPER)
    name = write("s.yaml", "base: a.yaml\neach: {method.s: [3, 5, 7, 9]}\n")
    (row,) = resolve_variants([name])
    assert row.seeds == 4
    assert row.config.paper is not None
    for seed, s in enumerate((3, 5, 7, 9)):
        config = row.at(seed)
        assert (config.seed, config.method.s) == (seed, s)
        assert load(row.cfg, row.settings(seed)) == config
    (more,) = resolve_variants([name], seeds=6)
    assert [more.at(seed).method.s for seed in range(6)] == [3, 5, 7, 9, 3, 5]
    assert "varies method.s itself" in fault([name], ["method.s=4"])
    assert "each.method.s: found no value" in fault(
        [write("e.yaml", "base: a.yaml\neach: {method.s: []}\n")]
    )
    assert "method.s" in fault([write("w.yaml", "base: a.yaml\neach: {method.s: [x]}\n")])


def test_resolve_variants_keeps_paper_values_only_for_the_papers_rows() -> None:
    write("a.yaml", BASE + PAPER)
    plain, other = resolve_variants(["a.yaml"], ["method.s=3,5", "nets.width=8"])
    assert plain.config.paper is not None  # s = 3 is the value of the config
    assert other.config.paper is None
    assert load(other.cfg, other.assignments).paper is None
    rows = (
        "rows:\n  same: {}\n  other: {method.s: 5}\n"
        "  own: {method.s: 6, paper.attributes: {digit: {common: 0.3}}}\n"
    )
    same, other, own = resolve_variants([write("s.yaml", f"base: a.yaml\n{rows}")])
    assert same.config.paper.attributes["digit"].salient.average == 0.9
    assert other.config.paper is None
    assert own.config.paper.attributes["digit"].salient is None
    assert own.config.paper.attributes["digit"].common.average == 0.3
    assert own.config.paper.source == "Table 1"


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        (
            (["digits_digg"],),
            {},
            "compare digits_digg: no such file, config or sweep; did you mean 'digits_dig'?",
        ),
        ((["carton_table4"],), {}, "did you mean 'carton_table3'?"),
        ((["digits_dig", "digits_dig"],), {}, "2 rows would share the folder digits_dig-seed0"),
        ((["digits_dig"], ["seed=1,2"]), {}, "--seeds says how many"),
        ((["digits_dig"], ["train.images=3"]), {"budget": 4}, "--budget 4 says the same"),
        (
            (["digits_dig"], ["train.lr=1", "train.lr=2"]),
            {},
            "train.lr is given twice; several values go in one",
        ),
        ((["digits_dig"], ["train.lr=1,,2"]), {}, "a value is missing"),
        ((["digits_dig"], ["train.lr"]), {}, "expected a.b=value"),
        ((["digits_dig"], ["train.lrr=1,2"]), {}, "train.lrr: no such field; did you mean 'lr'?"),
        ((["digits_dig"], ["method.s=0,2"]), {}, "digits_dig method.s=0: "),
        ((["digits_dig"], ["train.lr=.inf"]), {}, "train.lr: found inf, expected a finite number"),
        (
            (["digits_table3"], ["method.weights.class=1"]),
            {},
            "digits_table3 varies method.weights.class itself",
        ),
        ((["digits_table3"], ["method={name: dig}"]), {}, "digits_table3 varies method.weights"),
        ((["."],), {}, "a folder"),
    ],
)
def test_resolve_variants_explains_wrong_input(
    arguments: tuple, options: dict, expected: str
) -> None:
    assert expected in fault(*arguments, **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "base: a.yaml\nrow: {x: {}}\n",
            "s.yaml: 1 fault\n  row: no such field; did you mean 'rows'?",
        ),
        ("base: a.yaml\nrows: {x: {}}\ngrid: {method.s: [1]}\n", "found both rows and grid"),
        ("base: a.yaml\ngrid: {method.s: []}\n", "grid.method.s: found no value"),
        (
            "base: a.yaml\ngrid: {method.s: 3}\n",
            "grid.method.s: found 3, expected a list of values",
        ),
        ("base: b.yaml\n", "s.yaml: base: b.yaml: no such file or config"),
        ("base: []\n", "base: found []"),
        ("base: a.yaml\nseeds: 0\n", "seeds: found 0"),
        (
            "base: a.yaml\nrows: {x: {method.weights.clas: 0}, y: {}}\n",
            "x: a.yaml: 1 fault\n  method.weights: no term is called",
        ),
        (
            "base: a.yaml\nrows: {x: {paper.attributes: {digit: {salint: 1}}}}\n",
            "did you mean 'salient'?",
        ),
    ],
)
def test_resolve_variants_names_a_faulty_sweep(text: str, expected: str) -> None:
    write("a.yaml", BASE + PAPER)
    assert expected in fault([write("s.yaml", text)])

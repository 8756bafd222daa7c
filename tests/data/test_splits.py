"""Splits by subject: which files are one subject, quotas, folds and stability."""

from collections import defaultdict
from pathlib import Path

import pytest
from pydantic import ValidationError

from studio.data.splits import SplitConfig, SplitPlan, assign_splits, plan_splits
from studio.errors import StudioError
from studio.runs.stored_config import read_stored_config

DOMAINS = ("background", "target")


def plan(names: list[str], table: dict | None = None, **fields: object) -> SplitPlan:
    return plan_splits(sorted(names), table or {}, SplitConfig(name="x", **fields), None)


def flat(n: int, *domains: str) -> list[str]:
    """Returns names that only one folder has."""
    return [f"{domain}/{domain[0]}{i:03}.png" for domain in domains or DOMAINS for i in range(n)]


def shares(splits: dict[str, str]) -> dict[str, int]:
    return {
        domain: sum(s == "test" and n.startswith(domain) for n, s in splits.items())
        for domain in DOMAINS
    }


def straddling(splits: dict[str, str], subject_of: object) -> int:
    sides = defaultdict(set)
    for name, split in splits.items():
        sides[subject_of(name)].add(split)
    return sum(len(found) > 1 for found in sides.values())


@pytest.mark.parametrize(
    "path",
    [
        "{domain}/p{s:02}/{k}.png",
        "{domain}/images/p{s:02}/{k}.png",
        "{domain}/p{s:02}/visit{k}/a.png",
        "{domain}/sub-{s:02}_ses-{k}_T1w.nii.gz",
        "{domain}/ses-{k}/sub-{s:02}/anat/T1w.nii.gz",
        "{domain}/sub-{s:02}/ses-{k}/anat/sub-{s:02}_ses-{k}_T1w.nii.gz",
    ],
)
def test_assign_splits_keeps_a_subject_together_without_a_table(path: str) -> None:
    subject = {
        path.format(domain=domain, s=s, k=k): s
        for domain in DOMAINS
        for s in range(20)
        for k in range(5)
    }
    splits = assign_splits(list(subject), {}, 0.2)
    assert straddling(splits, subject.get) == 0
    assert shares(splits) == {"background": 20, "target": 20}


def test_assign_splits_takes_equal_names_in_both_folders_as_one_subject() -> None:
    names = [f"{domain}/patient{i:03}.png" for domain in DOMAINS for i in range(40)]
    splits = assign_splits(names, {}, 0.2)
    assert straddling(splits, lambda name: name.split("/")[1]) == 0
    assert shares(splits) == {"background": 8, "target": 8}


def test_plan_splits_takes_files_as_subjects_when_asked() -> None:
    names = [f"{domain}/p{s}/{k}.png" for domain in DOMAINS for s in range(20) for k in range(5)]
    found = plan(names, subjects="files").splits
    assert straddling(found, lambda name: name.split("/")[1]) > 5
    nested = [
        f"{domain}/site{s % 2}/p{s}/{k}.png" for domain in DOMAINS for s in range(20) for k in "ab"
    ]
    assert len(set(plan(nested, subjects="innermost").subjects.values())) == 20
    assert len(set(plan(nested).subjects.values())) == 2


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Training", "VAL"), ("TRAIN", "validation")]
)
def test_assign_splits_follows_folders_called_train_and_test(train: str, test: str) -> None:
    names = [
        f"{domain}/{train if i < 30 else test}/{i:03}.png" for domain in DOMAINS for i in range(40)
    ]
    found = assign_splits(names, {}, 0.2)
    assert found == {name: "train" if int(name[-7:-4]) < 30 else "test" for name in names}
    stated = {names[0]: {"split": "test"}}
    assert assign_splits(names, stated, 0.2)[names[0]] == "test"


def test_assign_splits_divides_a_download_with_a_single_train_folder() -> None:
    names = [f"{domain}/train/{domain}{i:03}.png" for domain in DOMAINS for i in range(20)]
    assert shares(assign_splits(names, {}, 0.2)) == {"background": 4, "target": 4}


@pytest.mark.parametrize(
    "word", ["", "NA", "n/a", "NaN", "None", "NULL", "-", "--", "?", "unknown", "#N/A", "n.a."]
)
@pytest.mark.parametrize("column", ["subject", "split"])
def test_assign_splits_takes_words_for_no_value_as_missing(word: str, column: str) -> None:
    names = flat(20)
    assert plan(names, {name: {column: word} for name in names}) == plan(names)


@pytest.mark.parametrize("sizes", [(2, 2), (3, 40), (9, 100), (100, 2)])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_assign_splits_meets_the_share_of_each_set(sizes: tuple[int, int], share: float) -> None:
    names = [*flat(sizes[0], "background"), *flat(sizes[1], "target")]
    for size, found in zip(sizes, shares(assign_splits(names, {}, share)).values(), strict=True):
        assert 1 <= found <= size - 1
        assert abs(found - share * size) <= 1


def test_assign_splits_meets_the_share_of_sets_that_overlap() -> None:
    names = [f"background/p{i}/{k}.png" for i in range(30) for k in range(2)]
    names += [f"target/p{i}/{k}.png" for i in range(20, 47) for k in range(2)]
    splits = assign_splits(names, {}, 0.2)
    assert straddling(splits, lambda name: name.split("/")[1]) == 0
    assert shares(splits) == {"background": 12, "target": 10}


def test_plan_splits_tests_other_subjects_for_another_seed() -> None:
    names = flat(50)
    first, again, other = (plan(names, split_seed=seed).splits for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert shares(first) == shares(other) == {"background": 10, "target": 10}


@pytest.mark.parametrize("folds", [2, 3, 5, 7])
def test_plan_splits_tests_each_subject_in_exactly_one_fold(folds: int) -> None:
    names = [
        f"{d}/p{i}/{k}.png"
        for d, n in (("background", 23), ("target", 11))
        for i in range(n)
        for k in "ab"
    ]
    tests = [
        {name for name, split in plan(names, fold=k, folds=folds).splits.items() if split == "test"}
        for k in range(folds)
    ]
    assert set.union(*tests) == set(names)
    assert sum(map(len, tests)) == len(names)
    for domain in DOMAINS:
        counts = [sum(name.startswith(domain) for name in test) // 2 for test in tests]
        assert max(counts) - min(counts) <= 1


def test_plan_splits_refuses_more_folds_than_subjects() -> None:
    with pytest.raises(StudioError, match=r"data\.folds: 5 folds need 5 subjects .* target/ has 3"):
        plan([*flat(9, "background"), *flat(3, "target")], fold=0)
    with pytest.raises(ValidationError, match=r"fold\n.*found 5, expected 0 to 4"):
        plan(flat(9), fold=5)


def test_assign_splits_moves_few_subjects_when_others_are_added() -> None:
    names = flat(40)
    before = assign_splits(names, {}, 0.2)
    for more in range(1, 30):
        after = assign_splits([*names, *(f"target/new{i}.png" for i in range(more))], {}, 0.2)
        moved = sum(after[name] != before[name] for name in names)
        assert moved <= more
        assert not any(after[n] != before[n] for n in names if n.startswith("background"))
    assert moved <= 8


def test_plan_splits_by_names_never_moves_a_subject() -> None:
    names = [f"{domain}/p{s}/{k}.png" for domain in DOMAINS for s in range(20) for k in range(5)]
    before = plan(names, split_rule="names").splits
    after = plan([*names, *flat(50)], split_rule="names").splits
    assert before.items() <= after.items()
    assert straddling(before, lambda name: name.split("/")[1]) > 5


def test_plan_splits_joins_spellings_of_one_subject() -> None:
    names = flat(30, "target")
    forms = ("7", "007", "7.0")
    table = {name: {"subject": forms[i % 3] if i < 9 else f"s{i}"} for i, name in enumerate(names)}
    found = plan([*names, *flat(9, "background")], table)
    assert len({found.splits[name] for name in names[:9]}) == 1
    assert found.alike == [["007", "7", "7.0"]]


def test_assign_splits_takes_sub_folders_in_any_case_as_one_subject() -> None:
    names = [f"background/P{i}/a.png" for i in range(30)]
    names += [f"target/p{i}/b.png" for i in range(30)]
    splits = assign_splits(names, {}, 0.2)
    assert straddling(splits, lambda name: name.split("/")[1].lower()) == 0


def test_config_refuses_fields_that_the_rule_names_ignores() -> None:
    for fields in ({"fold": 1}, {"split_seed": 3}, {"subjects": "files"}):
        with pytest.raises(ValidationError, match="split_rule: names has no"):
            SplitConfig(name="x", split_rule="names", **fields)


def test_plan_splits_joins_subjects_that_share_pixels() -> None:
    names = flat(40)
    config = SplitConfig(name="x")
    digests = {name: str(i // 2).encode() for i, name in enumerate(names)}
    found = plan_splits(names, {}, config, digests)
    assert straddling(found.splits, digests.get) == 0
    assert found.merged == 80
    one_for_all = dict.fromkeys(names, b"placeholder")
    assert plan_splits(names, {}, config, one_for_all).merged == 0


def test_run_of_an_earlier_studio_keeps_its_split(tmp_path: Path) -> None:
    text = (
        "data: {name: folders, root: x, resolution: 8}\nmethod: {name: dig}\n"
        "nets: {width: 8}\ntrain: {images: 8, batch: 4}\n"
    )
    (tmp_path / "config.yaml").write_text(text)
    assert read_stored_config(tmp_path).data.split_rule == "names"
    (tmp_path / "config.yaml").write_text(text.replace("}", ", split_rule: quotas}", 1))
    assert read_stored_config(tmp_path).data.split_rule == "quotas"

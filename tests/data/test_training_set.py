"""The training set under bias and contamination, on a data set with planted attributes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from support.experiments import tiny
from support.planted import N, Planted

from studio.build import build_dataset
from studio.config import Config, resolve
from studio.data import DataConfig, PairStream
from studio.data.dataset import is_known
from studio.data.training_set import TrainingSet
from studio.domains import DOMAINS
from studio.errors import StudioError
from studio.methods.cpca import CPCA, CPCAConfig
from studio.runs.run import Run
from studio.schema import NetsConfig
from studio.training.engine import Engine
from studio.training.session import train

FACTS = {"background": 0, "target": 1}


def planted(**fields: object) -> Planted:
    data = Planted()
    data.config = DataConfig.model_validate({"name": "planted", **fields})
    return data


def biased(attribute: str, strength: float, **more: object) -> Planted:
    return planted(bias={"attribute": attribute, "strength": strength, **more})


def fields_of(config: Config, **data: object) -> Config:
    raw = config.model_dump(mode="json")
    raw["data"] |= data
    return resolve(raw, "t", "t")


@pytest.mark.parametrize("data", [planted(), biased("place", 0)], ids=["none", "strength 0"])
def test_training_set_is_that_of_the_data_without_bias(data: Planted) -> None:
    stream = PairStream(data, 8, 3)
    for domain in DOMAINS:
        assert np.array_equal(stream.training.items[domain], np.arange(N))
    # The hash of the first draws before `data.bias` existed.
    drawn = np.stack([stream.indices(t, d) for t in range(5) for d in DOMAINS]).astype("<i8")
    assert hashlib.sha256(drawn.tobytes()).hexdigest()[:16] == "ccc0ce9666c492e8"
    assert torch.equal(stream[2].y, data.images("train", "target", stream.indices(2, "target")))


@pytest.mark.parametrize(
    ("attribute", "values", "upper"),
    [("place", [], 1), ("place", ["left"], 0), ("size", [], None)],
)
def test_bias_keeps_the_favoured_half_of_targets_and_the_other_of_the_background(
    attribute: str, values: list[str], upper: int | None
) -> None:
    data = biased(attribute, 0.8, values=values)
    items = TrainingSet(data).items
    columns = {domain: data.labels("train", domain)[attribute] for domain in DOMAINS}
    median = np.nanmedian(np.concatenate(list(columns.values())))
    for domain, column in columns.items():
        is_upper = column > median if upper is None else column == upper
        known, fits = is_known(column), is_upper == (domain == "target")
        kept = np.isin(np.arange(N), items[domain])
        assert kept[known & fits].all()
        assert kept[known & ~fits].mean() == pytest.approx(0.2, abs=0.06)
        assert not kept[~known].any()
        assert len(np.unique(items[domain])) == len(items[domain])


def test_bias_of_1_leaves_no_value_in_common_and_a_larger_one_keeps_a_subset() -> None:
    halves = [TrainingSet(biased("place", strength)).items for strength in (0.3, 0.7, 1)]
    data = planted()
    for domain, place in (("background", 0), ("target", 1)):
        small, middle, large = (set(items[domain].tolist()) for items in halves)
        assert large < middle < small
        assert set(data.labels("train", domain)["place"][sorted(large)]) == {place}


def test_bias_divides_a_number_that_mostly_has_its_largest_value() -> None:
    data = biased("size", 1)
    column = np.where(np.arange(N) % 3 == 0, 0.5, 1.0)
    data.labels = lambda split, domain: {"size": column}
    items = TrainingSet(data).items
    assert np.array_equal(items["target"], np.flatnonzero(column == 1))
    assert np.array_equal(items["background"], np.flatnonzero(column == 0.5))


def test_bias_changes_neither_the_test_split_nor_the_readers() -> None:
    data, plain = biased("place", 1), planted()
    for split, domain in (("test", "target"), ("train", "target"), ("train", "background")):
        assert data.size(split, domain) == plain.size(split, domain)
        for name, column in plain.labels(split, domain).items():
            np.testing.assert_array_equal(data.labels(split, domain)[name], column)


def test_notes_state_the_shares_per_set_and_the_images_without_a_value() -> None:
    notes = list(TrainingSet(biased("size", 1)).notes())
    assert "0.0% of background, 100.0% of target" in notes[0]
    assert notes[0].startswith("data.bias 1: size is above ")
    assert notes[1] == "data.bias: 5 background and 5 target training images have no size: left out"
    (note,) = TrainingSet(biased("place", 0)).notes()
    assert note.startswith("data.bias 0: place is right in ")
    assert note.endswith("600 of 600 background, 600 of 600 target training images are left")
    assert list(TrainingSet(planted()).notes()) == []


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (
            {"attribute": "plac"},
            "data.bias.attribute: planted has no attribute 'plac'; did you mean",
        ),
        ({"attribute": "kind"}, "only one of the two sets of planted has 'kind', .*: size, place"),
        (
            {"attribute": "place", "values": ["lef"]},
            "place has no class 'lef'; did you mean 'left'",
        ),
        ({"attribute": "place", "values": ["left", "right"]}, "every training image has a place"),
        ({"attribute": "size", "values": ["1"]}, "data.bias.values: size is a number"),
    ],
)
def test_bias_is_refused_when_it_does_not_fit_the_data(bias: dict, message: str) -> None:
    with pytest.raises(StudioError, match=message):
        TrainingSet(planted(bias={"strength": 0.5, **bias}))


def test_bias_is_refused_when_the_attribute_has_one_value_or_no_item_is_left() -> None:
    data = biased("place", 1)
    data.labels = lambda split, domain: {"place": np.ones(N, np.int64)}
    with pytest.raises(StudioError, match="place has one value on all training images"):
        TrainingSet(data)
    data.labels = lambda split, domain: {"place": np.full(N, FACTS[domain] ^ 1)}
    with pytest.raises(StudioError, match="leaves no background training image"):
        TrainingSet(data)
    data.labels = lambda split, domain: {"place": np.full(N, -1)}
    with pytest.raises(StudioError, match="place has no value on all training images"):
        TrainingSet(data)


def test_pair_stream_refuses_a_bias_that_leaves_less_than_a_batch() -> None:
    data = biased("place", 1)
    left = TrainingSet(data).size("background")
    assert left < TrainingSet(data).size("target")
    PairStream(data, left, 0)
    with pytest.raises(StudioError, match=f"leaves {left} of 600 background training images, exp"):
        PairStream(data, left + 1, 0)
    PairStream(planted(), N + 1, 0)  # without a bias, the images of a small set repeat


def test_contamination_draws_the_stated_share_from_the_other_set() -> None:
    data = planted(contamination_background=0.1, contamination_target=0.5)
    training = TrainingSet(data)
    for domain, share in (("background", 0.1), ("target", 0.5)):
        items = training.items[domain]
        assert len(items) == N
        assert (items >= N).mean() == pytest.approx(share, abs=0.06)
        assert np.array_equal(items[items < N], np.arange(N)[items < N])
        wrong = items[items >= N] - N
        assert len(np.unique(wrong)) == len(wrong)  # none twice, because enough are there
    pair = PairStream(data, 16, 0)
    items = pair.indices(4, "target")
    own, others = (data.images("train", domain, items % N) for domain in ("target", "background"))
    expected = torch.where(torch.from_numpy(items < N)[:, None, None, None], own, others)
    assert torch.equal(pair[4].y, expected)
    more = TrainingSet(planted(contamination_background=0.3)).items["background"]
    assert np.isin(
        np.flatnonzero(training.items["background"] >= N), np.flatnonzero(more >= N)
    ).all()


def test_contamination_takes_items_that_the_bias_leaves() -> None:
    data = planted(bias={"attribute": "place", "strength": 1.0}, contamination_target=0.4)
    items = TrainingSet(data).items["target"]
    place = {domain: data.labels("train", domain)["place"] for domain in DOMAINS}
    assert set(place["target"][items[items < N]]) == {1}
    assert set(place["background"][items[items >= N] - N]) == {0}


def test_severity_of_wrong_targets_is_unknown() -> None:
    data = planted(contamination_target=0.5)
    known = data.labels
    data.labels = lambda split, domain: {**known(split, domain), "size": np.linspace(0, 1, N)}
    stream = PairStream(data, 32, 0, severity="size")
    items, severity = stream.indices(0, "target"), stream[0].severity
    assert severity is not None
    assert torch.equal(severity.isnan(), torch.from_numpy(items >= N))
    own = items < N
    np.testing.assert_allclose(severity.numpy()[own], np.linspace(0, 1, N)[items[own]], rtol=1e-6)


def test_biased_training_resumes_exactly(tmp_path: Path) -> None:
    config = fields_of(
        tiny("vae"),
        bias={"attribute": "texture", "strength": 0.8, "values": ["brick"]},
        contamination_target=0.2,
    )
    train(config, tmp_path, stop_after=0.0)
    stopped = train(Run.open(tmp_path).config, tmp_path, resume=True, stop_after=0.0).engine
    assert stopped.iteration == 2
    straight = Engine(config, build_dataset(config))
    for _ in straight.iterations(32):
        pass
    weights = stopped.method.state_dict()
    for name, value in straight.method.state_dict().items():
        assert torch.equal(value, weights[name])
    assert Run.open(tmp_path).config.data.bias == config.data.bias
    assert not np.array_equal(straight.pairs.indices(0, "target"), plain_indices())


def plain_indices() -> np.ndarray:
    """Returns the first targets of the same training without bias."""
    return PairStream(build_dataset(tiny("vae")), 8, 0).indices(0, "target")


def test_contrastive_pca_is_solved_on_the_biased_training_set() -> None:
    data = biased("place", 1)
    method = CPCA(CPCAConfig(z=2, s=1), NetsConfig(), data.shape)
    method.fit(data, 10 * N)
    left = data.images("train", "background", np.arange(N)).flatten(1)
    left = left[torch.from_numpy(data.labels("train", "background")["place"] == 0)]
    torch.testing.assert_close(method.mean, left.mean(0), rtol=1e-4, atol=1e-5)

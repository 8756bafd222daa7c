"""Statistics of features, compared with torch-fidelity itself, and the attribute classifier.

The statistics do not depend on the batch size.
"""

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from studio.data import Attribute, DataConfig, Dataset
from studio.errors import StudioError
from studio.evaluate import attribute_classifier
from studio.evaluate.attribute_classifier import open_classifier, read_classifier
from studio.evaluate.extractors import extract, open_extractor
from studio.evaluate.fidelity import Features, compare_features, kid_subset_size
from studio.pixels import quantise

KEYS = {
    "fid": torch_fidelity.KEY_METRIC_FID,
    "kid": torch_fidelity.KEY_METRIC_KID_MEAN,
    "is": torch_fidelity.KEY_METRIC_ISC_MEAN,
    "is_error": torch_fidelity.KEY_METRIC_ISC_STD,
    "kid_error": torch_fidelity.KEY_METRIC_KID_STD,
    "precision": torch_fidelity.KEY_METRIC_PRECISION,
    "recall": torch_fidelity.KEY_METRIC_RECALL,
}
N, SIDE = 60, 12
CPU = torch.device("cpu")


class Strips(FeatureExtractorBase):
    """A random projection of images of three channels, with logits."""

    def __init__(
        self,
        name: str = "strips",
        features_list: Sequence[str] = ("features", "logits"),
        **_: object,
    ) -> None:
        super().__init__(name, list(features_list))
        generator = torch.Generator().manual_seed(3)
        self.register_buffer("mix", torch.randn(3 * SIDE * SIDE, 16, generator=generator) / 40)
        self.register_buffer("read", torch.randn(16, 5, generator=generator))

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        features = ((images.float() / 127.5 - 1).flatten(1) @ self.mix).tanh()
        found = {"features": features, "logits": features @ self.read}
        return tuple(found[name] for name in self.features_list)


class Made(Dataset):
    """Gray images with a category in the brightness of the left half and a number in that of the
    right one."""

    def __init__(self, channels: int = 1, size: int = 300, shift: float = 0.0) -> None:
        super().__init__(DataConfig(name="made"))
        self.shape, self.n, self.shift = (channels, SIDE, SIDE), size, shift
        self.attributes = {
            "kind": Attribute("salient", ("a", "b", "c"), target_only=True),
            "level": Attribute("common"),
        }

    def size(self, split: str, domain: str) -> int:
        return self.n

    def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((split == "test", domain == "target"))
        level, kind = rng.uniform(2, 5, self.n), rng.integers(-1, 3, self.n)
        level[0] = np.nan
        return {"level": level, "kind": kind} if domain == "target" else {"level": level}

    def images(self, split: str, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        labels, indices = self.labels(split, domain), np.asarray(indices)
        noise = np.random.default_rng((7, split == "test", domain == "target")).normal(
            size=(self.n, *self.shape)
        )
        images = 0.1 * noise[indices] + self.shift
        images[..., SIDE // 2 :] += (
            np.nan_to_num(labels["level"])[indices, None, None, None] / 5 - 0.7
        )
        if domain == "target":
            images[..., : SIDE // 2] += labels["kind"][indices, None, None, None] / 2
        return torch.from_numpy(images).float().clamp(-1, 1)


@pytest.fixture
def folders(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Two folders of gray PNGs, the second brighter."""
    n = getattr(request, "param", N)
    for name, shift in (("a", 0), ("b", 25)):
        (tmp_path / name).mkdir()
        pixels = (
            np.random.default_rng(shift)
            .normal(110 + shift, 40, (n, SIDE, SIDE))
            .clip(0, 255)
            .astype(np.uint8)
        )
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(tmp_path / name / f"{i:03d}.png")
    return tmp_path / "a", tmp_path / "b"


def images_of(folder: Path) -> Tensor:
    """Reads a folder into [-1, 1] as a data set does, and converts it to uint8 as scores do."""
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
    return quantise(torch.from_numpy(pixels).float()[:, None] / 127.5 - 1)


def called_directly(a: Path, b: Path, name: str, **options: object) -> dict[str, float]:
    found = torch_fidelity.calculate_metrics(
        input1=str(a),
        input2=str(b),
        fid=True,
        kid=True,
        isc=True,
        prc=True,
        kid_subsets=20,
        kid_subset_size=len([*a.iterdir()]) // 2,
        feature_extractor=name,
        cuda=False,
        cache=False,
        verbose=False,
        rng_seed=11,
        save_cpu_ram=True,
        **options,
    )
    return {key: found[name] for key, name in KEYS.items()}


def test_compare_features_equals_torch_fidelity_on_folders(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(torch_fidelity.registry.FEATURE_EXTRACTORS_REGISTRY, "strips", Strips)
    expected = called_directly(*folders, "strips")
    extractor = open_extractor(f"{__name__}:Strips", None, Made(), Path("score"), CPU)
    for batch in (1, 7, 60):
        made, real = (extract(extractor, images_of(folder), "target", batch) for folder in folders)
        found = compare_features(made, real, seed=11)
        assert found == pytest.approx(expected, abs=1e-4)
    assert expected["fid"] > 0.01
    assert compare_features(real, made, seed=11)["precision"] == pytest.approx(
        expected["recall"]
    ), "made comes first"
    assert compare_features(made, real, seed=12)["kid"] != found["kid"], (
        "the seed decides the subsets"
    )


@pytest.mark.slow
@pytest.mark.parametrize("folders", [16], indirect=True)
def test_inception_equals_torch_fidelity_on_images(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    torch.save(random_inception(), tmp_path / "inception.pth")
    expected = called_directly(
        *folders,
        "inception-v3-compat",
        feature_extractor_weights_path=str(tmp_path / "inception.pth"),
    )
    extractor = open_extractor("inception", tmp_path / "inception.pth", Made(), Path("score"), CPU)
    made, real = (extract(extractor, images_of(folder), "target") for folder in folders)
    assert made.rows.shape == (16, 2048)
    assert compare_features(made, real, seed=11) == pytest.approx(expected, abs=1e-4, rel=1e-4)


def random_inception() -> dict[str, Tensor]:
    """Makes weights of Inception by which images differ: plain random ones let nothing through 50
    layers."""
    torch.manual_seed(0)

    class Empty(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: object, **__: object) -> None:  # type: ignore[override]
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)

    with patch(
        "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", return_value={}
    ):
        return Empty("empty", ["2048"]).state_dict()


def test_compare_features_scores_identical_and_collapsed_sets() -> None:
    rows = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    features = domain_features(rows)
    same, collapsed = (
        compare_features(features, features, 0),
        compare_features(domain_features(rows[:1].expand(200, 4)), features, 0),
    )
    assert same["fid"] == pytest.approx(0, abs=1e-5)
    assert same["precision"] == same["recall"] == 1
    assert collapsed["fid"] > 2
    assert collapsed["recall"] < 0.01
    assert collapsed["is"] == pytest.approx(1), "one class only"
    assert compare_features(features, features, 0, fid=False)["fid"] is None


def domain_features(rows: Tensor) -> Features:
    return Features(rows, rows * 3)


def test_quantise_keeps_the_contrast_of_16_bit_images() -> None:
    sixteen = np.linspace(0, 65535, 256).astype(np.uint16)
    images = torch.from_numpy(sixteen / 65535).float().reshape(1, 1, 16, 16) * 2 - 1
    assert quantise(images).flatten().tolist() == list(range(256))
    assert quantise(images * 2).min() == 0
    assert quantise(images * 2).max() == 255
    with pytest.raises(StudioError, match="1 of 2 images"):
        quantise(torch.stack([images[0], images[0] / 0]))


@pytest.mark.parametrize(("n", "size"), [(10, 5), (60, 30), (2_000, 1_000), (9_000, 1_000)])
def test_kid_subset_size_is_at_most_half_of_the_images(n: int, size: int) -> None:
    assert kid_subset_size(n) == size


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_classifier_learns_attributes_and_reports_its_accuracy(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribute_classifier, "STEPS", 150)
    kept = open_classifier(Made(channels), tmp_path, CPU)
    accuracy = {found["attribute"]: found for found in kept.manifest["accuracy"]}
    assert set(accuracy) == {"kind", "level", "target"}
    assert accuracy["kind"]["value"] > 0.9
    assert accuracy["kind"]["n"] < 300, "what has no label does not count"
    assert accuracy["level"]["value"] > 0.8
    assert accuracy["level"]["metric"] == "r2"
    images = quantise(Made(channels).images("train", "target", range(300)))
    background = quantise(Made(channels).images("train", "background", range(300)))
    rows = kept.net.read(torch.cat([background, images]))[0]
    assert rows.mean(0).abs().max() < 1e-4
    assert (rows.std(0) - 1).abs().max() < 1e-3, (
        "one unit is one standard deviation of training images"
    )


def test_classifier_is_stored_and_retrained_for_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribute_classifier, "STEPS", 5)
    first = open_classifier(Made(), tmp_path, CPU)
    written = (tmp_path / "domain.safetensors").stat().st_mtime_ns
    assert open_classifier(Made(), tmp_path, CPU).sha256 == first.sha256
    assert (tmp_path / "domain.safetensors").stat().st_mtime_ns == written, "taken as it is"
    assert open_classifier(Made(), tmp_path / "other", CPU).sha256 == first.sha256, "seeded"
    other = open_classifier(Made(shift=0.1), tmp_path, CPU)
    assert other.sha256 != first.sha256
    assert read_classifier(tmp_path / "domain.safetensors", CPU).sha256 == other.sha256


def test_classifier_is_retrained_with_a_warning_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attribute_classifier, "STEPS", 5)
    sha256 = open_classifier(Made(), tmp_path, CPU).sha256
    path = tmp_path / "domain.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert open_classifier(Made(), tmp_path, CPU).sha256 == sha256
    assert "domain.safetensors: damaged: sha256 expected" in capsys.readouterr().err


def test_classifier_shrinks_large_images_to_64_pixels() -> None:
    net = attribute_classifier.AttributeClassifier(1, {"target": 2}).eval()
    large = torch.randint(0, 256, (2, 1, 128, 128), dtype=torch.uint8)
    small = torch.nn.functional.interpolate(
        large.float(), (64, 64), mode="bilinear", antialias=True
    )
    assert torch.allclose(net(large)[0], net(small)[0], atol=1e-5)

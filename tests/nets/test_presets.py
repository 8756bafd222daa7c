"""Presets of published architectures, at their published sizes, with parameters counted by hand."""

import pytest
import torch
import yaml
from support.architectures import RAW, conv, count, fault, section

import studio.config_files
from nets import build_decoder, build_encoder, check_nets
from studio.config import dump, list_presets, resolve

# Shape of the images in each paper. That of `weinberger_mlp` is in its code only.
SHAPES = {
    "abid_fc": (1, 28, 28),
    "abid_conv": (3, 64, 64),
    "louiset_celeba": (3, 64, 64),
    "louiset_cifar": (3, 32, 32),
    "louiset_pneumonia": (3, 64, 64),
    "louiset_vbm_000": (1, 128, 128, 128),
    "louiset_vbm_001": (1, 128, 128, 128),
    "louiset_vbm_001_channel": (1, 128, 128, 128),
    "weinberger_conv": (3, 64, 64),
    "weinberger_mlp": (2000,),
    "choudhuri_6": (1, 28, 28),
    "choudhuri_8": (3, 64, 64),
    "choudhuri_8_96": (3, 96, 96),
}
# Number of features of each trunk.
FEATURES = {
    "abid_fc": 128,
    "abid_conv": 128,
    "louiset_celeba": 256,
    "louiset_cifar": 256,
    "louiset_pneumonia": 256,
    "louiset_vbm_000": 65_536,
    "louiset_vbm_001": 32_768,
    "louiset_vbm_001_channel": 32_768,
    "weinberger_conv": 4_096,
    "weinberger_mlp": 400,
    "choudhuri_6": 256,
    "choudhuri_8": 128,
    "choudhuri_8_96": 128,
}


def expected_counts() -> dict[str, tuple[int, int]]:
    """Returns the parameters of trunk and decoder for 22 latents, counted by hand, by preset."""
    celeba = (
        conv(3, 32, 4) + conv(32, 32, 4) + conv(32, 64, 4) + conv(64, 128, 4) + conv(128, 256, 4)
    )
    mirror = (
        22 * 256
        + 256
        + conv(256, 128, 4)
        + conv(128, 64, 4)
        + conv(64, 32, 4)
        + conv(32, 32, 4)
        + conv(32, 3, 4)
    )
    four = conv(3, 32, 4) + 2 * conv(32, 32, 4) + conv(32, 256, 4)
    back = 22 * 256 + 256 + 256 * 257 + conv(256, 32, 4) + 2 * conv(32, 32, 4) + conv(32, 3, 4)
    bare = {"bias": False, "norm": True}
    mm = [conv(a, b, 4, **bare) for a, b in ((3, 32), (32, 64), (64, 128), (128, 256))]
    mm_back = (
        22 * 4096
        + 4096
        + sum(conv(a, b, 4, **bare) for a, b in ((256, 128), (128, 64), (64, 32)))
        + 32 * 3 * 16
    )
    abid = conv(3, 32, 5) + conv(32, 64, 5) + 16 * 16 * 64 * 128 + 128
    abid_back = 22 * 128 + 128 + 129 * 16_384 + 2 * conv(64, 64, 5) + conv(64, 3, 5)
    six = [(1, 32), (32, 64), (64, 128), (128, 256), (256, 256)]
    vbm = [
        conv(a, b, 3, 3, norm=True)
        for a, b in ((1, 32), (32, 64), (64, 128), (128, 128), (128, 256), (256, 512))
    ]
    up = [conv(a, b, 3, 3, norm=True) for a, b in ((512, 128), (128, 64), (64, 32), (32, 16))]
    last = conv(16, 1, 3, 3)
    vbm_001 = (
        sum(vbm[:3]) + conv(128, 256, 3, 3, norm=True) + vbm[5],
        23 * 2048 + 2049 * 32_768 + sum(up) + last,
    )
    return {
        "abid_fc": (784 * 128 + 128, 22 * 128 + 128 + 129 * 784),
        "abid_conv": (abid, abid_back),
        "choudhuri_8": (abid + 2 * (32 + 64), abid_back),
        # 24 x 24 maps instead of 16 x 16 on both sides of the linear layers.
        "choudhuri_8_96": (
            abid + 2 * (32 + 64) + (24 * 24 - 16 * 16) * 64 * 128,
            abid_back + (24 * 24 - 16 * 16) * 64 * 129,
        ),
        "louiset_celeba": (celeba, mirror),
        "louiset_cifar": (four, back),
        "louiset_pneumonia": (four, back),
        "weinberger_conv": (sum(mm), mm_back),
        "weinberger_mlp": (2001 * 400, 22 * 400 + 400 + 401 * 2000),
        "choudhuri_6": (
            sum(conv(a, b, 3, norm=True) for a, b in six),
            23 * 256 + sum(conv(b, a, 3) for a, b in six),
        ),
        "louiset_vbm_000": (sum(vbm[:4]), 23 * 256 + 257 * 65_536 + sum(up[1:]) + last),
        "louiset_vbm_001": vbm_001,
        "louiset_vbm_001_channel": vbm_001,  # its norm has a gain and a shift per channel as well
    }


def test_every_preset_has_an_expected_shape_and_count() -> None:
    without_lists = {"carton_128"}  # tested in test_table_5.py
    assert (
        set(list_presets()) - without_lists
        == set(SHAPES)
        == set(FEATURES)
        == set(expected_counts())
    )


@pytest.mark.parametrize("name", SHAPES)
def test_presets_have_the_published_sizes_and_parameters(name: str) -> None:
    shape, nets = SHAPES[name], section(preset=name)
    check_nets(shape, nets, 22)
    with torch.device("meta"):
        E, G = build_encoder(shape, {"z": 16, "s": 6}, nets), build_decoder(22, shape, nets)
        images = G(torch.empty(4, 22))
        codes = E(images)
    assert images.shape == (4, *shape)
    assert {head: out.shape for head, out in codes.items()} == {"z": (4, 16), "s": (4, 6)}
    assert E.trunk.shape == (FEATURES[name],)
    assert (count(E.trunk), count(G)) == expected_counts()[name]


@pytest.mark.parametrize("name", [name for name in SHAPES if "vbm" not in name])
def test_presets_decode_and_encode_with_finite_gradients(name: str) -> None:
    shape = SHAPES[name]
    E, G = (
        build_encoder(shape, {"z": 2}, section(preset=name)),
        build_decoder(3, shape, section(preset=name)),
    )
    out = E(G(torch.randn(2, 3)))["z"]
    out.sum().backward()
    assert out.isfinite().all()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for net in (E, G) for p in net.parameters()
    )


def test_presets_fit_any_channels_and_the_config_overrides_them() -> None:
    config = resolve(
        RAW | {"nets": {"preset": "abid_fc", "zero_bias": "yes", "head": [{"linear": 9}]}}, "x", "x"
    )
    assert config.nets.zero_bias
    assert config.nets.output == "linear"
    assert [layer.linear for layer in config.nets.head] == [9]
    assert resolve(RAW, "x", "x", ["nets.preset=abid_fc", "nets.encoder=null"]).nets.encoder is None
    check_nets((500,), config.nets, 7)
    for channels in (1, 3):
        check_nets((channels, 64, 64), section(preset="louiset_celeba"), 32)


def test_resolved_presets_reopen_without_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolve(RAW | {"nets": {"preset": "weinberger_conv"}}, "x", "x")
    text = dump(config)
    monkeypatch.setattr(studio.config_files, "FOLDERS", ())
    assert resolve(yaml.safe_load(text), "x", "x") == config
    assert "preset" not in text
    listed = yaml.safe_load(text)["nets"]["encoder"]
    first = {"conv": 32, "kernel": 4, "stride": 2, "padding": 1}
    assert listed[0] == first | {
        "bias": False,
        "norm": "batch",
        "norm_after_act": True,
        "act": "leaky",
    }


@pytest.mark.parametrize(
    ("name", "hint"),
    [("abid_cf", "did you mean 'abid_fc'?"), ("../digits_dig", "valid: "), (3, "valid: ")],
)
def test_unknown_presets_are_refused_with_the_nearest_name(name: object, hint: str) -> None:
    message = fault(preset=name)
    assert f"nets.preset: found {name!r}" in message
    assert hint in message
    assert "nets.presset: no such field; did you mean 'preset'?" in fault(presset="abid_fc")

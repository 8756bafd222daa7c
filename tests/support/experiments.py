"""Tiny experiments that the batteries run on."""

from studio.config import Config, resolve

# Every method, and the variants that add nets or steps to it.
VARIANTS: dict[str, dict] = {
    "dig": {},
    "dig+cr": {"weights": {"cr": 1.0}},
    "vae": {},
    "cvae": {},
    "cvae+published": {"as_published": True, "weights": {"critic": 0.0}},
    "mm_cvae": {},
    "sepvae": {"weights": {"class": 1.0}},
    "srb_vae": {},
    "srb_vae+asymmetric": {
        "symmetric": False,
        "weights": {"reverse": 0.0, "codes": 0.0, "critic": 0.0},
    },
    "principled": {},
    "cpca": {},
}


def tiny(method: str = "dig", data: str = "textured_digits", **train: object) -> Config:
    """Returns an experiment that takes a second: narrow nets, short codes, few images."""
    options = VARIANTS[method]
    raw = {
        "data": {"name": data, "resolution": 32},
        "nets": {"width": 4},
        "method": {"name": method.split("+")[0], "z": 4, "s": 3, **options},
        "train": {
            "images": 64,
            "batch": 16,
            "threads": 1,
            "grid_every": 0,
            "save_every": 0,
            **train,
        },
    }
    return resolve(raw, "tiny", "tiny")

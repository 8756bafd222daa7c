"""Tiny experiments for tests of every method."""

from studio.config import Config, resolve

# Every method, and its variants with other nets or steps: name -> fields of the method's section.
VARIANTS: dict[str, dict] = {
    "dig": {},
    "dig+cr": {"weights": {"cr": 1.0}},
    "dig_plus": {},
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

# Every variant with training steps. cpca has a closed-form solution.
TRAINED = [name for name in VARIANTS if name != "cpca"]


def tiny(method: str = "dig", data: str = "textured_digits", **train: object) -> Config:
    """Returns an experiment with narrow nets, short codes and few images, which takes a second."""
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

"""All that is measured on a method's codes: what `studio probe --json` and a training's `probe.json` hold."""

from typing import Any

from studio.data import Dataset
from studio.evaluate.codes import LIMIT
from studio.evaluate.counterfactual import counterfactual
from studio.evaluate.disentanglement.scores import disentangle
from studio.evaluate.probes import Protocol, encode_splits, probe_codes
from studio.evaluate.reconstruction import reconstruction
from studio.evaluate.separation import separation
from studio.method import Method

__all__ = ["measure"]


def measure(
    method: Method,
    dataset: Dataset,
    protocol: Protocol = "held-out",
    limit: int = LIMIT,
    seed: int = 0,
    regime: str = "clean",
    tsne: bool = False,
) -> dict[str, Any]:
    """Probes a method and measures how far its codes are separated; each image is encoded once for both.

    Args:
        method: in eval mode.
        dataset: with labels for its attributes.
        protocol: of the probes; see `studio.evaluate.probes.probe`.
        limit: images per split and domain.
        seed: of everything that is drawn.
        regime: `clean` or `authors`.
        tsne: also cluster in a t-SNE plane, which takes longer than all the rest.

    Returns:
        what `probe` returns; `separation`, of test codes; `reconstruction`, the error on test images; `disentangle`, where
        the data set can make images of given factors; and `counterfactual`, where it knows where the salient content of an
        image is. See the modules of these names.

    Raises:
        StudioError: see `probe`.
    """
    train, test = encode_splits(method, dataset, protocol, limit, regime, seed)
    rows = probe_codes(method, dataset, train, test, protocol, seed, regime)
    beside = {
        "separation": separation(
            test, dataset.attributes, method.blank(1)[0].detach().cpu().numpy(), seed, tsne
        ),
        "reconstruction": reconstruction(method, dataset),
        "disentangle": disentangle(method, dataset, seed),
        "counterfactual": counterfactual(method, dataset, seed),
    }
    return rows | {name: part for name, part in beside.items() if part is not None}

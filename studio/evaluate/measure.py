"""All measurements of a method's codes: the content of `studio probe --json` and `probe.json`."""

from collections.abc import Callable
from typing import Any

from studio.data import Dataset
from studio.evaluate.counterfactual import counterfactual
from studio.evaluate.disentanglement.scores import disentangle
from studio.evaluate.probes import DEFAULTS, ProbeOptions, encode_train_and_test, probe_codes
from studio.evaluate.reconstruction import reconstruction
from studio.evaluate.separation import separation
from studio.evaluate.swaps import measure_swaps
from studio.method import Method
from studio.progress import mark_step

__all__ = ["measure"]


def measure(
    method: Method,
    dataset: Dataset,
    options: ProbeOptions = DEFAULTS,
    tsne: bool = False,
    swaps: bool = False,
) -> dict[str, Any]:
    """Probes a method and measures its codes, its reconstructions and its counterfactuals.

    Probes and separation share the codes of the images. Reconstruction, disentanglement and
    counterfactuals encode their images themselves, always in eval mode.

    Args:
        method: in eval mode.
        dataset: with labels for its attributes.
        options: protocol, number of images, seed and eval mode of the probes. The seed is that of
            all random draws.
        tsne: also cluster the codes in a t-SNE plane. This takes longer than everything else.
        swaps: also measure swap accuracy, which trains classifiers.

    Returns:
        the result of `probe` and these sections, see the modules of the same names:

        - `separation`: of test codes.
        - `reconstruction`: error on test images.
        - `disentangle`: if the data set can generate images of given factors.
        - `counterfactual`: if the data set knows where the salient content of an image is.
        - `swaps`: if asked for, and the data are no vectors.

    Raises:
        StudioError: see `probe`.
    """
    mark_step("codes of the images")
    train, test = encode_train_and_test(method, dataset, options)
    blank = method.blank(1)[0].detach().cpu().numpy()
    probed = probe_codes(method, dataset, train, test, options)
    seed = options.seed
    sections: dict[str, Callable[[], dict[str, Any] | None]] = {
        "separation": lambda: separation(test, dataset.attributes, blank, seed, tsne),
        "reconstruction": lambda: reconstruction(method, dataset),
        "disentangle": lambda: disentangle(method, dataset, seed),
        "counterfactual": lambda: counterfactual(method, dataset, seed),
        "swaps": lambda: measure_swaps(method, dataset, seed) if swaps else None,
    }
    for name, take in sections.items():
        mark_step(name)
        section = take()
        if section is not None:
            probed[name] = section
    return probed

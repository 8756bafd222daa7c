"""The largest values that fields of a config and options accept.

They lie far above every use, and below the values at which a library fails with a message that
names no field.
"""

__all__ = ["Most"]


class Most:
    """Upper bounds, by the kind of number."""

    SEED = 2**63 - 1  # torch reads a seed as a signed number of 64 bits
    IMAGES = 10**12  # budgets, and intervals in images
    BATCH = 2**20
    CHANNELS = 2**16  # channels, outputs of a layer, coordinates of a code
    SIDE = 4_096  # pixels, kernels, shapes of maps
    COUNT = 10_000  # steps per iteration, layers, folds, retries
    PROCESSES = 1_024  # threads and processes
    WEIGHT = 1e9  # weights of loss terms, and other factors
    LEVEL = 100.0  # learning rates and standard deviations
    MEMORY = 1e6  # GB

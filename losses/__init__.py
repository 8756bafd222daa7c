"""Losses: pure functions, tensors in, tensor out.

Terms that belong to an image return one number per image, shape (B,); the engine takes the mean and multiplies by the
weight. Everything takes logits, never probabilities, so that it stays finite in bfloat16 and for any input.
"""

from losses.adversarial import looks_fake, looks_real
from losses.classification import is_background, is_target
from losses.contrast import shared_coordinate
from losses.information import code_error
from losses.reconstruction import image_error

__all__ = ["code_error", "image_error", "is_background", "is_target", "looks_fake", "looks_real", "shared_coordinate"]

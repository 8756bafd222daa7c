"""Applying a trained method to a user's own files."""

from studio.apply.files import CODES, FACTS, KINDS, LoadedInput, apply, group_inputs

__all__ = ["CODES", "FACTS", "KINDS", "LoadedInput", "apply", "group_inputs"]

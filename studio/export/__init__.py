"""Exports of a run: weights, standalone programs (torch.export, ONNX) and a model card."""

from studio.export.write import export

__all__ = ["export"]

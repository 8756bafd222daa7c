"""Disentanglement scores: FactorVAE, beta-VAE, MIG, DCI, SAP and ModelCentrality."""

__all__: list[str] = []

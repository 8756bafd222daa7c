"""The base config of the comparisons under test."""

BASE = """
data: {name: digits}
nets: {width: 4}
method: {name: dig, z: 4, s: 3}
train: {images: 64, batch: 16, threads: 1, grid_every: 0, log_every: 16}
paper:
  {source: Table 1, protocol: carton, eval: authors, images: 1000,
   attributes: {digit: {salient: {best: 0.9, average: 0.8, worst: 0.7}}}}
"""

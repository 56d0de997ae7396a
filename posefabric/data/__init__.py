"""Stages 1 to 3 of the walk: from annotated photographs to batches.

- `records`: a person, a dataset of people, what they are measured against
- `coco`: people from COCO keypoint JSON (read by `annotations`); `results`: COCO result files; `boxes`: other boxes
- `synthetic`: people without any files; `memory`: people kept once read; `sources`: what a user calls DATA
- `images`, with `decoding` and `streams`: the one image loader
- `transforms`: samples; `loader`: batches
- `check`, `guesses`, `imports`, `downloads`: the `posefabric data` commands
"""

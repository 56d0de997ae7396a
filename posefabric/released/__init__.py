"""Nets of the paper's authors (yangsenius/PoseNFS, MIT licence), read into ours: released checkpoints and their kin.

In file order: `backbones` and `names` (what the authors call a module, and what we do), `ledger` (what becomes of every
tensor of a file), `reading` (an architecture, their names for it and their tensors: a net), `case` (which net it is, by
a `case.json`), `operations` and `recipe` (which it is, by a recipe and by the file itself), `keeping` (the run folder,
with licence and origin). Files are opened by `posefabric.foreign`.
"""

"""Stages 4 to 7 of the walk: a batch of crops in, one heatmap per keypoint out.

In file order: `operations` (what an edge computes), `mixing` (how much each choice counts), `fabric` (transitions,
cells, the lattice at work), `backbones` (features), `head` (vectors to scores), `net` (the one builder), `cost` (its
parameters and MACs), `folding` (a net for inference without the traces of its search; `norms`, and `folded` for what it
is made of).

Shapes: B images, K keypoints, J keypoints of one part, D entries of a vector, C channels, H W crop pixels, h w map
pixels.
"""

"""What a keypoint file does not say, guessed from its names and its persons, and marked as guesses.

- `placement`: where keypoints are in their person's box; `sides`: persons whose left and right seem exchanged
- `grouping`: parts of the body, by the skeleton's graph, learned, or at random
- `description`: the dataset YAML of `posefabric data init`
"""

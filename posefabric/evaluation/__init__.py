"""Stage 10 of the walk: from predicted keypoints in image pixels to numbers. numpy only.

- `predictions`: what a network said about a row of persons, and its form as COCO results
- `oks`: object keypoint similarity and COCO's average precision and recall
- `pck`: the share of keypoints within a fraction of the torso (PCK) or of the head (PCKh)
"""

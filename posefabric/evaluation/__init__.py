"""Stage 10 of the walk: from predicted keypoints in image pixels to numbers. numpy only.

- `predictions`: what a network said about a row of persons, and its form as COCO results
- `suppression`: one pose a person, where boxes overlap
- `oks`: object keypoint similarity and COCO's average precision and recall
- `pck`: the share of keypoints within a fraction of the torso (PCK) or of the head (PCKh)
- `figures`: all of these together; `matching` finds the person that a result is about
- `visibility`: from which score on a keypoint can be trusted
- `pairing`, `errors`, `diagnosis`: what goes wrong, keypoint by keypoint, and what it costs
- `statistics`: what several seeds say of an arm, and of the difference of two
- `agreement`: whether searches from several seeds found the same
"""

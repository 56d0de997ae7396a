"""COCO keypoint JSON read entry by entry, with everything that is wrong in it (behind stage 1 of the walk).

- `json_entries`: the entries of a file one by one, in bounded memory; `json_problems`: what is wrong with it as JSON
- `problems`: how a problem is told; `fields`: the values of an entry, checked
- `categories`, `persons`: one entry each; `reader`: the whole file
"""

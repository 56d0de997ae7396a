"""Other formats become COCO keypoint JSON and a dataset YAML, once: `posefabric data import`.

- `formats`: the table of formats; `datasets`: what an import writes
- `mpii`: the hourglass and HRNet lists, `mpii_release`: MATLAB's file, `mpii_person`: one person of any,
  `mpii_splits`: who validates, and against which labels
- `lsp`: Leeds Sports Pose and its extension
"""

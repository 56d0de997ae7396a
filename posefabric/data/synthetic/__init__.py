"""The embedded dataset: rendered articulated people with exact keypoints.

- `people`: the dataset; `figures`: bodies and poses; `clothes`, `scenery`: what they wear, what is around them
- `rendering`: from all that to pixels
"""

from posefabric.data.synthetic.people import SyntheticPeople

__all__ = ["SyntheticPeople"]

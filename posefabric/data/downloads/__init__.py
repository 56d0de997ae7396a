"""Public datasets fetched for a user who asks for it: `posefabric data download`.

- `download`: which archives; `transfer`: one file, continued where it was cut; `unpack`: out of the archive, safely
"""

"""Loaded by every Python process that has this folder on PYTHONPATH: plants the kill that is asked for.

Nothing happens unless `TORTURE_POINT` names a point and this process plays its victim's part.
"""

import os

if os.environ.get("TORTURE_POINT"):
    import kill_injection

    kill_injection.install(os.environ)

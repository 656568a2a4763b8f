"""Everything Ray: connecting, placing, starting and watching processes.

Ray reads how it may be reached when it is imported, so it is settled here, before any module of this package imports
it: unless `RAY_ADDRESS` names a cluster, the Ray that `connect` starts listens on loopback only (which is what the last
variable below does, whatever its name says) and demands a token that only this process tree knows.
"""

import os
import secrets
import sys

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
TOKEN_IS_OURS = "RAY_ADDRESS" not in os.environ and "RAY_AUTH_MODE" not in os.environ
"""Whether the token in the environment was made here, and no cluster but one that this process starts can know it."""
TOO_LATE = TOKEN_IS_OURS and "ray" in sys.modules
"""Whether Ray has read its settings without these."""
if TOKEN_IS_OURS:
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
if "RAY_ADDRESS" not in os.environ:
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

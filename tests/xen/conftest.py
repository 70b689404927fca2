"""The tests of tests/xen that drive a whole house use the end-to-end tests' own tools: see tests/e2e."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from fixtures import *  # noqa: E402, F403

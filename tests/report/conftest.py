import sys
from pathlib import Path

# `made_runs`, runs made up, stands beside the tests, which pytest imports without a package.
sys.path.insert(0, str(Path(__file__).parent))

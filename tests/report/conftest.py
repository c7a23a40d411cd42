import sys
from pathlib import Path

# `report_shapes`, the synthetic runs, stands beside the tests, which pytest imports without a package.
sys.path.insert(0, str(Path(__file__).parent))

"""Target cuda without a GPU: PyCUDA itself, on the stub driver. Skipped where PyCUDA is not installed."""

from tests.stub.fixture import captured as captured
from tests.stub.fixture import stub as stub

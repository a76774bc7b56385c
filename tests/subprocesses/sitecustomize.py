"""What every Python runs at its start that a test with a shifted clock starts."""

from tests.clock import shift_clocks

shift_clocks()

"""The faults of a campaign, by what they break; `make chaos` draws from all of them."""

from tests.chaos.campaign.faults import brokers, postgres, replicas, vendors, ways
from tests.chaos.campaign.faults.table import FAULTS, Fault, drawn_from

__all__ = ["FAULTS", "Fault", "brokers", "drawn_from", "postgres", "replicas", "vendors", "ways"]

"""Usage as callers see it: by user, day, hour and zone; summed, watched, exported."""

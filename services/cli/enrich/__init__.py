"""`prospect enrich` and `prospect sec`: request, watch and steer enrichments."""

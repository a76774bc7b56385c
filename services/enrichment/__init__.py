"""Enrichment: turns a name and a company into a researched prospect."""

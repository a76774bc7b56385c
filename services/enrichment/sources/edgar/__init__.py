"""SEC EDGAR: fetches ownership filings, reads them, and finds one person's trades in them."""

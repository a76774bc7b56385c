"""SEC EDGAR: filings are fetched, read and told as insider trades."""

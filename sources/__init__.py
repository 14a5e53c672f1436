"""Everything that speaks Kantata's HTTP: the dlt source, and a sandbox that acts like the API."""

"""Records become rows: types, comparison with the warehouse, versions and rejects."""

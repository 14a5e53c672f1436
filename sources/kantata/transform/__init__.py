"""How records become rows: types, comparison with the warehouse, versions, rejects."""

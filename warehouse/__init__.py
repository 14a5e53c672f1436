"""Everything that lives in a database: what is known, what was proven, what readers may open."""

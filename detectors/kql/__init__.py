"""KQL on this machine: :mod:`engine` runs it on DuckDB, :mod:`text` and :mod:`traits` read it without running it."""

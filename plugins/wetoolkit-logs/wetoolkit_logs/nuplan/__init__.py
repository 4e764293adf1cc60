"""nuPlan logs and maps, read and written with sqlite3 and pyogrio alone (docs/nuplan.md)."""

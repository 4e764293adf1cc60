"""The others: log replay and the intelligent driver model along paths, for every class of road user."""

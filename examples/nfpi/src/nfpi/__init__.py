"""The library behind the three scripts: data, flows, training, records, tables."""

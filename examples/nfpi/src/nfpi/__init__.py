"""What the scripts of the paper's experiments share: data, flows, training, records, tables."""

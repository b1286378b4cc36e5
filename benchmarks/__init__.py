"""Measurements of fpigauss side by side with what else there is: ``python -m benchmarks``."""

"""Machines that look for faults nobody thought of; each has a bound on its time and memory."""

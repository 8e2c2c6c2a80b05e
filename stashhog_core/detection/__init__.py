"""Detecting tags, names and markers of scenes: the detectors and the job `analysis`."""

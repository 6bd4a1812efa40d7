"""Checks for the tasks of the chapters, and the diagram of one step; not part of the package."""

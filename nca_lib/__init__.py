"""nca_lib: one small local rule grows handwritten digits, cell by cell."""

__version__ = "0.1.0"

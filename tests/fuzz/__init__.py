"""Random inputs of every kind for the public functions: `python -m tests.fuzz MODULE --cases N --seed S`."""
